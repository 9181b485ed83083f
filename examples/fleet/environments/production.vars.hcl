# Where it counts: the same, once staging has shown that it works; a third of the moves at a time.
environment = "production"
emptied     = ["gitaly-01"]
most_moves  = 750
