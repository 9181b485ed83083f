locals { a = 1e400 }
locals { b = 0x10 }
locals { c = 1_000 }
locals { d = 5. }
locals { e = .5 }
locals { f = “x” }
locals { g = 20Gi }
locals { h = 15s }
