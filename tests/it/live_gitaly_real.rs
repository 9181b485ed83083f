//! The adapter against a real `gitaly`, when there is one on PATH.
