//! The journal's file: the append-only, checksummed log of an apply in flight. Encoding, decoding and folding only;
//! who writes when is the engine's matter.
//!
//! A record is its length (4 bytes, big endian), the CRC-32 of its payload (4 bytes, big endian) and the payload, one
//! JSON object. A torn tail, which a crash in the middle of a write leaves, is cut when the file is read.
//!
//! Journals are read as streams, and of the millions of records that a long run writes only those are decoded that
//! matter: a record's tag and its container come first in its payload.

mod carried;
mod file;
mod fold;
mod record;
#[cfg(test)]
mod tests;

pub use carried::Carried;
pub use file::{JournalFile, encode, pack};
pub(super) use file::{each, folders};
pub use fold::{Beside, Doubt, Folded, Log, ObjectFate, unfinished};
pub use record::{Intent, Record, Side, Tried};

/// The name of the journal in a run's folder.
pub const FILE: &str = "journal";
/// And of the journal of a run that is finished.
const PACKED: &str = "journal.gz";
/// The version of the records. A reader refuses newer ones.
pub const FORMAT: u32 = 5;
/// How the payload of a [`Record::Thawed`] begins.
pub(super) const THAWED: &[u8] = br#"{"record":"thawed""#;
/// A length above this is damage, not a record.
const MOST_BYTES: u32 = 64 << 20;
