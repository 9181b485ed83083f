storage "a" {
  weight = 1

storage "b" {
}
