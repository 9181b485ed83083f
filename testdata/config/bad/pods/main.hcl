gitlab {
  url   = "https://gitlab.example.com"
  token = { env = "GITLAB_TOKEN" }
}

kubernetes {
  namespace = "Gitaly_1"
  secrets {
    gitaly_token = { name = "gitaly-token" }
    shell_secret = { name = "a", key = "b", value = "c" }
  }
}

pod_spec "quantities" {
  image          = "example.com/gitaly:v18.2.0"
  cpu            = "8 cores"
  memory         = "48GB"
  priority_class = "gitaly"
  disk { size = "500m" }
}

pod_spec "slips" {
  image          = "registry.gitlab.com/gitlab-org/build/cng/gitaly:v18.2.0"
  cpu            = "48Gi"
  memory         = "16Gi"
  priority_class = "gitaly"
  disk { size = "1e3" }
}

pod_spec "memory" {
  image          = "registry.gitlab.com/gitlab-org/build/cng/gitaly:v18.2.0"
  cpu            = 0
  memory         = "16Gi"
  priority_class = "gitaly"
  disk { size = "1Ti" }
  cgroups {
    memory            = "15.5Gi"
    repository_memory = "15.9Gi"
    count             = 0
  }
}

pod_spec "rest" {
  image                    = "registry.gitlab.com/gitlab-org/build/cng/gitaly"
  cpu                      = "500m"
  memory                   = "4Gi"
  graceful_restart_timeout = "1m"
  rotation_budget          = "30s"
  max_unavailable          = 2
  anti_affinity            = "never"
  node_selector            = { "topology.kubernetes.io/zone" = "a" }
  tolerations              = [{ key = "x", effect = "Never", seconds = 3 }]
  cgroups { memory = "3Gi" }
  network_policy { metrics = ["monitoring"] }
}

pod_spec "outside" {
  image          = "mirror.example.com/git:v18.2.0"
  cpu            = 4
  memory         = "16Gi"
  priority_class = "gitaly"
  disk { size = "1Ti" }
  cgroups { memory = "8Gi" }
  service { type = "LoadBalancer" }
  network_policy {
    cidrs = ["10.0.0.0/8", "10.0.0.0/33"]
  }
}

storage "default" {
  address   = "tcp://gitaly-01.internal:8075"
  zone      = "a"
  disk_size = "1Ti"
}

storage "tls" {
  address = "tls://gitaly-01.internal:9999"
  pod     = pod_spec.outside
}

storage "zones" {
  pod  = pod_spec.outside
  zone = "europe west"
}

import {
  to = storage.default
}

pod_spec "small" {
  image          = "registry.gitlab.com/gitlab-org/build/cng/gitaly:v18.2.0"
  cpu            = 0.01
  memory         = "1e3"
  priority_class = "gitaly"
  disk { size = "1Ti" }
}
