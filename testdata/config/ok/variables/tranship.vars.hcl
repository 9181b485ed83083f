c = "vars"
d = ["x"]
e = "x"
