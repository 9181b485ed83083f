locals {
  a = "text
  b = 1
}
