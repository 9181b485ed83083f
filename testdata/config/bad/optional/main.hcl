variable "limits" {
  type = object({
    max_moves = optional(number, "many")
  })
  default = {}
}
