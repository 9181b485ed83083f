variable "secret" {
  type      = string
  sensitive = true
  default   = "canary-1"
}
variable "map" {
  type      = map(number)
  sensitive = true
  default   = { canarykey = 1 }
}
gitlab {
  url   = "https://${var.secret}.example.com"
  token = { env = var.secret }
  ca    = var.secret
}
gitaly {
  tokn = "canary-2"
  toekn = { env = "canary-3" }
  token = { env = "glpat-canary4" }
}
storage "a" {
  address = var.secret
  dial    = var.secret
  ca      = var.secret
  token   = { file = var.secret }
}
storage "b" {
  address = "tcp://a:1"
  weight  = "glpat-canary5"
  other   = 1 # gldt-canary6
}
storage "glrt-canary7" {
  address = "tcp://a:1"
  token   = { file = "glpat-canary8" }
}
locals {
  near  = var.map.anarykey
  items = [for k, v in var.map : k + 1]
}
