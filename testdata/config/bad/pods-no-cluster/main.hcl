gitlab {
  url   = "https://gitlab.example.com"
  token = { env = "GITLAB_TOKEN" }
}

pod_spec "none" {
  image          = "registry.gitlab.com/gitlab-org/build/cng/gitaly:v18.2.0"
  cpu            = 4
  memory         = "16Gi"
  priority_class = "gitaly"
}

pod_spec "standard" {
  image          = "registry.gitlab.com/gitlab-org/build/cng/gitaly:v18.2.0"
  cpu            = 4
  memory         = "16Gi"
  priority_class = "gitaly"
  disk { size = "1Ti" }
}

storage "gitaly-a" {
  pod = pod_spec.standard
}

storage "gitaly-b" {
  pod = pod_spec.nowhere
}
