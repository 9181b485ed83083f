//! What must hold before anything moves (safe-migration §13): storages that can be reached and are what they were,
//! pairs that GitLab would really copy between, a token that lasts. Only what the plan needs is asked for.

use std::collections::BTreeSet;

use super::pods::Pods;
use super::{Finding, Level, WaitingOn, diff};
use crate::model::{Assignment, Desired, Observed, Reading, ServerFacts, StorageName, TokenFacts};
use crate::state::State;

/// Checks storages as the planner comes to need them, and keeps what it found.
pub(super) struct Preflight<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    state: &'a State,
    pods: &'a Pods<'a>,
    findings: BTreeSet<Finding>,
    /// Storages that were asked for.
    needed: BTreeSet<&'a StorageName>,
}

impl<'a> Preflight<'a> {
    /// Begins without findings.
    pub(super) fn new(desired: &'a Desired, observed: &'a Observed, state: &'a State, pods: &'a Pods<'a>) -> Self {
        let findings = pods.findings.iter().cloned().collect();
        Self { desired, observed, state, pods, findings, needed: BTreeSet::new() }
    }

    /// Adds a finding.
    pub(super) fn add(&mut self, level: Level, code: &str, subject: &str, message: String, help: &str) {
        self.findings.insert(Finding {
            level,
            code: code.to_owned(),
            subject: subject.to_owned(),
            message,
            help: help.to_owned(),
            blocks_drain: false,
        });
    }

    /// All findings, the worst first.
    pub(super) fn finish(mut self) -> Vec<Finding> {
        for (storage, facts) in &self.observed.storages {
            // A storage that was proven empty may be switched off.
            let drained = self.state.storage(storage).is_some_and(|record| record.drained.is_some());
            if let Reading::Unknown(cause) = &facts.server
                && !self.needed.contains(storage)
                && !self.excused(storage)
                && !drained
                && self.desired.storages.contains_key(storage)
            {
                let message = format!("{storage} cannot be asked ({cause}). Nothing in this plan needs it.");
                self.add(Level::Notice, "storage-unreachable", storage.as_str(), message, "");
            }
        }
        self.findings.into_iter().collect()
    }

    /// Asks whether repositories of a storage may move where an assignment sends them, and what they wait for if not.
    ///
    /// All of `to` must be usable: a spread over some of it could never be evened out, as being on any storage of
    /// `to` is being in place.
    pub(super) fn route(&mut self, source: &'a StorageName, assignment: &'a Assignment) -> Option<WaitingOn> {
        // GitLab refuses a move off a storage that it does not list as well as one to it.
        let mut ends = std::iter::once(source).chain(&assignment.to);
        let listed = |storage: &StorageName| {
            self.observed.gitlab.weights.contains_key(storage) || self.pods.learned.contains(storage)
        };
        if let Some(storage) = ends.find(|storage| !listed(storage)) {
            return Some(diff::to_know(self.desired, self.pods, storage));
        }
        let mut blocked = (!self.source(source)).then_some(source);
        for destination in &assignment.to {
            if !self.destination(destination) || !self.pair(source, destination) {
                blocked = blocked.or(Some(destination));
            }
        }
        blocked.map(|storage| WaitingOn::Storage { storage: storage.clone() })
    }

    /// True for a storage that this plan makes.
    fn is_coming(&self, storage: &StorageName) -> bool {
        self.pods.coming.contains_key(storage)
    }

    /// True for a storage that is away for a reason that is told elsewhere.
    fn excused(&self, storage: &StorageName) -> bool {
        self.is_coming(storage) || self.pods.mending.contains(storage) || self.pods.refused.contains(storage)
    }

    /// Asks whether a storage can be read from, and emptied.
    pub(super) fn source(&mut self, storage: &'a StorageName) -> bool {
        let Some(server) = self.server(storage) else { return false };
        if !server.writeable {
            let message = format!("{storage} is not writeable: GitLab may fail to delete what has left it.");
            let help = "If the disk is full, make some room. A copy that stays behind keeps a drain from being proven.";
            self.add(Level::Danger, "source-not-writeable", storage.as_str(), message, help);
        }
        server.readable
    }

    /// Asks whether a storage can take repositories, as far as its Gitaly tells.
    pub(super) fn receives(&mut self, storage: &'a StorageName) -> bool {
        if self.pods.left_out.contains(storage) {
            return false;
        }
        if self.is_coming(storage) {
            return true;
        }
        let Some(server) = self.server(storage) else { return false };
        if !server.writeable {
            let message = format!("{storage} is to take repositories and is not writeable.");
            let help = "Look at the disk: it is full, or mounted read-only.";
            self.add(Level::Error, "not-writeable", storage.as_str(), message, help);
        }
        server.readable && server.writeable
    }

    fn destination(&mut self, storage: &'a StorageName) -> bool {
        let receives = self.receives(storage);
        if receives
            && !self.is_coming(storage)
            && let Some(Reading::Unknown(cause)) = self.observed.storages.get(storage).map(|facts| &facts.disk)
        {
            let message = format!("The room on {storage} is not known ({cause}), and nothing moves there without.");
            let help = "Find out why Gitaly's DiskStatistics fails there, and plan again.";
            self.add(Level::Error, "disk-unknown", storage.as_str(), message, help);
            return false;
        }
        receives
    }

    /// The server of a storage that the plan needs, if nothing is wrong with it as such.
    fn server(&mut self, storage: &'a StorageName) -> Option<&'a ServerFacts> {
        let first = self.needed.insert(storage);
        let server = match self.observed.storages.get(storage).map(|facts| &facts.server) {
            Some(Reading::Known(server)) => server,
            _ if self.pods.mending.contains(storage) => {
                let message =
                    format!("{storage} cannot be asked now; this plan may bring it back. What goes there waits.");
                self.add(Level::Notice, "storage-away", storage.as_str(), message, "Plan again when it is back.");
                return None;
            }
            _ if self.excused(storage) => return None,
            other => {
                if first {
                    let cause = match other {
                        Some(Reading::Unknown(cause)) => cause.as_str(),
                        _ => "it was not asked",
                    };
                    let message = format!("{storage} cannot be asked ({cause}), and this plan needs it.");
                    let help = "See that its Gitaly runs, that the address and the token are right, or leave it out \
                                with --exclude.";
                    self.add(Level::Error, "storage-unreachable", storage.as_str(), message, help);
                }
                return None;
            }
        };
        let sound = self.identity(storage, server);
        if server.replication_factor > 1 {
            let message = format!(
                "{storage} is a Praefect cluster (replication factor {}): a move there is not what it is on a Gitaly.",
                server.replication_factor
            );
            self.add(
                Level::Error,
                "praefect",
                storage.as_str(),
                message,
                "Leave storages behind Praefect out of `from` and `to`.",
            );
            return None;
        }
        if !server.readable {
            let message = format!("{storage} is not readable.");
            self.add(Level::Error, "not-readable", storage.as_str(), message, "Look at the disk behind it.");
        }
        sound.then_some(server)
    }

    /// A known storage must still be the disk that it was.
    fn identity(&mut self, storage: &StorageName, server: &ServerFacts) -> bool {
        let recorded = self.state.storage(storage).and_then(|record| record.filesystem_id.as_deref());
        match recorded {
            Some(recorded) if recorded != server.filesystem_id => {
                let message = format!(
                    "{storage} had the filesystem id {recorded}, and now has {}: an empty or another disk is behind it.",
                    if server.filesystem_id.is_empty() { "none" } else { &server.filesystem_id }
                );
                let help = "Bring the old disk back. If the change was meant, forget the old id: tranship state rm \
                            for this storage.";
                self.add(Level::Error, "filesystem-id-changed", storage.as_str(), message, help);
                false
            }
            _ => true,
        }
    }

    /// Between two names of one filesystem GitLab copies nothing: that looks like a move and is none.
    fn pair(&mut self, source: &StorageName, destination: &StorageName) -> bool {
        // A new disk gets its id when its Gitaly starts: compared just before its first moves.
        if self.is_coming(destination) {
            return true;
        }
        let server = |name: &StorageName| self.observed.storages.get(name).and_then(|facts| facts.server.known());
        let (Some(from), Some(to)) = (server(source), server(destination)) else { return false };
        let nameless = from.filesystem_id.is_empty() || to.filesystem_id.is_empty();
        if !nameless && from.filesystem_id != to.filesystem_id {
            return true;
        }
        let what = if !nameless {
            format!("the same filesystem id ({})", from.filesystem_id)
        } else {
            let nameless: Vec<&str> = [(source, from), (destination, to)]
                .into_iter()
                .filter(|(_, server)| server.filesystem_id.is_empty())
                .map(|(name, _)| name.as_str())
                .collect();
            format!("no filesystem id to compare (missing on {})", nameless.join(" and "))
        };
        let message =
            format!("{source} and {destination} have {what}: GitLab might take them for one disk and copy nothing.");
        let help = "Two names of one disk cannot be drained into each other. After a disk was cloned, remove \
                    .gitaly-metadata from the clone's root and restart its Gitaly.";
        self.add(Level::Error, "equal-filesystem-ids", &format!("{source}, {destination}"), message, help);
        false
    }

    /// Compares versions of a pair that moves run between.
    pub(super) fn versions(&mut self, source: &StorageName, destination: &StorageName) {
        let running = |name: &StorageName| {
            let server = self.observed.storages.get(name).and_then(|facts| facts.server.known());
            let coming = self.pods.coming.get(name).and_then(|one| one.version.clone());
            server.map(|server| server.version.clone()).or(coming)
        };
        let (Some(from), Some(to)) = (running(source), running(destination)) else { return };
        let subject = format!("{source}, {destination}");
        match (version(&from), version(&to)) {
            (Some(old), Some(new)) if new < old => {
                let message = format!("{destination} runs Gitaly {to}, older than {source}'s {from}.");
                let help = "Bring the destination to the source's version first: an older Git may not read what a newer one wrote.";
                self.add(Level::Danger, "destination-older", &subject, message, help);
            }
            (Some(_), Some(_)) => {}
            _ => {
                let message = format!(
                    "The Gitaly versions of {source} ({from:?}) and {destination} ({to:?}) cannot be compared."
                );
                self.add(
                    Level::Notice,
                    "version-unknown",
                    &subject,
                    message,
                    "See that the destination's is not older.",
                );
            }
        }
    }

    /// Checks that the token may do what is planned, and lasts as long as that takes.
    pub(super) fn token(&mut self, seconds: u64) {
        let token = match &self.observed.gitlab.token {
            Reading::Known(token) => token,
            Reading::Unknown(cause) => {
                let message = format!("The token's rights and expiry are not known ({cause}).");
                self.add(
                    Level::Danger,
                    "token-unknown",
                    "token",
                    message,
                    "See that it has the scope api and lasts long enough.",
                );
                return;
            }
        };
        if !token.scopes.iter().any(|scope| scope == "api") {
            let message = format!("The token's scopes are {}: without api it can change nothing.", list(&token.scopes));
            self.add(
                Level::Error,
                "token-scope",
                "token",
                message,
                "Make an administrator's token with the scope api.",
            );
        }
        self.expiry(token, seconds);
    }

    fn expiry(&mut self, token: &TokenFacts, seconds: u64) {
        // GitLab's rule: expired when `expires_at <= now`, and a date is 00:00 UTC of that day.
        let Some(ends) = token.expires_at else { return };
        let day = |time: jiff::Timestamp| time.to_zoned(jiff::tz::TimeZone::UTC).date();
        let now = self.observed.as_of;
        let length = jiff::SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        let end = now.checked_add(length).map_or(jiff::civil::Date::MAX, day);
        let help = "Rotate the token first.";
        if ends <= day(now) {
            let message = format!("The token expired on {ends} at 00:00 UTC.");
            self.add(Level::Error, "token-expired", "token", message, help);
        } else if ends <= end {
            let message =
                format!("The token stops working on {ends} at 00:00 UTC, and these moves may go on until {end}.");
            self.add(Level::Danger, "token-ends", "token", message, help);
        }
    }
}

/// The numbers of a version like `18.2.0`, `v18.2.0-rc1` or `16.11.3-ee`.
pub(crate) fn version(text: &str) -> Option<Vec<u64>> {
    let numbers = text.strip_prefix('v').unwrap_or(text).split(['-', '+', ' ']).next()?;
    let mut numbers: Vec<u64> = numbers.split('.').map(|n| n.parse().ok()).collect::<Option<_>>()?;
    numbers.resize(numbers.len().max(3), 0);
    Some(numbers)
}

fn list(words: &[String]) -> String {
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Bytes;
    use crate::plan::fixture::World;

    /// The codes of a world's findings and the reasons of its report.
    fn seen(world: &World) -> (Vec<(Level, String)>, Vec<WaitingOn>, usize) {
        let plan = world.plan();
        let codes = plan.findings.iter().map(|f| (f.level, f.code.clone())).collect();
        (codes, plan.report.into_iter().map(|r| r.reason).collect(), plan.moves.len())
    }

    fn only(level: Level, code: &str) -> Vec<(Level, String)> {
        vec![(level, code.to_owned())]
    }

    fn waits(storage: &str) -> Vec<WaitingOn> {
        vec![WaitingOn::Storage { storage: crate::plan::fixture::name(storage) }]
    }

    #[test]
    fn a_sound_fleet_has_no_findings() {
        assert_eq!(seen(&World::drain(&[1, 2])), (vec![], vec![], 2));
    }

    #[test]
    fn what_is_wrong_with_a_storage_keeps_its_repositories_where_they_are() {
        type Break = fn(&mut World);
        let cases: [(Break, &str, &str); 8] = [
            (|w| w.server("new").filesystem_id = "fs-old".to_owned(), "equal-filesystem-ids", "new"),
            (|w| w.server("new").filesystem_id = String::new(), "equal-filesystem-ids", "new"),
            (|w| w.server("old").filesystem_id = String::new(), "equal-filesystem-ids", "new"),
            (|w| w.server("new").replication_factor = 3, "praefect", "new"),
            (|w| w.server("new").writeable = false, "not-writeable", "new"),
            (|w| w.facts("new").disk = Reading::Unknown("x".to_owned()), "disk-unknown", "new"),
            (
                |w| w.state.storage_mut(&crate::plan::fixture::name("old")).filesystem_id = Some("fs-was".to_owned()),
                "filesystem-id-changed",
                "old",
            ),
            (|w| w.facts("old").server = Reading::Unknown("refused".to_owned()), "storage-unreachable", "old"),
        ];
        for (break_it, code, storage) in cases {
            let mut world = World::drain(&[1, 2]);
            break_it(&mut world);
            assert_eq!(seen(&world), (only(Level::Error, code), waits(storage), 0), "{code} {storage}");
            assert!(world.plan().is_blocked() && world.plan().drain_is_stuck());
        }
    }

    #[test]
    fn an_unreachable_storage_that_nothing_needs_is_a_notice_and_a_drained_one_is_silent() {
        let mut world = World::drain(&[1]);
        world.storage("far", 0);
        world.facts("far").server = Reading::Unknown("refused".to_owned());
        assert_eq!(seen(&world), (only(Level::Notice, "storage-unreachable"), vec![], 1));
        world.state.storage_mut(&crate::plan::fixture::name("far")).drained = Some("x".to_owned());
        assert_eq!(seen(&world).0, []);
    }

    #[test]
    fn nothing_moves_off_a_storage_that_gitlab_does_not_know() {
        let mut world = World::drain(&[1, 2]);
        world.observed.gitlab.weights.remove(&crate::plan::fixture::name("old"));
        let waits = vec![WaitingOn::GitlabToKnow { address: None, storage: crate::plan::fixture::name("old") }];
        assert_eq!(seen(&world), (vec![], waits, 0));
        let plan = world.plan();
        assert!(plan.report[0].count == 2 && plan.drain_is_stuck());
        world.desired("old").drain = false;
        let plan = world.plan();
        assert!(plan.moves.is_empty() && plan.report[0].count == 2 && !plan.drain_is_stuck());
    }

    #[test]
    fn an_older_destination_is_a_danger() {
        for (new, expected) in [
            ("18.1.9", only(Level::Danger, "destination-older")),
            ("18.2.0", vec![]),
            ("18.10.0", vec![]),
            ("odd", only(Level::Notice, "version-unknown")),
        ] {
            let mut world = World::drain(&[1]);
            world.server("new").version = new.to_owned();
            assert_eq!(seen(&world).0, expected, "{new}");
        }
    }

    #[test]
    fn the_token_must_allow_and_outlast_the_plan() {
        let with = |scope: &str, expires: Option<&str>, bytes: u64| {
            let mut world = World::drain(&[bytes]);
            let expires_at = expires.map(|day| day.parse().expect("a day"));
            world.observed.gitlab.token = Reading::Known(TokenFacts { scopes: vec![scope.to_owned()], expires_at });
            seen(&world).0
        };
        assert_eq!(with("read_api", None, 1), only(Level::Error, "token-scope"));
        // It is 2026-01-05, 08:00 UTC.
        assert_eq!(with("api", Some("2026-01-04"), 1), only(Level::Error, "token-expired"));
        assert_eq!(with("api", Some("2026-01-05"), 1), only(Level::Error, "token-expired"));
        assert_eq!(with("api", Some("2026-01-06"), 1), []);
        let mut world = World::drain(&[1 << 43]);
        world.facts("new").disk = Reading::Known(crate::model::DiskSpace { available: Bytes(1 << 45), used: Bytes(0) });
        let ends =
            TokenFacts { scopes: vec!["api".to_owned()], expires_at: Some("2026-01-06".parse().expect("a day")) };
        world.observed.gitlab.token = Reading::Known(ends);
        assert_eq!(seen(&world).0, only(Level::Danger, "token-ends"));
    }

    #[test]
    fn a_full_source_is_a_danger_and_may_be_emptied() {
        let mut world = World::drain(&[1]);
        world.server("old").writeable = false;
        assert_eq!(seen(&world), (only(Level::Danger, "source-not-writeable"), vec![], 1));
    }
}
