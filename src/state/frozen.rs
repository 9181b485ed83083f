//! How long moves kept repositories read-only, read back from the journals of the runs that are kept: what a later run of
//! the same day may not spend again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use camino::Utf8Path;
use jiff::Timestamp;

use super::journal::{self, Record, THAWED};

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
    // Runs follow on each other: the newest first, until one is of an earlier day.
    for folder in journal::folders(runs)?.iter().rev() {
        let (mut any, mut within_any) = (false, false);
        let mut seen = BTreeSet::new();
        journal::each(folder, &[THAWED], |record| {
            let Record::Thawed { container, path, at, frozen_ms: ms } = record else {
                return ControlFlow::Continue(());
            };
            any = true;
            within_any |= within.contains(&at);
            // A run that was cut short just then is taken up, and its end seen twice.
            if within.contains(&at) && seen.insert((container, at)) {
                let sum = spent.entry(group(&path).to_owned()).or_default();
                *sum = sum.saturating_add(ms);
            }
            ControlFlow::Continue(())
        })?;
        if any && !within_any {
            break;
        }
    }
    Ok(spent)
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::super::journal::{FILE, JournalFile};
    use super::*;
    use crate::model::{Container, ContainerKind};

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
        journal::pack(runs, "1", 50, Timestamp::MIN).expect("packed");
        journal::pack(runs, "2", 50, Timestamp::MIN).expect("packed");
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
