gitlab {
  url   = "https://gitlab.example.com"
  token = { env = "GITLAB_TOKEN" }
}
prometheus {
  url = "http://prometheus.monitoring:9090"
}
storage "old" {
  address = "tcp://old:8075"
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
  gates = [gate.errors, gate.fleet]
}
gate "errors" {
  query = "sum(rate(errors{${target.selector}}[5m]))"
  max   = 0.5
}
gate "fleet" {
  query = "sum(rate(errors[5m]))"
  max   = 5
}
gate "latency" {
  query = "max(latency{${target.selector}})"
  max   = 0.5
}
gate "somebody" {
  approval = true
}
