storage "default" {
}
wave "a" {
}
