gitlab {
  url   = "gitlab.example.com"
  token = { env = "T" }
}
storage "no-address" {
}
storage "bad-address" {
  address = "http://a:1"
}
storage "no-port" {
  address = "tcp://a"
}
storage "weight" {
  address = "tcp://a:1"
  weight  = 101
}
storage "half" {
  address = "tcp://a:1"
  weight  = 0.5
}
storage "drain" {
  address = "tcp://a:1"
  weight  = 1
  drain   = true
}
storage "ceiling" {
  address = "tcp://a:1"
  limits {
    disk_ceiling = 1.5
    max_moves    = 0
  }
}
storage "name" {
  address = "tcp://a:1"
  name    = "a b"
}
storage "1x" {
  address = "tcp://a:1"
}
storage {
  address = "tcp://a:1"
}
storage "each" {
  for_each = ["a"]
  address  = "tcp://a:1"
}
storage "same" {
  for_each = toset(["a", "b"])
  name     = "same"
  address  = "tcp://a:1"
}
