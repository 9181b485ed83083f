locals {
  a = "%{ if true }x"
}
locals {
  b = <<EOT
  %{ for x in [1] }
  ${x}
EOT
}
locals {
  c = "x${var.y"
}
locals {
  d = <<EOT
x ${upper("a"
EOT
}
locals {
  e = "x%{ endif }"
}
locals {
  f = "%{ for x in [1] }%{ if true }%{ endfor }"
}
locals {
  g = nope
}
