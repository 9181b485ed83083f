pw = ["canary]
