//! One poller per run follows all moves: the pages of each family's list, newest first, answer for many moves at once, so
//! that a move costs a fraction of a request. It also sees what others keep the workers busy with, and which moves stay
//! longer in a state than they should.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::lock;
use super::pace::{Look, Turn, Workers};
use super::port::Ports;
use crate::model::{Container, ContainerKind, MoveRecord, MoveState};

/// Between two looks at least, by the fleet's clock. At a tenth of it GitLab answers twice as many requests for moves that
/// take seconds; at ten times of it a finished move is noticed, and its slot filled, 20 s late.
const INTERVAL: Duration = Duration::from_secs(2);
/// Moves that a look should find ended, on average: one look for each would be a request more a move.
const ENDED_A_LOOK: f64 = 1.5;
/// The ends that tell how fast moves end, the latest ones.
const ENDS: usize = 32;
/// While all that flies has flown for long, the lists are read less often: after this share of the youngest one's age, at
/// most [`SLOWEST`]. A slot is then empty for a tenth of its move's time at worst, and a giant of an hour costs dozens of
/// requests, not thousands.
const SHARE: u32 = 10;
const SLOWEST: Duration = Duration::from_secs(30);
/// Moves that are not on the first pages are asked for one by one.
const PAGES: u32 = 3;
/// Pages that are read for what others have under way, to the first with a move that has ended: somebody who schedules in
/// bulk fills many.
const PAGES_AROUND: u32 = 20;
/// The families of moves, those with most first.
const KINDS: [ContainerKind; 3] = [ContainerKind::Project, ContainerKind::Snippet, ContainerKind::GroupWiki];

type Key = (ContainerKind, u64);

/// `initial` is left within the request that makes the move.
const INITIAL: u64 = 60;
/// A queue's usual latency is seconds; below five minutes a busy shard would be called sick.
const SCHEDULED: u64 = 5 * 60;
/// The deletion of the source's copies takes seconds.
const REPLICATED: u64 = 10 * 60;
/// Looks after which a move that still waits, while fewer are at work than there are workers, may have lost its job.
const DOUBTFUL: u32 = 10;
/// Seconds after which a move of others that has not ended is taken for dead: GitLab's own call ends after six hours for
/// each repository, and a container has few.
const FORGOTTEN: u64 = 24 * 3600;
/// A state that this version does not know.
const OTHER: u64 = 60 * 60;
/// Latencies of the queue that are kept: their 99th percentile is then one of the ten longest.
const LATENCIES: usize = 1000;

/// What became of a move that is watched.
#[derive(Debug)]
pub(crate) enum Seen {
    /// It has ended.
    Ended {
        record: MoveRecord,
        /// A worker was seen to have taken it.
        started: bool,
    },
    /// It stays in a state for longer than it should. It is watched on: [`Poller::again`] or [`Poller::forget`].
    Stuck { state: MoveState, seconds: u64 },
}

struct Watched {
    sender: Option<oneshot::Sender<Seen>>,
    /// Seconds that it may be `started`; `None`: nothing is called stuck.
    started_limit: Option<u64>,
    began: Timestamp,
    state: MoveState,
    since: Timestamp,
    started: bool,
    /// It was seen taken by a worker, or to have ended.
    taken: bool,
    /// Not called stuck before.
    pardoned: Timestamp,
}

impl Watched {
    /// True of a move of this run, or taken for one: those of others are only waited for.
    fn is_ours(&self) -> bool {
        self.started_limit.is_some()
    }
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
    watched: BTreeMap<(ContainerKind, u64), Watched>,
    /// Live moves of others, as of the last page read of each family.
    foreign: BTreeMap<ContainerKind, usize>,
    /// The newest move of each family that a worker has taken.
    newest_taken: BTreeMap<ContainerKind, u64>,
    /// Seconds that moves waited for a worker, the latest ones.
    latencies: Vec<u64>,
    /// Scheduled as of the last page read, and for how many looks each has been so.
    scheduled: BTreeMap<Key, u32>,
    /// Containers whose moves are `replicated`: they can be written to again.
    writable: BTreeSet<Container>,
    /// Containers of which a move is dead: it keeps no worker busy, whatever its state.
    dead: BTreeSet<Container>,
    workers: Workers,
    /// Moves at work at the last look, anybody's.
    at_work: usize,
    /// More would be scheduled, were more known to be taken; until the next look.
    pressed: bool,
    /// Since when moves of others alone keep ours from beginning, while nothing of ours is followed.
    kept: Option<Timestamp>,
    turns: Vec<Turn>,
    taken: Vec<Taken>,
    ends: Ends,
}

/// When the latest moves were seen to have ended, each with how long it had been followed.
#[derive(Default)]
struct Ends(VecDeque<(Timestamp, Duration)>);

impl Ends {
    fn saw(&mut self, at: Timestamp, followed: Duration) {
        if self.0.len() >= ENDS {
            self.0.pop_front();
        }
        self.0.push_back((at, followed));
    }

    /// How long until a few more have ended; while few slots work, no longer than half a move: one that has ended would
    /// keep its slot for too long.
    fn pace(&self) -> Duration {
        let (Some((first, _)), Some((last, _))) = (self.0.front(), self.0.back()) else { return INTERVAL };
        let ended = u32::try_from(self.0.iter().filter(|(at, _)| at > first).count()).unwrap_or(u32::MAX);
        let Some(between) = last.duration_since(*first).unsigned_abs().checked_div(ended) else { return INTERVAL };
        let mut followed: Vec<Duration> = self.0.iter().map(|(_, followed)| *followed).collect();
        followed.sort_unstable();
        let usual = followed.get(followed.len() / 2).copied().unwrap_or_default();
        between.mul_f64(ENDED_A_LOOK).min(usual / 2).clamp(INTERVAL, SLOWEST)
    }
}

impl Inner {
    /// True when there is nothing to look at.
    fn is_idle(&self) -> bool {
        self.watched.is_empty() && self.kept.is_none()
    }

    /// True while only moves of others tell when ours may begin.
    fn waits_for_others(&self) -> bool {
        self.watched.is_empty() && self.kept.is_some()
    }

    /// Seconds that a move may be in a state.
    fn limit(&self, watched: &Watched) -> Option<u64> {
        let started = watched.started_limit?;
        Some(match watched.state {
            MoveState::Initial => INITIAL,
            MoveState::Scheduled => SCHEDULED.max(p99(&self.latencies).saturating_mul(3)),
            MoveState::Started => started,
            MoveState::Replicated => REPLICATED,
            _ => OTHER,
        })
    }

    fn waited(&mut self, seconds: u64) {
        if self.latencies.len() >= LATENCIES {
            self.latencies.remove(0);
        }
        self.latencies.push(seconds);
    }

    /// Takes a move's record; hands out what its follower must know.
    fn take(&mut self, key: (ContainerKind, u64), record: Option<&MoveRecord>, now: Timestamp) {
        let Some(watched) = self.watched.get_mut(&key) else { return };
        let queued = matches!(watched.state, MoveState::Initial | MoveState::Scheduled);
        if let Some(record) = record {
            if record.state.is_terminal() {
                let (sender, began) = (watched.sender.take(), watched.began);
                let (started, ours) = (watched.started, watched.is_ours());
                self.watched.remove(&key);
                self.writable.remove(&record.container);
                self.ends.saw(now, now.duration_since(began).unsigned_abs());
                if queued && ours && record.state != MoveState::Failed {
                    // It came and went between two looks.
                    self.waited(between(began, now).min(INTERVAL.as_secs()));
                }
                if let Some(sender) = sender {
                    let started = started || record.state != MoveState::Failed;
                    let _ = sender.send(Seen::Ended { record: record.clone(), started });
                }
                return;
            }
            if record.state != watched.state {
                watched.state = record.state.clone();
                watched.since = now;
                watched.started |= matches!(record.state, MoveState::Started | MoveState::Replicated);
                let (began, ours) = (watched.began, watched.is_ours());
                if record.state == MoveState::Replicated {
                    self.writable.insert(record.container);
                }
                if queued && ours && !matches!(record.state, MoveState::Initial | MoveState::Scheduled) {
                    self.waited(between(began, now));
                }
            }
        }
        // Also while nothing could be read: whoever follows it asks anew.
        let Some(watched) = self.watched.get(&key) else { return };
        let seconds = between(watched.since, now);
        let late = now >= watched.pardoned && self.limit(watched).is_some_and(|limit| seconds > limit);
        if late
            && let Some(watched) = self.watched.get_mut(&key)
            && let Some(sender) = watched.sender.take()
        {
            let _ = sender.send(Seen::Stuck { state: watched.state.clone(), seconds });
        }
    }
}

fn between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_secs()).unwrap_or(0)
}

fn p99(latencies: &[u64]) -> u64 {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    sorted.get((sorted.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0)
}

/// The poller. Dropping the last handle ends it.
#[derive(Clone)]
pub(crate) struct Poller {
    ports: Ports,
    inner: Arc<Mutex<Inner>>,
    wake: Arc<Notify>,
    news: Arc<Notify>,
    _end: Arc<DropGuard>,
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
                    if lock(&inner).is_idle() {
                        wake.notified().await;
                    }
                    let (pace, pause) = {
                        let inner = lock(&inner);
                        let pace = inner.ends.pace();
                        let youngest = inner.watched.values().map(|w| w.began).max().or(inner.kept);
                        (pace, pause(youngest, ports.clock.now()).max(pace))
                    };
                    if pause > pace {
                        // A new move may be a quick one.
                        tokio::select! {
                            () = ports.clock.sleep(pause) => {}
                            () = wake.notified() => ports.clock.sleep(pace).await,
                        }
                    } else {
                        ports.clock.sleep(pause).await;
                    }
                    let around = lock(&inner).waits_for_others().then_some(&KINDS[..]);
                    if round(&ports, &inner, around).await {
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

    /// Resolves when the move has ended, or when it stays in a state for longer than it should: `started` for more than
    /// `started_limit` seconds, the others by themselves. Without a limit only at its end. An error: it is gone.
    pub(crate) fn watch(&self, kind: ContainerKind, id: u64, started_limit: Option<u64>) -> oneshot::Receiver<Seen> {
        let (sender, receiver) = oneshot::channel();
        let now = self.ports.clock.now();
        let watched = Watched {
            sender: Some(sender),
            started_limit,
            began: now,
            state: MoveState::Scheduled,
            since: now,
            started: false,
            taken: false,
            pardoned: now,
        };
        {
            let mut inner = lock(&self.inner);
            inner.watched.insert((kind, id), watched);
            inner.kept = None;
        }
        self.wake.notify_one();
        receiver
    }

    /// Watches on a move that was called stuck; it is not called so again for that many seconds.
    pub(crate) fn again(&self, kind: ContainerKind, id: u64, seconds: u64) -> oneshot::Receiver<Seen> {
        let (sender, receiver) = oneshot::channel();
        let pardon = jiff::SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        let now = self.ports.clock.now();
        if let Some(watched) = lock(&self.inner).watched.get_mut(&(kind, id)) {
            watched.pardoned = now.checked_add(pardon).unwrap_or(Timestamp::MAX);
            watched.sender = Some(sender);
        }
        self.wake.notify_one();
        receiver
    }

    /// Stops following a move.
    pub(crate) fn forget(&self, kind: ContainerKind, id: u64) {
        lock(&self.inner).watched.remove(&(kind, id));
    }

    /// True when a worker has taken a move of that family that was made later: the queue moves, past this one.
    pub(crate) fn is_overtaken(&self, kind: ContainerKind, id: u64) -> bool {
        lock(&self.inner).newest_taken.get(&kind).is_some_and(|taken| *taken > id)
    }

    /// True when a worker was at work at the last look, on anybody's move.
    pub(crate) fn is_at_work(&self) -> bool {
        lock(&self.inner).at_work > 0
    }

    /// True of a container that is followed and can be written to again, though its move has not ended.
    pub(crate) fn is_writable(&self, container: Container) -> bool {
        lock(&self.inner).writable.contains(&container)
    }

    /// Moves that are followed now.
    pub(crate) fn following(&self) -> usize {
        lock(&self.inner).watched.len()
    }

    /// This container is set aside: should a move of it stay, it keeps no worker busy.
    pub(crate) fn dead(&self, container: Container) {
        lock(&self.inner).dead.insert(container);
    }

    /// Worker slots that others use now, as of the last page read.
    pub(crate) fn foreign(&self) -> usize {
        lock(&self.inner).foreign.values().sum()
    }

    /// Moves of all that GitLab's workers take at once, as far as that was found.
    pub(crate) fn workers(&self) -> usize {
        lock(&self.inner).workers.slots()
    }

    /// Says whether a move is kept from beginning by what is known of the workers, or of what others keep them busy with:
    /// then that is looked at also while nothing of ours is under way.
    pub(crate) fn kept(&self, is_kept: bool) {
        let mut inner = lock(&self.inner);
        inner.pressed |= is_kept;
        let alone = is_kept && inner.watched.is_empty();
        inner.kept = if alone { inner.kept.or_else(|| Some(self.ports.clock.now())) } else { None };
        if alone {
            self.wake.notify_one();
        }
    }

    /// Looks at what others have under way, before anything of ours is.
    pub(crate) async fn look_around(&self) {
        if lock(&self.inner).watched.is_empty() {
            round(&self.ports, &self.inner, Some(&KINDS[..1])).await;
            let mut inner = lock(&self.inner);
            let (at_work, others) = (inner.at_work, inner.foreign.values().sum());
            inner.workers.begin_beside(at_work, others);
        }
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

/// How long until the lists are read again, as far as the youngest of what flies decides it.
fn pause(youngest: Option<Timestamp>, now: Timestamp) -> Duration {
    let age = youngest.map_or(Duration::ZERO, |since| now.duration_since(since).unsigned_abs());
    (age / SHARE).clamp(INTERVAL, SLOWEST)
}

/// Reads all families of which something is followed; `around`: these, for what others have under way. True: there is news
/// beside moves that ended.
async fn round(ports: &Ports, inner: &Mutex<Inner>, around: Option<&[ContainerKind]>) -> bool {
    let mut look = Look::default();
    let mut scheduled = BTreeMap::new();
    let before = lock(inner).foreign.clone();
    for kind in KINDS {
        let around = around.is_some_and(|kinds| kinds.contains(&kind));
        poll(ports, inner, kind, around, &mut look, &mut scheduled).await;
    }
    let mut inner = lock(inner);
    inner.scheduled = scheduled;
    // Whoever waits for others goes on asking for more.
    look.pressed = std::mem::take(&mut inner.pressed) || inner.kept.is_some();
    look.alone = inner.watched.is_empty();
    inner.at_work = look.at_work;
    let turn = inner.workers.look(look);
    let news = turn.is_some() || !inner.taken.is_empty() || inner.foreign != before;
    inner.turns.extend(turn);
    news
}

async fn poll(
    ports: &Ports,
    inner: &Mutex<Inner>,
    kind: ContainerKind,
    around: bool,
    look: &mut Look,
    scheduled: &mut BTreeMap<Key, u32>,
) {
    let ids: Vec<u64> = lock(inner).watched.keys().filter(|k| k.0 == kind).map(|k| k.1).collect();
    let lowest = ids.first().copied();
    if lowest.is_none() && !around {
        // Nothing is asked: what was seen last stands while nothing flies, and counts for nothing beside other families.
        let mut inner = lock(inner);
        if !inner.watched.is_empty() {
            inner.foreign.remove(&kind);
        }
        return;
    }
    let pages = if lowest.is_some() { PAGES } else { PAGES_AROUND };
    let mut seen: BTreeMap<u64, MoveRecord> = BTreeMap::new();
    for page in 1..=pages {
        // A page that fails leaves its moves to be asked for one by one.
        let Ok(records) = ports.gitlab.moves(kind, page).await else { break };
        let is_end = |r: &MoveRecord| lowest.map_or_else(|| r.state.is_terminal(), |lowest| r.id <= lowest);
        let last = records.len() < 100 || records.iter().any(is_end);
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
    let by_worker = |r: &&MoveRecord| {
        matches!(r.state, MoveState::Started | MoveState::Replicated | MoveState::Finished | MoveState::CleanupFailed)
    };
    if let Some(newest) = seen.values().filter(by_worker).map(|r| r.id).max() {
        let taken = inner.newest_taken.entry(kind).or_default();
        *taken = newest.max(*taken);
    }
    // The newest that was taken: what was scheduled before it and still is has been passed over.
    let taken = seen.values().rev().find(|r| !queued(&r.state)).map_or(0, |r| r.id);
    let mut foreign = 0;
    for record in seen.values() {
        let key = (kind, record.id);
        let ours = inner.watched.get(&key).is_some_and(Watched::is_ours);
        let old = record.created_at.is_some_and(|made| between(made, now) > FORGOTTEN);
        let lives = !inner.dead.contains(&record.container) && (ours || !old);
        if !record.state.is_terminal() && lives {
            let looks = inner.scheduled.get(&key).map_or(0, |looks| looks + 1);
            let lost = queued(&record.state) && record.id <= taken && looks > DOUBTFUL;
            look.outstanding += 1;
            foreign += usize::from(!ours && !lost);
            if queued(&record.state) {
                scheduled.insert(key, looks);
                look.fresh += usize::from(looks == 0);
                if record.id > taken && looks > 0 {
                    look.waiting += 1;
                    look.doubtful += usize::from(looks > DOUBTFUL);
                }
            } else {
                look.at_work += 1;
            }
        }
        if let Some(watched) = inner.watched.get_mut(&key)
            && watched.is_ours()
            && !queued(&record.state)
            && !std::mem::replace(&mut watched.taken, true)
        {
            let millis = now.duration_since(watched.began).as_millis();
            inner.taken.push(Taken { record: record.clone(), millis: u64::try_from(millis).unwrap_or(0) });
        }
    }
    let ours: Vec<u64> = inner.watched.keys().filter(|k| k.0 == kind).map(|k| k.1).collect();
    for id in ours {
        inner.take((kind, id), seen.get(&id), now);
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
    fn a_busy_queue_is_given_three_times_its_usual_latency() {
        let now = Timestamp::UNIX_EPOCH;
        let watched = |state| Watched {
            sender: None,
            started_limit: Some(77),
            began: now,
            state,
            since: now,
            started: false,
            taken: false,
            pardoned: now,
        };
        let mut inner = Inner::default();
        assert_eq!(inner.limit(&watched(MoveState::Initial)), Some(INITIAL));
        assert_eq!(inner.limit(&watched(MoveState::Scheduled)), Some(SCHEDULED), "nothing was observed yet");
        assert_eq!(inner.limit(&watched(MoveState::Started)), Some(77));
        assert_eq!(inner.limit(&watched(MoveState::Replicated)), Some(REPLICATED));
        assert_eq!(inner.limit(&Watched { started_limit: None, ..watched(MoveState::Started) }), None);
        (0..100).for_each(|n| inner.waited(if n < 98 { 5 } else { 400 }));
        assert_eq!(inner.limit(&watched(MoveState::Scheduled)), Some(1200));
        (0..2 * LATENCIES).for_each(|_| inner.waited(5));
        assert_eq!((inner.limit(&watched(MoveState::Scheduled)), inner.latencies.len()), (Some(SCHEDULED), LATENCIES));
    }

    #[test]
    fn a_look_finds_more_than_one_move_ended() {
        let at = |millis: i64| Timestamp::from_millisecond(millis).expect("a time");
        let pace = |slots: i64, millis: i64| {
            let mut ends = Ends::default();
            (0..ENDS as i64).for_each(|n| {
                ends.saw(at(n * millis / slots), Duration::from_millis(millis.unsigned_abs()));
            });
            ends.pace().as_secs_f64()
        };
        assert_eq!(Ends::default().pace(), INTERVAL, "nothing is known");
        assert_eq!(pace(4, 8000), 3.0);
        assert_eq!(pace(1, 8000), 4.0, "one slot: half a move");
        assert_eq!(pace(64, 8000), 2.0);
        assert_eq!(pace(1, 3_600_000), 30.0);
        let mut at_once = Ends::default();
        (0..4).for_each(|_| at_once.saw(at(7), Duration::from_secs(60)));
        assert_eq!(at_once.pace(), INTERVAL, "all in one look");
    }

    #[test]
    fn the_lists_are_read_seldom_while_only_giants_fly() {
        let at = |second: i64| Timestamp::from_second(second).expect("a time");
        assert_eq!(pause(Some(at(990)), at(1000)), INTERVAL);
        assert_eq!(pause(Some(at(900)), at(1000)), Duration::from_secs(10));
        assert_eq!(pause(Some(at(0)), at(1000)), SLOWEST);
        assert_eq!(pause(Some(at(0)), at(-5)), Duration::from_secs(2), "a clock that went back");
        assert_eq!(pause(None, at(1000)), INTERVAL);
    }
}
