variable "secret" {
  type      = string
  sensitive = true
  default   = "canary-1"
}
variable "given" {
  type      = number
  sensitive = true
}
variable "filed" {
  type      = number
  sensitive = true
}
locals {
  derived = "x${var.secret}"
  wrong   = local.derived + 1
  index   = [1][var.secret]
  number  = tonumber(var.secret)
  key     = { a = 1 }[var.secret]
}
storage "a" {
  name   = "${var.secret}!"
  weight = local.derived
}
storage "b" {
  for_each = toset([var.secret])
}
tranship {
  environment = var.secret
}
