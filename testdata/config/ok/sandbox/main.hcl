sandbox "office" {
  repositories = 24
  seed         = 7
  workers      = 3

  storage "default" { disk = "20Gi" }
  storage "second"  { disk = 40 * GiB }

  fault "corrupt_copy" { nth = 5 }
}

storage "default" {
  drain = true
}

storage "second" {
}

assignment "all" {
  from = [storage.default]
  to   = [storage.second]
}

rollout {
  backup = "none"

  wave "archived" { where = repository.archived }
  wave "rest" {}
}

policy "small-steps" {
  condition     = plan.moves.count <= 5000
  error_message = "Split this."
}
