variable "zero" {
  default = 0
}
locals {
  big = 170141183460469231731687303715884105727
  a = { b = 1, c = 10 / var.zero }
  d = 5 % (1 - 1)
  e = local.big + 1
  f = 1e308 * 10
  g = -(-170141183460469231731687303715884105728)
  h = pow(10, 400)
  i = sum([local.big, 1])
}
