storage "default" {}

locals {
  metric = "up"
}

gate "syntax" {
  query = "sum(rate(errors{${target.selector}}[5m])"
  max   = 1
}

gate "label" {
  query = "up{instance=unquoted}"
  max   = 1
}

gate "range" {
  query = "${local.metric}{${target.selector}}[5m]"
  max   = 1
}

gate "text" {
  query = "\"up\""
  max   = 1
}

gate "function" {
  for_each = toset(["rte", "rate"])
  query    = "${each.key}(errors{${target.selector}}[5m])"
  max      = 1
}

gate "aggregate" {
  query = "sum(errors{${target.selecter}})"
  max   = 1
}

gate "unbounded" {
  query = "up{${target.selector}}"
}

gate "half" {
  query    = "up{${target.selector}}"
  baseline = storage.default
}

gate "other-half" {
  query     = "up{${target.selector}}"
  max_ratio = 2
}

gate "crossed" {
  query = "up{${target.selector}}"
  min   = 2
  max   = 1
}

gate "person" {
  approval = true
  max      = 1
}

gate "both" {
  approval = true
  query    = "up"
}
