locals {
  a = vra.x
  b = local.c
  d = storage.nope.name
  e = text
  f = repository.size
  g = each.key
  h = local.aa
}
