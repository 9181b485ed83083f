sandbox "s" {
  repositories = 1
  gitlab_knows = "never"
  storage "a" { disk = "20Gb" }
  storage "a b" {}
  storage "c" { weight = 200 }
  fault "corupt_copy" { nth = 0 }
}
storage "a" {
  address = "tcp://a:1"
  dial    = "tcp://a:1"
}
storage "p" {
  pod = storage.a
}
