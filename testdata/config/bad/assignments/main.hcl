storage "a" {
}
storage "b" {
  for_each = toset(["x", "y"])
}
assignment "strings" {
  from = ["a"]
  to   = []
}
assignment "missing" {
  from = [storage.a]
}
assignment "key" {
  from = [storage.a]
  to   = [storage.b["z"]]
}
assignment "field" {
  from  = [storage.a]
  to    = values(storage.b)
  where = repository.sise > 1
}
assignment "bare" {
  from  = [storage.a]
  to    = values(storage.b)
  where = repository
}
assignment "type" {
  from  = [storage.a]
  to    = values(storage.b)
  where = repository.size
}
assignment "compare" {
  from  = [storage.a]
  to    = values(storage.b)
  where = repository.path > 5 || repository.archived
}
assignment "equal" {
  from  = [storage.a]
  to    = values(storage.b)
  where = repository.size == "20GiB"
}
assignment "argument" {
  from  = [storage.a]
  to    = values(storage.b)
  where = startswith(repository.size, "x")
}
assignment "constant" {
  from  = [storage.a]
  to    = values(storage.b)
  where = repository.size > 1 / 0
}
assignment "time" {
  from  = [storage.a]
  to    = values(storage.b)
  where = timecmp(repository.created, "last year") < 0
}
