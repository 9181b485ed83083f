sandbox "s" {
  repositories = -1
  speed        = 0
  storage "a" { disk = "20Gb" }
  storage "a b" {}
  fault "corupt_copy" {}
}
gitlab {
  url   = "https://x"
  token = { env = "T" }
}
storage "a" {
  address = "tcp://a:1"
}
