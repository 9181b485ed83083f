//! Reads the lists of all storages: projects, snippets and group wikis.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures::StreamExt as _;

use super::Progress;
use super::pages::{List, Page};
use crate::apply::port::{Cursor, PortError, PortErrorKind, PortResult, Ports};
use crate::model::{ContainerKind, ListFacts, Repository, StorageName, Unlisted, Unreadable};
use crate::state::inventory::Draft;

/// Lists read at once. At ten times this a fleet's lists would crowd out everything else that asks GitLab.
const AT_ONCE: usize = 8;
/// How often a list that changes while it is read is read at most.
const PASSES: u32 = 4;

/// All that was listed, and what the lists of each storage did not give.
type Found = (Vec<Repository>, BTreeMap<StorageName, ListFacts>);

/// What one list gave.
#[derive(Default)]
struct One {
    found: Vec<Repository>,
    unreadable: Vec<Unreadable>,
    unlisted: Option<Unlisted>,
}

/// Reads the lists of these storages. `moving`: kinds of which something moves meanwhile.
///
/// # Errors
/// Every list of projects that could not be read, in the order of storages; of the other kinds that is no error.
pub(super) async fn read(
    ports: &Ports,
    storages: BTreeSet<StorageName>,
    moving: &BTreeSet<ContainerKind>,
    draft: Option<&Draft>,
    tell: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Found, Vec<PortError>> {
    let lists: Vec<_> = storages.iter().flat_map(|s| ContainerKind::ALL.map(|kind| (s, kind))).collect();
    let (repositories, ended, of) = (AtomicU64::new(0), AtomicUsize::new(0), lists.len());
    let told = |more: usize, end: bool| {
        let repositories = repositories.fetch_add(more as u64, Ordering::Relaxed) + more as u64;
        let lists = ended.fetch_add(usize::from(end), Ordering::Relaxed) + usize::from(end);
        tell(Progress { repositories, lists, of });
    };
    let results: Vec<_> = futures::stream::iter(lists.iter().map(|(storage, kind)| {
        let told = &told;
        async move {
            let list = List { gitlab: &*ports.gitlab, kind: *kind, storage };
            let result = whole(&list, moving.contains(kind), draft, told).await;
            told(0, true);
            result
        }
    }))
    .buffered(AT_ONCE)
    .collect()
    .await;
    let (mut found, mut facts, mut errors) = (Vec::new(), BTreeMap::<StorageName, ListFacts>::new(), Vec::new());
    for ((storage, kind), result) in lists.into_iter().zip(results) {
        match result {
            Ok(mut one) => {
                found.append(&mut one.found);
                let facts = facts.entry(storage.clone()).or_default();
                facts.unreadable.append(&mut one.unreadable);
                facts.unlisted.extend(one.unlisted.map(|why| (kind, why)));
            }
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    // What moved between two lists is in both, what a page shifted is there twice: one entry stands, and is looked at
    // again before its move.
    found.sort_unstable_by(|a, b| (a.container, &a.storage).cmp(&(b.container, &b.storage)));
    found.dedup_by_key(|r| r.container);
    Ok((found, facts))
}

/// Reads one list to its end.
async fn whole(
    list: &List<'_>,
    moving: bool,
    draft: Option<&Draft>,
    told: &(dyn Fn(usize, bool) + Send + Sync),
) -> PortResult<One> {
    let mut one = One::default();
    let mut from = Some(Cursor::START);
    if let Some(taken) = draft.and_then(|d| d.take(list.storage, list.kind)) {
        told(taken.found.len(), false);
        (one.found, one.unreadable, from) = (taken.found, taken.unreadable, taken.next);
    }
    if let Some(from) = from {
        let read = list
            .read(from, &mut |page: Page| {
                if let Some(draft) = draft {
                    draft.page(list.storage, list.kind, &page.found, &page.unreadable, page.next);
                }
                told(page.found.len(), false);
                one.found.extend(page.found);
                one.unreadable.extend(page.unreadable);
            })
            .await;
        if let Err(error) = read {
            return Ok(One { unlisted: Some(unlisted(list.kind, error)?), ..One::default() });
        }
    }
    if moving && list.kind != ContainerKind::Project {
        // A row that left an earlier page draws another one out of the next: only a list that reads the same twice is whole.
        let mut before = containers(&one.found);
        for _ in 1..PASSES {
            one.unreadable.clear();
            let mut again = Vec::new();
            let read = list
                .read(Cursor::START, &mut |page: Page| {
                    again.extend(page.found);
                    one.unreadable.extend(page.unreadable);
                })
                .await;
            if let Err(error) = read {
                return Ok(One { unlisted: Some(unlisted(list.kind, error)?), ..One::default() });
            }
            let now = containers(&again);
            one.found.append(&mut again);
            if now == before {
                one.found.retain(|r| now.contains(&r.container.id));
                break;
            }
            before = now;
        }
    }
    Ok(one)
}

fn containers(found: &[Repository]) -> BTreeSet<u64> {
    found.iter().map(|r| r.container.id).collect()
}

/// Without its projects a storage is not known at all; without another kind, all but that.
fn unlisted(kind: ContainerKind, error: PortError) -> PortResult<Unlisted> {
    match error.kind {
        _ if kind == ContainerKind::Project => Err(error),
        PortErrorKind::NotFound => Ok(Unlisted::Absent(error.message)),
        _ => Ok(Unlisted::Failed(super::reason(&error))),
    }
}
