storage "a" {
  wieght = 1
  count = 2
  limits = {}
  limits {
    ceiling = 1
  }
}
x = 1
