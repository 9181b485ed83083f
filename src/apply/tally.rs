//! Keeps the state's records of what was moved. Sums of hashes, so that the order in which moves end, and a run that was
//! cut in two, give the same records.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::verify::digest_of;
use crate::model::cluster::ObjectKind;
use crate::model::{Address, StorageName};
use crate::state::journal::{Intent, Side};
use crate::state::{AssignmentRecord, Record, State};

/// Adds one verified move to its assignment's record.
pub(crate) fn record(state: &mut State, intent: &Intent, verdict: &str, source: &[Side], destination: &str) {
    // A probe's project moves for no assignment.
    if &*intent.assignment.kind != "assignment" {
        return;
    }
    let moved = format!("{}\0{}\0{}", intent.container, intent.source, intent.destination);
    let seen = format!("{}\0{}\0{destination}", intent.container, digest_of(source));
    assignment(state, &intent.assignment, |record| {
        record.count = record.count.saturating_add(1);
        record.bytes = record.bytes.saturating_add(intent.bytes.0);
        *record.verdicts.entry(verdict.to_owned()).or_default() += 1;
        add(&mut record.digest, &moved);
        add(&mut record.verification, &seen);
    });
}

/// Notes what else a verified move showed: whether its destination is whole, where that was looked at (`pass`, `unknown`),
/// and that GitLab left the copy on its source.
pub(crate) fn beside(state: &mut State, intent: &Intent, whole: Option<&str>, left: bool) {
    if let Some(whole) = whole.filter(|_| &*intent.assignment.kind == "assignment") {
        assignment(state, &intent.assignment, |record| {
            *record.whole.entry(whole.to_owned()).or_default() += 1;
        });
    }
    if left {
        state.storage_mut(&intent.source).left.insert(intent.container);
    }
}

/// Notes that an object is as it was applied; `key` is like `StatefulSet/gitaly-a`.
pub(crate) fn object(state: &mut State, storage: &StorageName, key: &str, digest: &str, uid: Option<&str>) {
    let record = state.storage_mut(storage);
    record.objects.insert(key.to_owned(), digest.to_owned());
    if key.strip_prefix(ObjectKind::StatefulSet.as_str()).is_some_and(|rest| rest.starts_with('/')) {
        record.statefulset_uid = uid.map(ToOwned::to_owned);
    }
}

/// Notes that a wave ended well for the assignments that had moves in it.
pub(crate) fn wave_passed<'a>(state: &mut State, wave: &str, assignments: impl Iterator<Item = &'a Address>) {
    for address in assignments {
        if let Some(Record::Assignment(record)) = state.records.get_mut(address) {
            record.waves.insert(wave.to_owned());
        }
    }
}

/// Changes an assignment's record; what stands at its address and is none is replaced.
fn assignment(state: &mut State, address: &Address, change: impl FnOnce(&mut AssignmentRecord)) {
    let mut record = match state.records.remove(address) {
        Some(Record::Assignment(record)) => record,
        _ => AssignmentRecord {
            count: 0,
            bytes: 0,
            verdicts: BTreeMap::new(),
            digest: "0".repeat(64),
            verification: "0".repeat(64),
            waves: std::collections::BTreeSet::new(),
            whole: BTreeMap::new(),
        },
    };
    change(&mut record);
    state.records.insert(address.clone(), Record::Assignment(record));
}

/// Adds the hash of a text to a sum modulo 2^256 kept in hex.
fn add(sum: &mut String, text: &str) {
    let mut total = [0u8; 32];
    // A sum that a person damaged starts anew: it is a fingerprint for review, nothing is decided by it.
    let _ = hex::decode_to_slice(sum.as_str(), &mut total);
    let leaf: [u8; 32] = Sha256::digest(text).into();
    let mut carry = 0u16;
    for (t, l) in total.iter_mut().zip(leaf).rev() {
        let digit = u16::from(*t) + u16::from(l) + carry;
        *t = u8::try_from(digit & 0xff).unwrap_or(0);
        carry = digit >> 8;
    }
    *sum = hex::encode(total);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_moves_does_not_matter() {
        let sum = |texts: &[&str]| {
            let mut sum = "0".repeat(64);
            texts.iter().for_each(|t| add(&mut sum, t));
            sum
        };
        assert_eq!(sum(&["a", "b", "c"]), sum(&["c", "a", "b"]));
        assert_ne!(sum(&["a", "b"]), sum(&["a", "c"]));
        assert_ne!(sum(&["a"]), sum(&["a", "a"]));
    }
}
