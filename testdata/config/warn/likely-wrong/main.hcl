sandbox "office" {
  repositories = 24

  storage "a" {}
  storage "b" {}
  storage "c" {}
}

storage "a" {}
storage "b" {}
storage "c" {}

variable "unused" {
  default = 1

  validation {
    condition     = var.unused > 0
    error_message = "It must be above 0."
  }
}

locals {
  unused = local.used
  used   = 5
}

assignment "nowhere" {
  from = []
  to   = [storage.a]
}

assignment "stays" {
  from = [storage.b]
  to   = [storage.b]
}

assignment "never" {
  from  = [storage.a]
  where = repository.size < 0 || repository.size > 20 * GiB && repository.archived && repository.size < 10 * GiB
  to    = [storage.c]
}
