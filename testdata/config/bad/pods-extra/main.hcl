sandbox "s" {
  repositories = 1
  storage "default" {}
}

pod_spec "set" {
  image          = "registry.gitlab.com/gitlab-org/build/cng/gitaly:v18.2.0"
  cpu            = 4
  memory         = "16Gi"
  priority_class = "gitaly"
  disk { size = "1Ti" }

  graceful_restart_timeout = "10s"

  extra = {
    kind     = "StatefulSet"
    metadata = { labels = { "tranship/storage" = "x", team = "git" }, annotations = { "tranship/environment" = "x" } }
    spec = {
      replicas                             = 2
      selector                             = { matchLabels = { app = "gitaly" } }
      persistentVolumeClaimRetentionPolicy = { whenDeleted = "Delete", whenScaled = "Retain" }
      updateStrategy                       = { rollingUpdate = { partition = 1 } }
      volumeClaimTemplates = [
        { metadata = { name = "data" }, spec = { resources = { requests = { storage = "1Ti" } } } },
        { metadata = { name = "repo-data" }, spec = { accessModes = ["ReadWriteMany"], storageClassName = "fast" } },
      ]
      template = {
        metadata = {
          labels      = null
          annotations = {
            "checksum/config"                                = "x"
            "cluster-autoscaler.kubernetes.io/safe-to-evict" = "true"
            "sidecar.istio.io/inject"                        = "true"
          }
        }
        spec = {
          securityContext               = { fsGroupChangePolicy = "Always" }
          terminationGracePeriodSeconds = 10
          affinity                      = { podAntiAffinity = { "$patch" = "delete" } }
          priorityClassName             = "other"
          volumes                       = [{ name = "gitaly-secrets", emptyDir = {} }]
          "$retainKeys"                 = ["a"]
          resources                     = { limits = { cpu = 1, memory = "1Gi" }, requests = { cpu = "999m" } }
        }
      }
    }
  }
}

pod_spec "containers" {
  image          = "registry.gitlab.com/gitlab-org/build/cng/gitaly:v18.2.0"
  cpu            = 4
  memory         = "16Gi"
  priority_class = "gitaly"
  disk { size = "1Ti" }

  extra = {
    spec = {
      template = {
        spec = {
          initContainers = [
            { name = "init-cgroups", resources = { limits = { cpu = "50m" } } },
            { name = "warm", image = "x", resources = { limits = { cpu = "50MB", memory = "32Mi" } } },
          ]
          containers = [
            { name = "gitaly", image = "y", resources = { limits = { memory = "1Gi" } } },
            { name = "gitaly", "$patch" = "replace" },
            { name = "logs", image = "x" },
            { name = "burst", image = "x", resources = { limits = { cpu = 2, memory = "1Gi" }, requests = { cpu = 1 } } },
            { name = "good", image = "x", resources = { limits = { cpu = 1, memory = "1Gi" }, requests = { cpu = "1000m" } } },
            { name = "gone", "$patch" = "delete", env = [{ name = "API_TOKEN", value = "canary-3" }] },
            { image = "nameless" },
          ]
        }
      }
    }
  }
}

pod_spec "mounts" {
  image          = "registry.gitlab.com/gitlab-org/build/cng/gitaly:v18.2.0"
  cpu            = 4
  memory         = "16Gi"
  priority_class = "gitaly"
  disk { size = "1Ti" }

  extra = {
    spec = {
      template = {
        spec = {
          volumes = [{ name = "scratch", emptyDir = {} }]
          containers = [
            {
              name = "gitaly"
              volumeMounts = [
                { name = "scratch", mountPath = "/home/git/repositories" },
                { name = "scratch", mountPath = "/home/git//repositories/@hashed/" },
                { name = "scratch", mountPath = "/home" },
                { mountPath = "/home/git/repositories", subPath = "part" },
                { mountPath = "/home/git/repositories", "$patch" = "delete" },
                { name = "scratch", mountPath = "/etc/gitlab-secrets/shell" },
                { "$patch" = "replace" },
                { name = "scratch" },
                { name = "scratch", mountPath = "/home/git/repositories-old" },
                { name = "scratch", mountPath = "/tmp" },
              ]
            },
            { name = "gitaly", volumeMounts = null },
            { name = "gitaly", volumeMounts = {} },
          ]
        }
      }
    }
  }
}

pod_spec "lists" {
  image          = "registry.gitlab.com/gitlab-org/build/cng/gitaly:v18.2.0"
  cpu            = 4
  memory         = "16Gi"
  priority_class = "gitaly"
  disk { size = "1Ti" }

  extra = {
    spec = {
      volumeClaimTemplates = {}
      template             = { spec = { containers = [{ "$patch" = "replace" }], "$patch" = "sort" } }
    }
  }
}

pod_spec "config" {
  image          = "registry.gitlab.com/gitlab-org/build/cng/gitaly:v18.2.0"
  cpu            = 4
  memory         = "16Gi"
  priority_class = "gitaly"
  disk { size = "1Ti" }

  config = {
    storage     = [{ name = "other", path = "/data" }]
    listen_addr = "0.0.0.0:9999"
    auth        = { token = "canary-1", transitioning = true }
    gitlab      = { "http-settings" = { user = "u", password = "canary-2" } }
    cgroups     = { memory_bytes = 1, cpu_quota_us = 500000 }
    large       = 18446744073709551615
  }
}
