storage "a" {
  weight = 1
  drain  = false
}
storage "a" {
}
tranship {
}
tranship {
}
locals {
  x = 1
}
locals {
  x = 2
}
storage "b" {
  name = "a"
}
rollout {
  wave "w" {}
  wave "w" {}
}
