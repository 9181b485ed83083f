tranship {
  environment = "e"
}
sandbox "s" {
  repositories = 3
  storage "default" {
    disk = "1Gi"
  }
}

storage "vm" {
  for_each = toset(["a\n\u202eb"])
}

storage "tag" {
  for_each = toset(["a\U000e0062"])
}
