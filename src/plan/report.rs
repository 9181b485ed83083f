//! Collects what was not planned, and why: counts and a few examples for each reason, never a row per repository.

use std::collections::{BTreeMap, BTreeSet};

use super::{NotPlanned, WaitingOn};
use crate::model::{Repository, StorageName};
use crate::state::State;

/// How many repositories a reason names.
const EXAMPLES: usize = 5;

/// Gathers reasons in any order; gives them sorted.
#[derive(Debug, Default)]
pub(super) struct Report<'a> {
    rows: BTreeMap<(&'a StorageName, WaitingOn), Row>,
    stuck: BTreeSet<&'a StorageName>,
}

#[derive(Debug, Default)]
struct Row {
    count: u64,
    examples: Vec<String>,
    blocks_drain: bool,
}

impl<'a> Report<'a> {
    /// Notes one repository that stays on a storage. Examples are the first that are given.
    pub(super) fn repository(&mut self, repository: &'a Repository, drains: bool, reason: WaitingOn) {
        let row = self.row(&repository.storage, drains, reason);
        row.count += 1;
        if row.examples.len() < EXAMPLES {
            row.examples.push(name(repository));
        }
    }

    /// Notes several repositories that stay on one storage for one reason.
    pub(super) fn repositories(
        &mut self,
        storage: &'a StorageName,
        drains: bool,
        reason: WaitingOn,
        mut repositories: Vec<&Repository>,
    ) {
        repositories.sort_unstable_by_key(|repository| repository.container);
        let examples = repositories.iter().take(EXAMPLES).map(|repository| name(repository));
        self.storage(storage, drains, reason, repositories.len() as u64, examples);
    }

    /// Notes something about a storage as a whole.
    pub(super) fn storage(
        &mut self,
        storage: &'a StorageName,
        blocks: bool,
        reason: WaitingOn,
        count: u64,
        examples: impl IntoIterator<Item = String>,
    ) {
        let row = self.row(storage, blocks, reason);
        row.count += count;
        let room = EXAMPLES.saturating_sub(row.examples.len());
        row.examples.extend(examples.into_iter().take(room));
    }

    fn row(&mut self, storage: &'a StorageName, blocks_drain: bool, reason: WaitingOn) -> &mut Row {
        if blocks_drain {
            self.stuck.insert(storage);
        }
        // A drain that was left out by choice is not stuck.
        let blocks_drain = blocks_drain && reason != WaitingOn::Selection;
        let row = self.rows.entry((storage, reason)).or_default();
        row.blocks_drain |= blocks_drain;
        row
    }

    /// True when something is known to remain on a draining storage.
    pub(super) fn is_stuck(&self, storage: &StorageName) -> bool {
        self.stuck.contains(storage)
    }

    /// The rows, sorted.
    pub(super) fn finish(self) -> Vec<NotPlanned> {
        let mut rows: Vec<NotPlanned> = self
            .rows
            .into_iter()
            .map(|((storage, reason), row)| NotPlanned {
                subject: State::storage_address(storage).to_string(),
                reason,
                count: row.count,
                examples: row.examples,
                blocks_drain: row.blocks_drain,
            })
            .collect();
        rows.sort();
        rows
    }
}

/// A repository in a list of examples: `project-12 web/shop`.
pub(super) fn name(repository: &Repository) -> String {
    format!("{} {}", repository.container, repository.path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixture::{name, repository};

    #[test]
    fn reasons_are_counted_and_name_five() {
        let list: Vec<_> = (1..=7).map(|id| repository(id, "a", 1)).collect();
        let mut report = Report::default();
        for (n, one) in list.iter().enumerate() {
            report.repository(one, n == 6, WaitingOn::Assignment);
        }
        assert!(report.is_stuck(&name("a")));
        let rows = report.finish();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].count, rows[0].examples.len(), rows[0].blocks_drain), (7, 5, true));
        assert_eq!(rows[0].examples[0], "project-1 group/project-1");
        assert_eq!(rows[0].subject, "storage.a");
    }
}
