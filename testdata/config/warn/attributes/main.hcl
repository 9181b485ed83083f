variable "limits" {
  type = object({
    max_moves = optional(number, 4)
  })
  default = {}
}
