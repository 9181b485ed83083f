siez = 1
