sandbox "office" {
  repositories = 3

  storage "default" {
    disk = "20Gi"
  }
}

storage "default" {
  token = { env = "GITALY_TOKEN" }
}
