//! What goes wrong when it was ordered to, how often each occasion arose, and the console's remedy for what GitLab does
//! not leave by itself.

use jiff::{SignedDuration, Timestamp};

use super::{Change, Housed, Move, Outages, World};
use crate::model::{Container, MoveState, StorageName};

/// How long `worker_shortage` leaves GitLab without workers.
const SHORTAGE: SignedDuration = SignedDuration::from_mins(10);
/// How long `workers_die` and `gitlab_upgrade` leave GitLab without workers.
const RESTART: SignedDuration = SignedDuration::from_mins(2);
/// How long `gitaly_down` keeps a Gitaly away.
pub(super) const DOWN: SignedDuration = SignedDuration::from_mins(2);

/// How full `disk_fills` makes a disk, bytes: above the usual ceiling, and not yet alarmingly so.
pub(super) fn filled(disk: u64) -> u64 {
    disk / 100 * 88
}

impl World {
    /// Counts an occasion of a fault; true when it strikes.
    pub fn strikes(&mut self, kind: &str) -> bool {
        if !self.spec.faults.iter().any(|f| f.kind == kind) {
            return false;
        }
        let seen = self.occasions.entry(kind.to_owned()).or_default();
        *seen = seen.saturating_add(1);
        let now = *seen;
        self.changes.push(Change::Occasions(self.occasions.clone()));
        self.spec.faults.iter().any(|f| f.kind == kind && now >= f.nth && now - f.nth < f.count)
    }

    /// True while a storage's Gitaly is away: a fault keeps it away, or its pod is.
    pub fn is_down(&self, storage: &StorageName, now: Timestamp) -> bool {
        self.pod_is_away(storage) || self.outages.gitaly.get(storage).is_some_and(|until| now < *until)
    }

    /// A storage's Gitaly is away until then.
    pub fn set_down(&mut self, storage: &StorageName, until: Timestamp) {
        let mut outages = self.outages.clone();
        outages.gitaly.insert(storage.clone(), until);
        self.note(Change::Outages(outages));
    }

    /// What GitLab says of its version.
    pub fn gitlab_version(&self) -> String {
        let version = &self.spec.gitlab_version;
        if !self.outages.upgraded {
            return version.clone();
        }
        let end = version.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(version.len());
        let (numbers, edition) = version.split_at(end);
        match numbers.rsplit_once('.') {
            Some((before, patch)) => format!("{before}.{}{edition}", patch.parse::<u64>().unwrap_or(0) + 1),
            None => format!("{numbers}.1{edition}"),
        }
    }

    /// The faults whose occasion a move is.
    pub(super) fn struck(&mut self, housed: &Housed, to: &StorageName, now: Timestamp) -> Vec<String> {
        let anybody = [
            "fail_move",
            "push_timeout",
            "cleanup_failed",
            "fast_move",
            "dead_end_a",
            "dead_end_b",
            "stuck_scheduled",
            "failed_after_switch",
            "stays_replicated",
        ];
        // An empty repository has nothing to lose: such a move is no occasion for these.
        let full = ["corrupt_copy", "lose_reference", "lose_object", "push_after_move"];
        let kinds = anybody.into_iter().chain(full.into_iter().filter(|_| !housed.empty));
        let strikes = kinds.filter(|kind| self.strikes(kind)).map(str::to_owned).collect();
        let until = |span| now.checked_add(span).unwrap_or(now);
        if self.strikes("worker_shortage") {
            let workers = Some(until(SHORTAGE));
            self.note(Change::Outages(Outages { workers, ..self.outages.clone() }));
        }
        let (die, upgrade) = (self.strikes("workers_die"), self.strikes("gitlab_upgrade"));
        if die || upgrade {
            for queued in self.live.iter().copied().collect::<Vec<_>>() {
                if let Some(m) = self.moves.get(&queued).filter(|m| m.state == MoveState::Started).cloned() {
                    let strikes = m.strikes.iter().cloned().chain(["dead_end_b".to_owned()]).collect();
                    self.unread.remove(&m.container);
                    self.put_move(Move { strikes, ..m });
                }
            }
            let workers = Some(until(RESTART));
            let upgraded = self.outages.upgraded || upgrade;
            self.note(Change::Outages(Outages { workers, upgraded, ..self.outages.clone() }));
        }
        if self.strikes("gitaly_down") {
            let mut outages = self.outages.clone();
            outages.gitaly.insert(to.clone(), until(DOWN));
            self.note(Change::Outages(outages));
        }
        if let Some(minutes) = self.begins("disk_fills") {
            let mut outages = self.outages.clone();
            outages.disks.insert(to.clone(), until(SignedDuration::from_mins(i64::from(minutes))));
            self.note(Change::Outages(outages));
        }
        self.spoil_metrics(to, now);
        strikes
    }

    /// What a person does at GitLab's console: ends the container's moves that have not ended (`do_fail!`) and makes it
    /// writable (`set_repository_writable!`). The ids of the moves it ended; `None` when there is no such container.
    pub fn repair(&mut self, container: Container) -> Option<Vec<u64>> {
        self.housed(container)?;
        let live: Vec<Move> = self.moves_of(container).filter(|m| !m.state.is_terminal()).cloned().collect();
        let ids = live.iter().map(|m| m.id).collect();
        self.unread.remove(&container);
        for m in live {
            self.put_move(Move { state: MoveState::Failed, ..m });
        }
        self.set_read_only(container, false);
        Some(ids)
    }
}
