locals {
  environment = trimspace(file("name.txt"))
  there       = fileexists("name.txt") && !fileexists("other.txt")
  greeting    = templatefile("greeting.tpl", { names = ["a", "b"] })
}

tranship {
  environment = local.there && local.greeting == "hi a, hi b, " ? local.environment : "wrong/name"
}
