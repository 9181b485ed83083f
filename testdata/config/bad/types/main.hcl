locals {
  a = 1 + "1"
  b = !1
  c = -"x"
  d = true && 1
  e = "x" ? 1 : 2
  f = "${[1]}"
  g = 1 < "2"
  h = [1][1.5]
  i = [1][2]
  j = { a = 1 }.b
  k = 1.5.x
  l = toset(["a"])[0]
  m = [for x in 1 : x]
  n = { for x in [1, 1] : x => x }
  o = [for x in [1] : x if x]
}
