gitlab {
  url   = "https://user:canary-2@gitlab.example.com"
  token = "canary-3"
}
gitaly {
  token = { value = "canary-4" }
}
storage "a" {
  address = "tcp://a:1"
  token   = "x${"canary-5"}"
}
