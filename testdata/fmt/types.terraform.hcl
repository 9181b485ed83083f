variable "a" {
  type = string
}
variable "b" {
  type = list(object({ a = string, b = optional(number, 1) }))
}
