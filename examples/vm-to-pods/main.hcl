# One VM's storage is drained into three Gitalys in pods, on the embedded fleet: nothing outside this folder is touched.

tranship {
  environment = "vm-to-pods"
}

variable "gitaly_version" {
  type        = string
  default     = "v18.2.0"
  description = "The pods' Gitaly; never older than the one on the VM."
}

variable "disk" {
  type        = string
  default     = "20Gi"
  description = "Size of each volume; it can grow."
}

variable "storage_class" {
  type        = string
  default     = "premium-rwo"
  description = "The volumes' StorageClass."
}

variable "keep_volumes" {
  type        = bool
  default     = true
  description = "Whether the class must keep a volume whose claim is deleted."
}

variable "node_selector" {
  type        = map(string)
  default     = { "cloud.google.com/gke-nodepool" = "gitaly" }
  description = "Labels of the nodes that may run the pods."
}

variable "extra" {
  type        = any
  default     = {}
  description = "A strategic merge patch over the StatefulSets."
}

variable "speed" {
  type        = number
  default     = 60
  description = "Seconds of the fleet's clock per second."
}

# Stands in for a real GitLab, its Gitaly on a VM, and a Kubernetes cluster of three nodes in three zones.
sandbox "office" {
  repositories = 24
  seed         = 7
  speed        = var.speed
  workers      = 8

  storage "default" {
    disk = "20Gi"
  }
}

# What a pod storage is made of; small, for this is a small fleet.
pod_spec "standard" {
  image           = "registry.gitlab.com/gitlab-org/build/cng/gitaly:${var.gitaly_version}"
  cpu             = 2
  memory          = "8Gi"
  priority_class  = "gitaly"
  node_selector   = var.node_selector
  rotation_budget = "60s"
  extra           = var.extra

  disk {
    size   = var.disk
    class  = var.storage_class
    retain = var.keep_volumes
  }
  cgroups {
    memory = "6Gi"
    count  = 100
  }
}

# The old one: weight 0, nothing left on it, found empty twice.
storage "default" {
  drain = true
}

# The new ones: a Gitaly a zone, each a StatefulSet of one replica.
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
