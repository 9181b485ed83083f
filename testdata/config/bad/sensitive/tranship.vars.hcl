filed = "canary-7"
