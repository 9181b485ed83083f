variable "a" {
  default = "default"
}
variable "b" {
  default = "x"
}
variable "c" {
  type = string
}
variable "d" {
  type = list(string)
}
variable "e" {
  type    = string
  default = "x"
}
variable "checked" {
  type     = object({ a = number, b = optional(bool, true) })
  default  = { a = "1" }
  nullable = false

  validation {
    condition     = var.checked.a > 0 && var.checked.b
    error_message = "No."
  }
}

tranship {
  required_version = ">= 0.1"
  environment      = join("-", [var.a, var.b, var.c, var.d[0], var.e])
}

storage "old" {
  drain = var.checked.b
}
