storage "default" {}

variable "size" {
  type    = number
  default = 3

  validation {
    condition     = var.size > 0
    error_message = ""
  }
}

policy "misspelt" {
  condition     = plan.moves.cout <= var.size
  error_message = "Too many."
}

policy "a-number" {
  condition     = plan.moves.count
  error_message = "Too many."
}

policy "compared-with-a-text" {
  condition     = plan.moves.count > "a"
  error_message = "Too many."
}

policy "unknown" {
  condition     = plan.nope.x
  error_message = "Too many."
}

policy "singular" {
  condition     = plan.storage["default"].incoming < 5 * GiB
  error_message = "Too much."
}

policy "a-group" {
  condition     = plan.moves < 5
  error_message = "Too many."
}

policy "within-for" {
  condition     = alltrue([for name, one in plan.storages : one.incomming < one.capacity])
  error_message = "Too much."
}

policy "further" {
  condition     = plan.moves.count.total < 5
  error_message = "Too many."
}

policy "says-nothing" {
  condition     = plan.moves.count < 5
  error_message = " "
}

policy "fine" {
  condition     = !contains(keys(plan.weights), "x") && sum([for s in values(plan.storages) : s.incoming]) < 5 && plan.environment == "default" && length(plan.sources) < 2 && try(plan.nope, true)
  error_message = "No."
}
