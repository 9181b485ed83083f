numbre = 1
nonnull = null
block {
}
