concurrency {
  profile = "fast"
  signals = [gate.missing]

  veto "nothing" {
  }

  veto "two" {
    file = "STOP"
    url  = "http://incidents.internal/go"
  }

  veto "address" {
    url = "ftp://incidents.internal/go"
  }

  veto "query" {
    query = "sum("
  }
}
