rollout {
  window = window.near
}

window "near" {
  start    = "22:00"
  end      = "05:00"
  timezone = "Europe/Berln"
}

window "far" {
  start    = "22:00"
  end      = "22:00"
  timezone = "the moon"
}

window "never" {
  days  = []
  start = "+2:00"
  end   = "05:0x"
}

prometheus {
  url = "prometheus:9090"
}

gitlab {
  url          = "https://user:secret@gitlab.example.com"
  internal_url = "http://gitlab-webservice:8181/api/v4"
  token        = { env = "TOKEN" }
}
