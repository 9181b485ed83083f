//! Where projects are, by pages of GitLab's lists: one page answers for a hundred moves, where a look at each would be a
//! request each.
//!
//! A page may be old when it is relied on. That is sound because a project changes its storage by a move only: a project
//! that the page showed on its source, and whose newest move (which is read right before each POST) is none that was made
//! after the page was read, is there still; unless that move was under way when the page was read. So it must be one that
//! brought the project to where the page shows it: where one that failed left its project, only GitLab knows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::apply::port::{Cursor, GitLab};
use crate::model::{Container, ContainerKind, MoveRecord, StorageName};

/// Items of a page.
const PAGE: u32 = 100;
/// Pages of one storage that may fail until its lists are asked no more: a broken project fails its page for good.
const FAILURES: u32 = 3;

/// A page that was read.
#[derive(Debug)]
struct Page {
    /// It tells of ids up to this.
    last: u64,
    /// No move with a greater id is older than the page.
    newest: u64,
    ids: Vec<u64>,
}

/// The pages of one storage, by the first id that each tells of.
#[derive(Debug, Default)]
struct Shelf {
    pages: BTreeMap<u64, Page>,
    failures: u32,
}

impl Shelf {
    fn page_of(&self, id: u64) -> Option<&Page> {
        self.pages.range(..=id).next_back().map(|(_, page)| page).filter(|page| id <= page.last)
    }
}

#[derive(Debug, Default)]
struct Inner {
    shelves: BTreeMap<StorageName, Shelf>,
    /// The greatest id of a move of projects that was seen.
    newest: u64,
}

/// What is known. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    inner: Arc<Mutex<Inner>>,
    /// One page at a time: the next that asks may find its answer on it.
    reading: Arc<tokio::sync::Mutex<()>>,
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A move of a project was seen.
    pub(super) fn saw(&self, container: Container, id: u64) {
        if container.kind == ContainerKind::Project {
            let mut inner = self.lock();
            inner.newest = inner.newest.max(id);
        }
    }

    /// `Some(true)`: the page that was read shows it there, and no move of it is younger. `None`: there is no page.
    fn known(&self, storage: &StorageName, id: u64, newest: u64) -> Option<bool> {
        let inner = self.lock();
        let page = inner.shelves.get(storage)?.page_of(id)?;
        Some(newest <= page.newest && page.ids.binary_search(&id).is_ok())
    }

    /// True when a container is surely on a storage, `newest` being its newest move, which has ended. False: ask for it.
    pub(super) async fn is_on(
        &self,
        gitlab: &dyn GitLab,
        storage: &StorageName,
        container: Container,
        newest: Option<&MoveRecord>,
    ) -> bool {
        if container.kind != ContainerKind::Project {
            // Their lists have no order that a page could be asked for by.
            return false;
        }
        if newest.is_some() && super::brought_to(newest).as_ref() != Some(storage) {
            return false;
        }
        let newest = newest.map_or(0, |newest| newest.id);
        if let Some(known) = self.known(storage, container.id, newest) {
            return known;
        }
        let _one = self.reading.lock().await;
        if let Some(known) = self.known(storage, container.id, newest) {
            return known;
        }
        self.read(gitlab, storage, container.id).await;
        self.known(storage, container.id, newest).unwrap_or(false)
    }

    async fn read(&self, gitlab: &dyn GitLab, storage: &StorageName, id: u64) {
        let (mut seen, failures) = {
            let inner = self.lock();
            (inner.newest, inner.shelves.get(storage).map_or(0, |shelf| shelf.failures))
        };
        if failures >= FAILURES {
            return;
        }
        if seen == 0
            && let Ok(moves) = gitlab.moves(ContainerKind::Project, 1).await
        {
            seen = moves.iter().map(|m| m.id).max().unwrap_or(0);
        }
        let at = Cursor { after: id.saturating_sub(1), size: PAGE, ..Cursor::START };
        let listing = gitlab.list(ContainerKind::Project, storage, at).await;
        let mut inner = self.lock();
        inner.newest = inner.newest.max(seen);
        let shelf = inner.shelves.entry(storage.clone()).or_default();
        match listing {
            Ok(listing) => {
                let mut ids: Vec<u64> = listing.found.iter().map(|found| found.container.id).collect();
                ids.sort_unstable();
                let last = listing.next.map_or(u64::MAX, |next| next.after);
                shelf.pages.insert(id, Page { last: last.max(id), newest: seen, ids });
            }
            Err(_) => shelf.failures += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_answers_for_its_ids_while_no_move_is_younger() {
        let places = Places::default();
        let storage = StorageName::new("a").expect("valid");
        let shelf =
            Shelf { pages: BTreeMap::from([(10, Page { last: 30, newest: 7, ids: vec![10, 12, 30] })]), failures: 0 };
        places.lock().shelves.insert(storage.clone(), shelf);
        assert_eq!(places.known(&storage, 12, 0), Some(true));
        assert_eq!(places.known(&storage, 12, 7), Some(true), "moved before the page was read");
        assert_eq!(places.known(&storage, 12, 8), Some(false), "moved since");
        assert_eq!(places.known(&storage, 11, 0), Some(false), "not there");
        assert_eq!(places.known(&storage, 9, 0), None);
        assert_eq!(places.known(&storage, 31, 0), None);
    }
}
