# For the control plane that the tests start: its class deletes volumes with their claims, its nodes have no pool.
storage_class = "expandable"
keep_volumes  = false
node_selector = {}
speed         = 4 # a real cluster's time is not the fleet's: ten minutes' patience is two and a half here
