locals {
  b = local.a
  c = local.good / 0
}
storage "x" {
  colour = 1
}
