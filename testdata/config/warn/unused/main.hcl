storage "default" {}

prometheus {
  url = "http://prometheus.monitoring:9090"
}

rollout {
  wave "last" {
    gates = [gate.named]
  }
}

gate "named" {
  query = "up{${target.selector}}"
  min   = 1
}

gate "alone" {
  for_each = toset(["a", "b"])
  query    = "${each.key}{${target.selector}}"
  min      = 1
}

hook "snapshot" {
  exec = ["./snapshot.sh"]
}

pod_spec "standard" {
  image  = "registry.gitlab.com/gitlab-org/build/cng/gitaly:v18.2.0"
  cpu    = 8
  memory = "48Gi"
  disk {
    size = "5Ti"
  }
}

window "nights" {
  start    = "22:00"
  end      = "05:00"
  timezone = "Europe/Berlin"
}
