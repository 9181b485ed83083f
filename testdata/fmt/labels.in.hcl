storage   default   {
}
wave /* which */ "a" {
}
