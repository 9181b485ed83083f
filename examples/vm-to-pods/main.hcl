# One VM's storage is drained into three Gitalys in pods, on the embedded fleet: nothing outside this folder is touched.

tranship {
  environment = "vm-to-pods"
}

variable "gitaly_version" {
  type        = string
  default     = "v18.2.0"
  description = "Gitaly's version; never older than the one on the VM."
}

# Stands in for a real GitLab, its Gitaly on a VM, and a Kubernetes cluster of three nodes in three zones.
sandbox "office" {
  repositories = 24
  seed         = 7
  speed        = 60
  workers      = 8

  storage "default" {
    disk = "20Gi"
  }
}

# What a pod storage is made of. On a real fleet: registry.gitlab.com/gitlab-org/build/cng/gitaly, more CPU, memory, disk.
pod_spec "standard" {
  image          = "registry.gitlab.com/gitlab-org/build/cng/gitaly:${var.gitaly_version}"
  cpu            = 2
  memory         = "8Gi"
  priority_class = "gitaly"
  node_selector  = { "cloud.google.com/gke-nodepool" = "gitaly" }

  disk {
    size  = "20Gi"
    class = "premium-rwo"
  }

  cgroups {
    memory = "6Gi"
    count  = 100
  }

  rotation_budget = "60s"
}

# The old one: weight 0, nothing left on it, found empty twice.
storage "default" {
  drain = true
}

# The new ones: one Gitaly a zone, each a StatefulSet of one replica.
storage "gitaly" {
  for_each = toset(["a", "b", "c"])
  name     = "gitaly-${each.key}"
  pod      = pod_spec.standard
  zone     = "europe-west1-${each.key}"
  weight   = 100
}

# Which repositories belong where: all of them, spread by their bytes.
assignment "everything" {
  from = [storage.default]
  to   = values(storage.gitaly)
}

rollout {
  backup = "none" # a sandbox has no backup; on a real fleet, take one first
}
