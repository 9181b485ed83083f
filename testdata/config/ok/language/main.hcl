tranship {
  required_version = ">= 0.1"
  environment      = "staging"              # the name that state, reports and evidence carry (default "default")
}

variable "gitaly_version" {
  type        = string
  default     = "v18.2.0"
  description = "Gitaly's version; never older than the one on the VMs."
  validation {
    condition     = startswith(var.gitaly_version, "v")
    error_message = "A version starts with v."
  }
}

locals {
  zones = ["a", "b", "c"]
}

gitlab {
  url          = "https://gitlab.example.com"
  internal_url = "http://gitlab-webservice:8181" # what a pod's Gitaly calls for its hooks
  token        = { env = "GITLAB_TOKEN" }      # a secret is a reference: { env }, { file } or { kubernetes = { secret, key } }; never a value
  max_moves    = 16                         # moves outstanding at once: GitLab's worker slots for them
}

gitaly {
  token = { file = "/run/secrets/gitaly-token" }
}

kubernetes {
  context   = "gke-staging"
  namespace = "gitaly"

  secrets {                                 # existing Secrets that the pods mount; presence and keys are checked, values never read into a plan
    gitaly_token = { name = "gitaly-token", key = "token" }
    shell_secret = { name = "gitlab-shell-secret", key = "secret" }
  }
}

prometheus {
  url = "http://prometheus.monitoring:9090"
}

pod_spec "standard" {
  image  = "registry.gitlab.com/gitlab-org/build/cng/gitaly:${var.gitaly_version}"
  cpu    = 8                                # requests equal limits: Guaranteed QoS, init containers included
  memory = "48Gi"

  disk {
    size  = "5Ti"
    class = "premium-rwo"
  }

  cgroups {                                 # cgroups v2 for git's processes; below the pod's memory
    memory = "40Gi"
    count  = 1000
  }

  priority_class  = "gitaly"
  node_selector   = { "cloud.google.com/gke-nodepool" = "gitaly" }
  rotation_budget = "30s"                   # how long a restart may keep the storage away
  extra           = {}                      # a strategic merge patch over the StatefulSet, for what is not modelled
}

# A storage without a pod is observed, never created or destroyed: a VM, or a Gitaly that GitLab's chart deployed.
storage "default" {
  address = "tcp://gitaly-01.internal:8075" # as GitLab dials it; `dial = …` where tranship must take another way; token and ca here if they differ
  metrics = { instance = "gitaly-01:9236" } # Prometheus labels of this server: `target.selector` in gates
  drain   = true                            # weight 0, no repository left, found empty twice
}

# A storage with a pod spec is deployed: one StatefulSet of one replica.
storage "gitaly" {
  for_each = toset(local.zones)
  name     = "gitaly-${each.key}"           # GitLab's name, and the objects' (a DNS label); the state is bound to it, not to the block's label
  pod      = pod_spec.standard
  zone     = "europe-west1-${each.key}"
  weight   = 100                            # left out: not managed

  limits {
    disk_ceiling = 0.80                     # no move may take it above this (default 0.85); soft 10 points below, panic 7 above
    max_moves    = 8                        # moves in flight towards or from it
  }
}

# Which repositories belong where. What no assignment selects stays where it is. Being on any storage of `to` is being in place.
# Two assignments that claim one repository with different `to` are an error, unless `priority` (default 0, higher wins) decides.
assignment "heavy" {
  from     = [storage.default]
  where    = repository.size > 20 * GiB || startswith(repository.path, "gitlab-org/")
  to       = [storage.gitaly["a"]]
  priority = 10
}

assignment "everything-else" {
  from = [storage.default]
  to   = values(storage.gitaly)             # spread by bytes, fork networks kept together
}

# How it is released: which go first, what must hold to go on.
rollout {
  probe  = "tranship/canary"                # a project to move there, commit to, read and move back before anything else
  ramp   = [1, 5, 25, 50, 100]              # per cent of new repositories that the new storages take; the old ones keep the rest until 100
  soak   = "15m"
  gates  = [gate.errors, gate.latency, gate.release-manager]
  window = window.nights                    # moves start only inside; may stand in a wave too
  backup = hook.snapshot                    # or "none"; left out, the plan's danger section says what that means

  wave "archived" { where = repository.archived }
  wave "sample"   { sample = 300 }          # stratified, drawn once
  wave "rest"     { gates = [gate.errors, gate.latency, gate.release-manager] }
}

gate "errors" {                             # asked for each storage that a step touches: `target`
  query = "sum(rate(grpc_server_handled_total{${target.selector},grpc_code!~\"OK|NotFound|Canceled\"}[5m]))"
  max   = 0.5
  for   = "5m"
}

gate "latency" {
  query     = "histogram_quantile(0.95, sum by (le) (rate(grpc_server_handling_seconds_bucket{${target.selector},grpc_type=\"unary\"}[5m])))"
  baseline  = storage.default               # the same question in the same minutes of storages still on VMs
  max_ratio = 1.2
}

gate "release-manager" {
  approval = true                           # `tranship approve release-manager --reason …`, recorded by name
}

hook "snapshot" {
  exec = ["./snapshot.sh"]
  on   = ["wave-start"]
}

window "nights" {
  days     = ["mon", "tue", "wed", "thu"]
  start    = "22:00"
  end      = "05:00"
  timezone = "Europe/Berlin"
}

freeze {                                    # read-only time that users may be made to bear
  per_repository = "5m"
  per_day        = "2h"                     # summed over the repositories of one top-level group
  window         = window.nights            # for what would exceed per_repository
}

policy "small-steps" {                      # a rule over the finished plan; failing it is exit code 7
  condition     = plan.moves.count <= 5000
  error_message = "Split this: more than 5,000 moves in one plan."
}

promote {
  evidence = "../pre/evidence.json"         # this environment may apply only what that one has proven
  moves    = 300
  failures = 0.01                           # upper bound, 95 %
}

import {                                    # adopt the Kubernetes objects that already exist for it
  to = storage.gitaly["b"]
}

verify {
  source_fsck = "sample"                    # "none", "sample" or "all": is the source whole before it moves?
}

moved {                                     # a block's label changed
  from = assignment.rest
  to   = assignment.everything-else
}
