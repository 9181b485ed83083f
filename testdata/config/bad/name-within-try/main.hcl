tranship {
  environment = "e"
}
sandbox "s" {
  repositories = 3
  storage "default" {
    disk = "1Gi"
  }
}

locals {
  none  = try(local.nope, "x")
  never = can(var.nope) ? 1 : 2
  other = true ? 1 : local.noen
}
