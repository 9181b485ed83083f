locals {
  a = @
}
locals {
  b = foo(1,
    2)
}
