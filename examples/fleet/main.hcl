# A fleet of three Gitalys on virtual machines, one of which is emptied, on the embedded fleet. What differs from
# environment to environment stands in `environments/`, chosen with --var-file.

tranship {
  environment = var.environment
}

variable "environment" {
  type        = string
  description = "The name that state and reports carry."
}

variable "repositories" {
  type        = number
  default     = 2000
  description = "Projects of the embedded fleet; above 200 a synthetic world."
}

variable "emptied" {
  type        = set(string)
  default     = []
  description = "Virtual machines that are emptied, to be switched off."
  validation {
    condition     = length(setsubtract(var.emptied, keys(local.machines))) == 0
    error_message = "Only machines of local.machines can be emptied."
  }
  validation {
    condition     = length(setintersection(var.emptied, ["gitaly-02", "gitaly-03"])) == 0
    error_message = "gitaly-02 and gitaly-03 are named by assignments, which would need another storage first."
  }
}

variable "most_moves" {
  type        = number
  description = "A plan with more moves is refused."
}

locals {
  # The disk of each, and how much of the new repositories it takes.
  machines = {
    gitaly-01 = { disk = "40Gi", weight = 50 }
    gitaly-02 = { disk = "20Gi", weight = 50 }
    gitaly-03 = { disk = "24Gi", weight = 100 }
  }
  staying = { for name, machine in local.machines : name => machine if !contains(var.emptied, name) }
}

# Stands in for a real GitLab and its Gitalys. Everything is on `gitaly-01` at first.
sandbox "fleet" {
  repositories  = var.repositories
  snippets      = 150
  group_wikis   = 40
  fork_networks = 6
  seed          = 11
  speed         = 300
  workers       = 16

  storage "gitaly-01" {
    disk = local.machines["gitaly-01"].disk
  }
  storage "gitaly-02" {
    disk = local.machines["gitaly-02"].disk
  }
  storage "gitaly-03" {
    disk = local.machines["gitaly-03"].disk
  }
}

# One block for all that stay, one for all that go.
storage "vm" {
  for_each = local.staying
  name     = each.key
  weight   = each.value.weight

  limits {
    disk_ceiling = 0.80
    max_moves    = 16
  }
}

storage "old" {
  for_each = var.emptied
  name     = each.key
  drain    = true

  limits {
    max_moves = 16
  }
}

# The highest priority wins: the giants have the large disk to themselves and their like.
assignment "giants" {
  from     = values(storage.old)
  where    = repository.size > 100 * MiB
  to       = [storage.vm["gitaly-03"]]
  priority = 20
}

# What nobody works on goes to one place, whatever its size below that.
assignment "archive" {
  from     = values(storage.old)
  where    = repository.kind == "project" && repository.archived
  to       = [storage.vm["gitaly-02"]]
  priority = 10
}

# All the rest, snippets and group wikis among it, spread by bytes; forks stay together.
assignment "rest" {
  from = values(storage.old)
  to   = values(storage.vm)
}

rollout {
  backup = "none" # a sandbox has no backup; on a real fleet, take one first

  wave "archived" {
    where = repository.kind == "project" && repository.archived
  }
  wave "small-kinds" {
    where = repository.kind != "project"
  }
  wave "sample" {
    sample = 100
  }
  # Thirds of the rest, so that each is a plan of its own size.
  wave "first-third" {
    where = repository.id % 3 == 0
  }
  wave "second-third" {
    where = repository.id % 3 == 1
  }
  wave "last-third" {}
}

policy "bounded" {
  condition     = plan.moves.count <= var.most_moves
  error_message = "More than ${var.most_moves} moves in one plan: take a part with --target."
}
