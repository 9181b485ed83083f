sandbox "s" {
  repositories = 1
}
