storage "a" {}
storage "b" {}
storage "c" {}
storage "d" {}
storage "e" {}
storage "f" {}

# Both take all of a.
assignment "first" {
  from = [storage.a]
  to   = [storage.b]
}

assignment "second" {
  from = [storage.a]
  to   = [storage.c]
}

# There and back.
assignment "there" {
  from = [storage.d]
  to   = [storage.e]
}

assignment "back" {
  from = [storage.e]
  to   = [storage.d]
}

# On and on.
assignment "on" {
  from = [storage.f]
  to   = [storage.e]
}

# What is in error takes part in nothing.
assignment "wrong" {
  from     = [storage.a]
  where    = repository.nope
  to       = [storage.d]
  priority = 5
}

rollout {
  wave "wrong" { where = repository.nope }
  wave "rest" {}
}
