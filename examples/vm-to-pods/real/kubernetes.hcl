# Beside the `sandbox` block, this has the pods made in a real cluster, while GitLab and its VM stay the embedded ones.

kubernetes {
  namespace = "gitaly" # the kubeconfig is $KUBECONFIG, its context the current one

  secrets {
    gitaly_token = { name = "gitaly-token", key = "token" }
    shell_secret = { name = "gitlab-shell-secret", key = "secret" }
  }
}
