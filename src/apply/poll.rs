//! Follows all moves in flight by GitLab's lists: one page, newest first, tells of a hundred moves, and of how busy
//! GitLab's workers are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::pace::{Look, Turn, Workers};
use super::port::Ports;
use crate::model::{ContainerKind, MoveRecord, MoveState};

/// How often the lists are read, by the fleet's clock. At half of it GitLab answers twice as many requests for moves that
/// take seconds; at ten times of it a finished move is noticed, and its slot filled, 20 s late.
const INTERVAL: Duration = Duration::from_secs(2);
/// While all that flies has flown for long, the lists are read less often: after this share of the youngest one's age, at
/// most [`SLOWEST`]. A slot is then empty for a tenth of its move's time at worst, and a giant of an hour costs dozens of
/// requests, not thousands.
const SHARE: u32 = 10;
const SLOWEST: Duration = Duration::from_secs(30);
/// Moves that are not on the first pages are asked for one by one.
const PAGES: u32 = 3;
/// The families of moves.
const KINDS: [ContainerKind; 3] = [ContainerKind::Project, ContainerKind::Snippet, ContainerKind::GroupWiki];

type Key = (ContainerKind, u64);

/// A move that is followed.
struct Watched {
    ended: oneshot::Sender<MoveRecord>,
    since: Timestamp,
    /// It was seen taken by a worker.
    taken: bool,
}

/// A move that a worker was seen to have taken.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) record: MoveRecord,
    /// Milliseconds since it is followed, which is since its POST.
    pub(crate) millis: u64,
}

#[derive(Default)]
struct Inner {
    watched: BTreeMap<Key, Watched>,
    /// Live moves of others, as of the last page read of each family.
    foreign: BTreeMap<ContainerKind, usize>,
    /// Scheduled as of the last page read.
    scheduled: BTreeSet<Key>,
    workers: Workers,
    turns: Vec<Turn>,
    taken: Vec<Taken>,
}

/// The poller. Dropping the last handle ends it.
#[derive(Clone)]
pub(crate) struct Poller {
    inner: Arc<Mutex<Inner>>,
    wake: Arc<Notify>,
    news: Arc<Notify>,
    ports: Ports,
    _end: Arc<DropGuard>,
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Poller {
    pub(crate) fn start(ports: Ports) -> Self {
        let inner = Arc::new(Mutex::new(Inner::default()));
        let (wake, news): (Arc<Notify>, Arc<Notify>) = Default::default();
        let end = CancellationToken::new();
        let poller = Self {
            inner: inner.clone(),
            wake: wake.clone(),
            news: news.clone(),
            ports: ports.clone(),
            _end: Arc::new(end.clone().drop_guard()),
        };
        tokio::spawn(async move {
            let work = async {
                loop {
                    if lock(&inner).watched.is_empty() {
                        wake.notified().await;
                    }
                    let pause = pause(&lock(&inner).watched, ports.clock.now());
                    if pause > INTERVAL {
                        // A new move may be a quick one.
                        tokio::select! {
                            () = ports.clock.sleep(pause) => {}
                            () = wake.notified() => ports.clock.sleep(INTERVAL).await,
                        }
                    } else {
                        ports.clock.sleep(pause).await;
                    }
                    if round(&ports, &inner).await {
                        news.notify_one();
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
        let (ended, receiver) = oneshot::channel();
        let since = self.ports.clock.now();
        lock(&self.inner).watched.insert((kind, id), Watched { ended, since, taken: false });
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

    /// Moves of all that GitLab's workers take at once, as far as that was found.
    pub(crate) fn workers(&self) -> usize {
        lock(&self.inner).workers.slots()
    }

    /// True when the workers were seen all busy.
    pub(crate) fn workers_found(&self) -> bool {
        lock(&self.inner).workers.found()
    }

    /// Returns when what others leave free has changed, or a worker took a move.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// What changed since this was asked last.
    pub(crate) fn changes(&self) -> (Vec<Turn>, Vec<Taken>) {
        let mut inner = lock(&self.inner);
        (std::mem::take(&mut inner.turns), std::mem::take(&mut inner.taken))
    }
}

/// How long until the lists are read again.
fn pause(watched: &BTreeMap<Key, Watched>, now: Timestamp) -> Duration {
    let youngest = watched.values().map(|w| w.since).max();
    let age = youngest.map_or(Duration::ZERO, |since| now.duration_since(since).unsigned_abs());
    (age / SHARE).clamp(INTERVAL, SLOWEST)
}

/// Reads all families of which something is followed. True: there is news beside moves that ended.
async fn round(ports: &Ports, inner: &Mutex<Inner>) -> bool {
    let mut look = Look::default();
    let mut scheduled = BTreeSet::new();
    for kind in KINDS {
        poll(ports, inner, kind, &mut look, &mut scheduled).await;
    }
    let mut inner = lock(inner);
    inner.scheduled = scheduled;
    let turn = inner.workers.look(look);
    let news = turn.is_some() || !inner.taken.is_empty();
    inner.turns.extend(turn);
    news
}

async fn poll(
    ports: &Ports,
    inner: &Mutex<Inner>,
    kind: ContainerKind,
    look: &mut Look,
    scheduled: &mut BTreeSet<Key>,
) {
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
    let now = ports.clock.now();
    let mut inner = lock(inner);
    let inner = &mut *inner;
    // The newest that was taken: what was scheduled before it and still is has been passed over.
    let taken = seen.values().rev().find(|r| !queued(&r.state)).map_or(0, |r| r.id);
    let mut foreign = 0;
    for record in seen.into_values() {
        let key = (kind, record.id);
        if !record.state.is_terminal() {
            look.outstanding += 1;
            foreign += usize::from(!inner.watched.contains_key(&key));
            if queued(&record.state) {
                scheduled.insert(key);
                look.waiting += usize::from(record.id > taken && inner.scheduled.contains(&key));
            } else {
                look.at_work += 1;
            }
        }
        if let Some(watched) = inner.watched.get_mut(&key)
            && !queued(&record.state)
            && !std::mem::replace(&mut watched.taken, true)
        {
            let millis = now.duration_since(watched.since).as_millis();
            inner.taken.push(Taken { record: record.clone(), millis: u64::try_from(millis).unwrap_or(0) });
        }
        if record.state.is_terminal()
            && let Some(watched) = inner.watched.remove(&key)
        {
            let _ = watched.ended.send(record);
        }
    }
    inner.foreign.insert(kind, foreign);
}

fn queued(state: &MoveState) -> bool {
    matches!(state, MoveState::Initial | MoveState::Scheduled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_read_seldom_while_only_giants_fly() {
        let at = |second: i64| Timestamp::from_second(second).expect("a time");
        let since = |seconds: &[i64]| -> BTreeMap<Key, Watched> {
            let watched = |since| Watched { ended: oneshot::channel().0, since: at(since), taken: false };
            (1u64..).zip(seconds).map(|(id, since)| ((ContainerKind::Project, id), watched(*since))).collect()
        };
        assert_eq!(pause(&since(&[0, 990]), at(1000)), INTERVAL, "the youngest decides");
        assert_eq!(pause(&since(&[0, 900]), at(1000)), Duration::from_secs(10));
        assert_eq!(pause(&since(&[0]), at(1000)), SLOWEST);
        assert_eq!(pause(&since(&[0]), at(-5)), Duration::from_secs(2), "a clock that went back");
    }
}
