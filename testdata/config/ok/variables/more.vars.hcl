d = ["file"]
e = "x"
