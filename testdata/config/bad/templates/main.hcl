locals {
  a = templatefile("syntax.tpl", {})
  b = templatefile("value.tpl", { zone = "a" })
  c = templatefile("value.tpl", { "not a name" = 1 })
  d = templatefile("value.tpl", [])
}
