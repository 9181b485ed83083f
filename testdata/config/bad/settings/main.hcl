tranship {
  required_version = ">= 99"
  environment      = "a/b"
}
policy "p" {
  condition = plam.moves > 1
}
gate "g" {
}
rollout {
  ramp   = [0, 200]
  soak   = "soon"
  window = hook.h
  backup = "never"
}
hook "h" {
  exec = "x"
}
window "w" {
  start = "9:00"
  end   = "24:00"
  days  = ["monday"]
}
policy "q" {
  condition     = 5
  error_message = "x"
}
