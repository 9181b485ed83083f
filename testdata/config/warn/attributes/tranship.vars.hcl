limits = { max_move = 8 }
