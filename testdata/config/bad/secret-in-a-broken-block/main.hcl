tranship {
  environment = "e"
}
sandbox "s" {
  repositories = 3
  storage "default" {
    disk = "1Gi"
  }
}

variable "pw" {
  type      = = string
  sensitive = true
  default   = "canary" x
}
locals {
  a = { "k" = 1, "k" = 2 }
}
