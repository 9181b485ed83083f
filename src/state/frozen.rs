//! How long moves kept repositories read-only, read back from the journals of the runs that are kept: what a later run of
//! the same day may not spend again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, ErrorKind, Read};

use camino::Utf8Path;
use fs_err as fs;
use jiff::Timestamp;

use super::journal::{FILE, MOST_BYTES, Record, crc};
use crate::model::Container;

/// How a payload of the record that is looked for begins: others, with all their references, are not parsed.
const THAWED: &[u8] = br#"{"record":"thawed""#;

/// Milliseconds of freeze that began within a time, by what `group` makes of a path; over all runs below a folder.
///
/// # Errors
/// The file system's, with the path; a packed journal that is damaged.
pub fn spent(
    runs: &Utf8Path,
    within: std::ops::Range<Timestamp>,
    group: impl Fn(&str) -> &str,
) -> std::io::Result<BTreeMap<String, u64>> {
    let mut spent: BTreeMap<String, u64> = BTreeMap::new();
    if !runs.exists() {
        return Ok(spent);
    }
    let mut folders =
        runs.read_dir_utf8()?.map(|entry| entry.map(camino::Utf8DirEntry::into_path)).collect::<Result<Vec<_>, _>>()?;
    // Runs follow on each other, and a run's name begins with its time: the newest first, until one is of an earlier day.
    folders.sort();
    for folder in folders.iter().rev() {
        let (mut any, mut within_any) = (false, false);
        let mut seen = BTreeSet::new();
        each(folder, |container, path, at, ms| {
            any = true;
            within_any |= within.contains(&at);
            // A run that was cut short just then is taken up, and its end seen twice.
            if within.contains(&at) && seen.insert((container, at)) {
                let sum = spent.entry(group(path).to_owned()).or_default();
                *sum = sum.saturating_add(ms);
            }
        })?;
        if any && !within_any {
            break;
        }
    }
    Ok(spent)
}

/// Visits what a run's journal says of moves that ended: path, when the freeze began, milliseconds.
fn each(folder: &Utf8Path, mut visit: impl FnMut(Container, &str, Timestamp, u64)) -> std::io::Result<()> {
    let (plain, packed) = (folder.join(FILE), folder.join("journal.gz"));
    let mut reader: Box<dyn Read> = if plain.is_file() {
        Box::new(BufReader::new(fs::File::open(plain)?))
    } else if packed.is_file() {
        Box::new(BufReader::new(flate2::read::GzDecoder::new(fs::File::open(packed)?)))
    } else {
        return Ok(());
    };
    let mut payload = Vec::new();
    loop {
        let mut head = [0u8; 8];
        match reader.read_exact(&mut head) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(e) => return Err(e),
        }
        let [a, b, c, d, e, f, g, h] = head;
        let (length, sum) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        if length > MOST_BYTES {
            return Ok(());
        }
        payload.clear();
        // A torn tail ends the journal, as it does for recovery.
        let read = reader.by_ref().take(u64::from(length)).read_to_end(&mut payload)?;
        if read < length as usize || crc(&payload) != sum {
            return Ok(());
        }
        if payload.starts_with(THAWED)
            && let Ok(Record::Thawed { container, path, at, frozen_ms }) = serde_json::from_slice(&payload)
        {
            visit(container, &path, at, frozen_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::journal::{self, JournalFile};
    use super::*;
    use crate::model::ContainerKind;

    fn thawed(path: &str, at: &str, frozen_ms: u64) -> Record {
        let container = Container { kind: ContainerKind::Project, id: 1 };
        Record::Thawed { container, path: path.to_owned(), at: at.parse().expect("a time"), frozen_ms }
    }

    #[test]
    fn what_runs_of_the_day_spent_is_summed_by_group_packed_or_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let runs = Utf8Path::from_path(folder.path()).expect("UTF-8");
        let day = || "2026-01-05T00:00:00Z".parse().expect("a time").."2026-01-06T00:00:00Z".parse().expect("a time");
        assert!(spent(&runs.join("none"), day(), first).expect("read").is_empty());
        let write = |run: &str, records: &[Record]| {
            JournalFile::create(&runs.join(run)).expect("made").append(records).expect("written");
        };
        write("1", &[thawed("web/a", "2026-01-04T23:59:59Z", 1 << 40), Record::Ended]);
        write(
            "2",
            &[thawed("web/a", "2026-01-04T23:59:59Z", 7), thawed("web/b", "2026-01-05T00:00:00Z", 20), Record::Ended],
        );
        write("3", &[thawed("app/c", "2026-01-05T08:00:00Z", 300), thawed("web/d", "2026-01-06T00:00:00Z", 9)]);
        journal::pack(runs, "1", 50).expect("packed");
        journal::pack(runs, "2", 50).expect("packed");
        let found = spent(runs, day(), first).expect("read");
        assert_eq!(found, BTreeMap::from([("app".to_owned(), 300), ("web".to_owned(), 20)]));
        // A torn tail hides nothing that stands before it.
        let file = runs.join("3").join(FILE);
        let mut bytes = fs::read(&file).expect("read");
        bytes.truncate(bytes.len() - 3);
        fs::write(&file, bytes).expect("written");
        assert_eq!(spent(runs, day(), first).expect("read").get("app"), Some(&300));
    }

    fn first(path: &str) -> &str {
        path.split('/').next().unwrap_or(path)
    }
}
