locals {
  a = local.b
  b = [for x in [1] : local.c + x]
  c = local.a
  self = local.self
}
storage "x" {
  name = storage.y.name
}
storage "y" {
  name = storage.x.name
}
