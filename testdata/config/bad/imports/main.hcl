gitlab {
  url          = "https://gitlab.example.com"
  internal_url = "http://gitlab-webservice:8181"
  token        = { env = "GITLAB_TOKEN" }
}

kubernetes {
  namespace = "gitaly"

  secrets {
    gitaly_token = { name = "gitaly-token", key = "token" }
    shell_secret = { name = "shell-secret", key = "secret" }
  }
}

pod_spec "standard" {
  image  = "registry.example.com/gitaly:v18.2.0"
  cpu    = 4
  memory = "16Gi"

  disk {
    size = "1Ti"
  }
}

storage "a" {
  pod = pod_spec.standard
}

import {
  to = storage.a
}

import {
  to = storage.a
}
