locals {
  a = 1 +
}
storage
locals {
  b = { x 1 }
}
locals {
  c = [for x in [1] x]
}
locals {
  d = "${1 +}"
}
locals {
  e = "%{ if true }x"
}
locals {
  f = [1, 2,, 3]
}
locals {
  g = true ? 1
}
!
locals {
  h = local.
}
