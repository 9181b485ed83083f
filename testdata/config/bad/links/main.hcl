locals {
  a = file("out.txt")
  b = fileexists("out.txt")
  c = templatefile("beyond/main.hcl", {})
  d = file("nowhere.txt")
  e = file("folder")
}
