gitlab {
  url   = "http://gitlab.example.com"
  token = { env = "TOKEN" }
}
