storage "old" {}

storage "older" {}

storage "new" {}

locals {
  stages = toset(["a", "b"])
}

assignment "everything" {
  from     = [storage.old, storage.older]
  to       = [storage.new]
  priority = 10
}

assignment "heavy" {
  from  = [storage.old]
  where = repository.size > 20 * GiB
  to    = [storage.new]
}

assignment "staged" {
  for_each = local.stages
  from     = [storage.older]
  where    = startswith(repository.path, each.key)
  to       = [storage.new]
}

assignment "beside" {
  from     = [storage.new]
  where    = repository.archived && 1 > 2
  to       = [storage.old]
  priority = 20
}

rollout {
  wave "sample" { sample = 10 }
  wave "none"   { where = false }
  wave "all"    {}
  wave "late"   { where = repository.archived }
}

assignment "words" {
  from     = [storage.new]
  where    = repository.kind == "wiki" || contains(["old", "oldest"], repository.storage) && "snippet" != repository.kind
  to       = [storage.old]
  priority = 30
}
