gitlab {
  url   = "https://gitlab.example.com"
  token = { env = "GITLAB_TOKEN" }
}
storage "old" {
  address = "tcp://old:8075"
  metrics = { instance = "old:9236" }
}
storage "new" {
  address = "tcp://new:8075"
  metrics = { instance = "new:9236" }
}
assignment "all" {
  from = [storage.old]
  to   = [storage.new]
}
rollout {
  gates = [gate.errors, gate.broken]
}
gate "errors" {
  query = "sum(rate(errors{${target.selector}}[5m])) # of ${target.name}"
  max   = 0.5
}
gate "broken" {
  query = "sum(rate(errors{${target.selector}}))"
  max   = 0.5
}
variable "secret" {
  type      = string
  default   = "canary"
  sensitive = true
}
gate "leaky" {
  query = "up{password=\"${var.secret}\"}"
  max   = 1
}
