tranship {
  environment = "e"
}
sandbox "s" {
  repositories = 3
  storage "default" {
    disk = "1Gi"
  }
}

variable "least" {
  default = 1
  validation {
    condition     = var.least > 2
    error_message = "must be above 2, not ${local.told}"
  }
}
variable "secret" {
  sensitive = true
  default   = "canary"
}
locals {
  told = var.secret
}
