locals {
  a = 
}
locals {
  good = 1
}
