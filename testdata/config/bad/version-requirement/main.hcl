tranship {
  environment      = "e"
  required_version = "~> 0.1, != 0.1.5"
}
