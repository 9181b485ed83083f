variable "missing" {
  type = string
}
variable "number" {
  type = number
}
variable "typo" {
  type = strin
}
variable "quoted" {
  type    = "string"
  default = "x"
}
variable "list" {
  type    = list(number)
  default = ["1", "x"]
}
variable "object" {
  type = object({ a = number })
}
variable "checked" {
  default = 5
  validation {
    condition     = var.checked < 3
    error_message = "It must be below 3."
  }
}
variable "nonnull" {
  type     = string
  nullable = false
}
variable "expression" {
  type = list(string)
}
