//! What a run is to know of those before it, beside what is in doubt: since when holds are watched, and which moves were tried
//! and failed. Every run writes it down at its beginning, so that it outlives the journals before.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use camino::Utf8Path;
use jiff::Timestamp;

use super::file::{each, folders};
use super::{PACKED, Record, Tried};
use crate::model::{Address, Container};

/// Such records, by how their payloads begin.
const TAGS: [&[u8]; 3] = [br#"{"record":"soak""#, br#"{"record":"tried""#, br#"{"record":"carried""#];

/// What is carried from run to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carried {
    /// Since when each hold is watched.
    pub soaks: BTreeMap<Address, Timestamp>,
    /// Failed attempts of moves that have not been made since.
    pub tries: BTreeMap<Container, Tried>,
}

impl Carried {
    /// Reads the newest word of the runs below a folder: back to one that has all of those before it. What cannot be read
    /// counts for nothing: holds are watched anew, and attempts begin anew.
    pub fn read(runs: &Utf8Path) -> Self {
        let mut read = Vec::new();
        for folder in folders(runs).unwrap_or_default().iter().rev() {
            let mut records = Vec::new();
            let whole = each(folder, &TAGS, |record| {
                records.push(record);
                ControlFlow::Continue(())
            });
            if whole.is_err() && folder.join(PACKED).is_file() {
                continue;
            }
            let has_all = records.contains(&Record::Carried);
            read.push(records);
            if has_all {
                break;
            }
        }
        let mut carried = Self::default();
        read.into_iter().rev().flatten().for_each(|record| carried.take(record));
        carried
    }

    fn take(&mut self, record: Record) {
        match record {
            Record::Soak { hold, since: Some(since) } => drop(self.soaks.insert(hold, since)),
            Record::Soak { hold, since: None } => drop(self.soaks.remove(&hold)),
            Record::Tried { container, tried } if tried == Tried::default() => drop(self.tries.remove(&container)),
            Record::Tried { container, tried } => drop(self.tries.insert(container, tried)),
            _ => {}
        }
    }

    /// All of it, as a run writes it down once more.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let soak = |(hold, since): (&Address, &Timestamp)| Record::Soak { hold: hold.clone(), since: Some(*since) };
        let tried =
            |(container, tried): (&Container, &Tried)| Record::Tried { container: *container, tried: tried.clone() };
        self.soaks.iter().map(soak).chain(self.tries.iter().map(tried)).chain([Record::Carried])
    }
}
