sandbox "s" {
  repositories = 1
  speeed = 2
  storage "a" {}
}
locals {
  x = [1, 2

storage "b" {
  wieght = 1
}
