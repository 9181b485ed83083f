gitlab {
  url   = "https://gitlab.example.com"
  token = { env = "GITLAB_TOKEN" }
}

kubernetes {
  namespace = "gitaly"
}

pod_spec "standard" {
  image          = "registry.gitlab.com/gitlab-org/build/cng/gitaly:v18.2.0"
  cpu            = 4
  memory         = "16Gi"
  priority_class = "gitaly"
  node_selector  = { "topology.kubernetes.io/zone" = "a" }
  disk { size = "1Ti" }
}

storage "upper" {
  name = "Gitaly.A"
  pod  = pod_spec.standard
}

storage "long" {
  name = "gitaly-with-a-name-that-is-longer-than-a-label-can-be"
  pod  = pod_spec.standard
}

storage "one" {
  name = "pod-a"
  pod  = pod_spec.standard
  zone = "b"
}

storage "two" {
  name = "pod-a-gitaly"
  pod  = pod_spec.standard
}
