gitlab {
  url   = "https://gitlab.example.com"
  token = { env = "TOKEN" }
}

kubernetes {
  namespace = "gitaly"

  secrets {
    gitaly_token = { name = "gitaly-token", kee = "token" }
    shell_secret = { name = "gitlab-shell-secret" }
  }
}

storage "default" {
  address = "tcp://gitaly-01.internal:8075"
}

storage "gitaly 2" {
  address = "tcp://gitaly-02.internal:8075"
}

variable "pair" {
  type    = tuple([string, number])
  default = ["a"]
}

variable "secret" {
  sensitive = true
  default   = "canary"
}

window "nights" {
  days  = ["mon", "funday"]
  start = "22:00"
  end   = "05:00"
}

rollout {
  ramp   = [5, 3, 3]
  window = window.nights
}

assignment "all" {
  from     = [storage.default]
  to       = [assignment.all]
  priority = 1.5
}

moved {
  from = assignment.all
  to   = assignment.all
}

locals {
  terraform = terraform.workspace
  itself    = self.name
  bare      = hello
  pair      = var.pair
  unknown   = uper(var.secret)
  template  = templatefile("outer.tpl", { word = "x" })
  broken    = templatefile("broken.tpl", { word = "x" })
  wrong     = templatefile("wrong.tpl", { word = "x" })
  nul       = file("a\u0000b")
}
