//! The reading of a fleet.
