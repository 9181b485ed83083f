tranship {
  environment = "e"
}
sandbox "s" {
  repositories = 3
  storage "default" {
    disk = "1Gi"
  }
}

storage "vm" {
  for_each = { a = { w = 1 }, b = {} }
  weight   = each.value.w
}
storage "default" {
  weight = each.nope
}
