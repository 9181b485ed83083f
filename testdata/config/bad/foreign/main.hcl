resource "gitlab_project" "one" {
  name = "one"
}

data "x" "y" {}

terraform {}
