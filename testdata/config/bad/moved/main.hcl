gitlab {
  url   = "https://gitlab.example.com"
  token = { env = "GITLAB_TOKEN" }
}

storage "default" {
  address = "tcp://gitaly-01.internal:8075"
}

storage "new" {
  address = "tcp://gitaly-02.internal:8075"
}

# Still declared.
moved {
  from = storage.default
  to   = storage.new
}

# To nothing.
moved {
  from = storage.old
  to   = storage.knew
}

# Twice.
moved {
  from = storage.old
  to   = storage.new
}

# Another kind.
moved {
  from = assignment.rest
  to   = storage.new
}

# In a circle.
moved {
  from = assignment.a
  to   = assignment.b
}

moved {
  from = assignment.b
  to   = assignment.a
}

# No addresses.
moved {
  from = "storage.old"
  to   = storage
}
