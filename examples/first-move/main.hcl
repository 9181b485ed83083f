# One storage is drained into another, on the embedded fleet: nothing outside this folder is touched.

tranship {
  environment = "first-move"
}

# Stands in for a real GitLab and its Gitalys: 24 projects with real bare Git repositories, all on `default`.
sandbox "office" {
  repositories = 24
  seed         = 7
  speed        = 60
  workers      = 8

  storage "default" {
    disk = "20Gi"
  }
  storage "gitaly-01" {
    disk = "20Gi"
  }
}

# The old one: weight 0, nothing left on it, found empty twice.
storage "default" {
  drain = true
}

# The new one: takes all new repositories.
storage "gitaly-01" {
  weight = 100
}

# Which repositories belong where. There is no `where`: all of them.
assignment "everything" {
  from = [storage.default]
  to   = [storage.gitaly-01]
}

# Those that nobody writes to go first, then a few of every size, then the rest.
rollout {
  backup = "none" # a sandbox has no backup; on a real fleet, take one first

  wave "archived" {
    where = repository.archived
  }
  wave "sample" {
    sample = 5
  }
  wave "rest" {}
}

# A rule over the finished plan: when it does not hold, nothing is applied, and the exit code is 7.
policy "small" {
  condition     = plan.moves.count <= 100
  error_message = "More than 100 moves in one plan: take a part with --target."
}
