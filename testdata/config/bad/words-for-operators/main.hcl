tranship {
  environment = "e"
}
sandbox "s" {
  repositories = 3
  storage "default" {
    disk = "1Gi"
  }
}

locals {
  first = true and false
}
locals {
  second = not true
}
