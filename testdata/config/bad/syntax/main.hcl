locals {
  a =
}
locals {
  b = 1 c = 2
}
storage "x" = {
}
locals {
  d = 'single'
  e = "ok"
}
locals {
  f = "bad \q escape"
}
locals { g = 1, h = 2 }
locals {
  i = [1, 2
  j = 3]
}
