# Everything that a pod can be told.
gitlab {
  url          = "https://gitlab.example.com"
  internal_url = "http://gitlab-webservice-default.gitlab.svc:8181"
  token        = { env = "GITLAB_TOKEN" }
}

kubernetes {
  kubeconfig = "kubeconfig.yaml"
  namespace  = "gitaly"
  secrets {
    gitaly_token = { name = "gitaly-token", key = "token" }
    shell_secret = { name = "gitlab-shell-secret", key = "secret" }
  }
}

pod_spec "standard" {
  image                    = "registry.gitlab.com/gitlab-org/build/cng/gitaly:v18.2.0"
  cpu                      = "7500m"
  memory                   = "48Gi"
  priority_class           = "gitaly"
  node_selector            = { pool = "gitaly" }
  tolerations              = [{ key = "gitaly", operator = "Exists", effect = "NoSchedule" }]
  anti_affinity            = "preferred"
  graceful_restart_timeout = "1500ms"
  rotation_budget          = "30s"
  ready_timeout            = "20m"
  max_unavailable          = 0

  disk {
    size   = "5Ti"
    class  = "premium-rwo"
    retain = false
  }

  cgroups {
    memory            = "40Gi"
    repository_memory = "10Gi"
  }

  service {
    type        = "LoadBalancer"
    annotations = { "networking.gke.io/load-balancer-type" = "Internal" }
  }

  network_policy {
    namespaces = ["gitlab"]
    cidrs      = ["10.0.0.0/8", "fd00::/8"]
    metrics    = ["monitoring"]
  }

  service_monitor {
    labels   = { release = "prometheus" }
    interval = "30s"
  }

  config = {
    auth        = { transitioning = true }
    concurrency = [{ rpc = "/gitaly.SmartHTTPService/PostUploadPackWithSidechannel", max_per_repo = 20 }]
  }

  extra = {
    spec = {
      serviceName          = "other"
      volumeClaimTemplates = [{ metadata = { name = "repo-data" }, spec = { accessModes = ["ReadWriteOncePod"] } }]
      template = {
        spec = {
          dnsPolicy = "Default"
          containers = [
            { name = "gitaly", env = [{ name = "TZ", value = "UTC" }] },
            { name = "logs", image = "example.com/logs:1", resources = { limits = { cpu = "100m", memory = "64Mi" } } },
          ]
        }
      }
    }
  }
}

storage "default" {
  address = "tcp://gitaly-01.internal:8075"
}

storage "gitaly" {
  for_each  = { a = "5Ti", b = "8Ti" }
  name      = "gitaly-${each.key}"
  address   = "tcp://gitaly-${each.key}.internal:8075"
  pod       = pod_spec.standard
  disk_size = each.value
  zone      = "europe-west1-${each.key}"
}

import {
  to = values(storage.gitaly)
}
