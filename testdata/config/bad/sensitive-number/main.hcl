tranship {
  environment = "e"
}
sandbox "s" {
  repositories = 3
  storage "default" {
    disk = "1Gi"
  }
}

storage "default" {
  weight = var.share
  limits {
    max_moves = var.share
  }
}
variable "share" {
  type      = number
  sensitive = true
  default   = 73
}
