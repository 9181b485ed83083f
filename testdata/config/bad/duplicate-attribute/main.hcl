storage "a" {
  weight = 1
  drain  = false
  weight = 2
}
locals {
  o = { a = 1, a = 2 }
}
locals {
 p = { a = 1, "a" = 2 }
}
