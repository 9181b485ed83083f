# Where it is tried: everything leaves the first machine.
environment = "staging"
emptied     = ["gitaly-01"]
most_moves  = 5000
