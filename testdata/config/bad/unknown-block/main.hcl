storge "a" {
}
sandbox "x" {
  repositories = 1
  storage "a" {}
  limit {}
}
foo {
}
