//! Follows all moves in flight by GitLab's lists: one page, newest first, tells of a hundred moves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::port::Ports;
use crate::model::{ContainerKind, MoveRecord};

/// How often the lists are read, by the fleet's clock. At half of it GitLab answers twice as many requests for moves that
/// take seconds; at ten times of it a finished move is noticed, and its slot filled, 20 s late.
const INTERVAL: Duration = Duration::from_secs(2);
/// Moves that are not on the first pages are asked for one by one.
const PAGES: u32 = 3;

#[derive(Default)]
struct Inner {
    watched: BTreeMap<(ContainerKind, u64), oneshot::Sender<MoveRecord>>,
    /// Live moves of others, as of the last page read of each family.
    foreign: BTreeMap<ContainerKind, usize>,
}

/// The poller. Dropping the last handle ends it.
#[derive(Clone)]
pub(crate) struct Poller {
    inner: Arc<Mutex<Inner>>,
    wake: Arc<Notify>,
    _end: Arc<DropGuard>,
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Poller {
    pub(crate) fn start(ports: Ports) -> Self {
        let inner = Arc::new(Mutex::new(Inner::default()));
        let wake = Arc::new(Notify::new());
        let end = CancellationToken::new();
        let poller = Self { inner: inner.clone(), wake: wake.clone(), _end: Arc::new(end.clone().drop_guard()) };
        tokio::spawn(async move {
            let work = async {
                loop {
                    if lock(&inner).watched.is_empty() {
                        wake.notified().await;
                    }
                    ports.clock.sleep(INTERVAL).await;
                    for kind in [ContainerKind::Project, ContainerKind::Snippet, ContainerKind::GroupWiki] {
                        poll(&ports, &inner, kind).await;
                    }
                }
            };
            tokio::select! {
                () = end.cancelled() => {}
                () = work => {}
            }
        });
        poller
    }

    /// Resolves when the move has ended.
    pub(crate) fn watch(&self, kind: ContainerKind, id: u64) -> oneshot::Receiver<MoveRecord> {
        let (sender, receiver) = oneshot::channel();
        lock(&self.inner).watched.insert((kind, id), sender);
        self.wake.notify_one();
        receiver
    }

    /// Stops following a move.
    pub(crate) fn forget(&self, kind: ContainerKind, id: u64) {
        lock(&self.inner).watched.remove(&(kind, id));
    }

    /// Worker slots that others use now, as of the last page read.
    pub(crate) fn foreign(&self) -> usize {
        lock(&self.inner).foreign.values().sum()
    }
}

async fn poll(ports: &Ports, inner: &Mutex<Inner>, kind: ContainerKind) {
    let ids: Vec<u64> = lock(inner).watched.keys().filter(|k| k.0 == kind).map(|k| k.1).collect();
    let Some(lowest) = ids.first().copied() else {
        // Nothing is asked, so nothing is known of others.
        lock(inner).foreign.remove(&kind);
        return;
    };
    let mut seen: BTreeMap<u64, MoveRecord> = BTreeMap::new();
    for page in 1..=PAGES {
        // A page that fails leaves its moves to be asked for one by one.
        let Ok(records) = ports.gitlab.moves(kind, page).await else { break };
        let last = records.len() < 100 || records.iter().any(|r| r.id <= lowest);
        seen.extend(records.into_iter().map(|r| (r.id, r)));
        if last {
            break;
        }
    }
    let rest: Vec<u64> = ids.into_iter().filter(|id| !seen.contains_key(id)).collect();
    for id in rest {
        match ports.gitlab.move_record(kind, id).await {
            Ok(Some(record)) => {
                seen.insert(id, record);
            }
            // Gone with its container: whoever waits is told by the end of the watching.
            Ok(None) => drop(lock(inner).watched.remove(&(kind, id))),
            // Asked again at the next turn: one move that cannot be read must not hide the others.
            Err(_) => {}
        }
    }
    let mut inner = lock(inner);
    let ours: Vec<u64> = inner.watched.keys().filter(|k| k.0 == kind).map(|k| k.1).collect();
    let foreign = seen.values().filter(|r| !r.state.is_terminal() && !ours.contains(&r.id)).count();
    inner.foreign.insert(kind, foreign);
    for id in ours {
        if let Some(record) = seen.get(&id).filter(|r| r.state.is_terminal())
            && let Some(sender) = inner.watched.remove(&(kind, id))
        {
            let _ = sender.send(record.clone());
        }
    }
}
