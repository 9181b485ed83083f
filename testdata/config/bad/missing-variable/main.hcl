variable "size" {
  type = number
}
variable "colour" {
}
