//! What a run says to Prometheus: consumes events, yields its text format. Holds no global state.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::View;
use crate::apply::event::{Event, Outcome};
use crate::model::{Container, StorageName};
use crate::plan::Plan;

/// Read-only for longer than this, seconds, is told as `tranship_frozen_too_long`.
const TOO_LONG: i64 = 600;
/// Upper bounds of read-only times, seconds: a small repository's move takes seconds, a giant's an hour.
const FROZEN: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 10_800.0];

/// A move that GitLab took and whose end was not seen yet.
#[derive(Debug)]
struct Flying {
    source: StorageName,
    destination: StorageName,
    since: Timestamp,
}

struct Families {
    registry: Registry,
    moves: IntCounterVec,
    bytes: IntCounterVec,
    frozen: HistogramVec,
    in_flight: IntGaugeVec,
    too_long: IntGauge,
    longest: IntGauge,
    slots: IntGaugeVec,
    declared: IntGaugeVec,
    held: IntGauge,
    quarantined: IntGauge,
    losses: IntGauge,
    retries: IntCounter,
    skipped: IntCounterVec,
    actions: IntCounterVec,
    planned: IntGauge,
    planned_bytes: IntGauge,
    requests: IntCounterVec,
    flying: BTreeMap<Container, Flying>,
    /// Perhaps read-only until the next attempt tells, since when.
    suspected: BTreeMap<Container, Timestamp>,
    /// Set aside and still read-only, since when at the latest.
    set_aside: BTreeMap<Container, Timestamp>,
}

/// True of causes that leave a repository read-only until a person has looked.
fn is_frozen(cause: &str) -> bool {
    cause.starts_with("read-only")
}

/// The metrics of all runs of one apply. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Metrics {
    families: Arc<Mutex<Families>>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Families {
    fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let pair = ["source", "destination"];
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let family = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let family = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let gauge = |name: &str, help: &str| {
            let family = IntGauge::new(name, help)?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let frozen = HistogramOpts::new(
            "tranship_move_frozen_seconds",
            "How long repositories were read-only: from the request to the end of their move.",
        );
        let frozen = HistogramVec::new(frozen.buckets(FROZEN.to_vec()), &pair)?;
        registry.register(Box::new(frozen.clone()))?;
        let retries = IntCounter::new("tranship_move_retries_total", "Attempts that failed and are tried again.")?;
        registry.register(Box::new(retries.clone()))?;
        Ok(Self {
            moves: counters(
                "tranship_moves_total",
                "Moves that ended and were compared, by verdict.",
                &["verdict", "source", "destination"],
            )?,
            bytes: counters("tranship_bytes_total", "Bytes of moves that ended and were compared.", &pair)?,
            frozen,
            in_flight: gauges("tranship_moves_in_flight", "Moves that GitLab took and that have not ended.", &pair)?,
            too_long: gauge(
                "tranship_frozen_too_long",
                "Repositories that have been read-only for more than ten minutes.",
            )?,
            longest: gauge(
                "tranship_frozen_longest_seconds",
                "The longest that a repository has been read-only which still is.",
            )?,
            slots: gauges(
                "tranship_slots",
                "Moves that may be in flight, as found: of a storage as source or destination, or of GitLab's workers.",
                &["of"],
            )?,
            declared: gauges("tranship_slots_declared", "Moves that may be in flight, as declared.", &["storage"])?,
            held: gauge("tranship_held", "1 while something other than declared limits keeps moves from beginning.")?,
            quarantined: gauge("tranship_quarantined", "Repositories that were set aside.")?,
            losses: gauge(
                "tranship_possible_losses",
                "Of those, repositories that lack a reference tip or an object.",
            )?,
            retries,
            skipped: counters("tranship_moves_skipped_total", "Moves that were not made.", &["done"])?,
            actions: counters("tranship_actions_total", "Actions that ended, by how.", &["outcome"])?,
            planned: gauge("tranship_moves_planned", "Moves of the plan that is carried out.")?,
            planned_bytes: gauge("tranship_planned_bytes", "Bytes of the plan that is carried out.")?,
            requests: counters("tranship_gitlab_requests_total", "Requests made of GitLab's API, by call.", &["call"])?,
            registry,
            flying: BTreeMap::new(),
            suspected: BTreeMap::new(),
            set_aside: BTreeMap::new(),
        })
    }

    fn land(&mut self, container: &Container) {
        if let Some(Flying { source, destination, .. }) = self.flying.remove(container) {
            self.in_flight.with_label_values(&[source.as_str(), destination.as_str()]).dec();
        }
    }

    fn take(&mut self, event: &Event, at: Timestamp) {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        match event {
            Event::RunStarted { moves, bytes, .. } => {
                self.planned.set(number(*moves));
                self.planned_bytes.set(number(bytes.0));
            }
            Event::MoveScheduled { container, source, destination, since, .. } => {
                self.land(container);
                self.set_aside.remove(container);
                self.suspected.remove(container);
                self.in_flight.with_label_values(&[source.as_str(), destination.as_str()]).inc();
                let flying = Flying { source: source.clone(), destination: destination.clone(), since: *since };
                self.flying.insert(*container, flying);
            }
            Event::MoveVerified { container, source, destination, bytes, verdict, frozen_ms, .. } => {
                self.land(container);
                self.suspected.remove(container);
                let pair = [source.as_str(), destination.as_str()];
                self.moves.with_label_values(&[verdict.as_str(), pair[0], pair[1]]).inc();
                self.bytes.with_label_values(&pair).inc_by(bytes.0);
                let frozen = std::time::Duration::from_millis(*frozen_ms).as_secs_f64();
                self.frozen.with_label_values(&pair).observe(frozen);
            }
            Event::MoveRetried { container, frozen, .. } => {
                let since = self.flying.get(container).map_or(at, |flying| flying.since);
                self.land(container);
                if *frozen {
                    self.suspected.entry(*container).or_insert(since);
                } else {
                    self.suspected.remove(container);
                }
                self.retries.inc();
            }
            Event::MoveSkipped { container, done, .. } => {
                self.land(container);
                self.suspected.remove(container);
                self.skipped.with_label_values(&[if *done { "true" } else { "false" }]).inc();
            }
            Event::Quarantined { container, loss, cause, .. } => {
                let flying = self.flying.get(container).map_or(at, |flying| flying.since);
                let since = self.suspected.remove(container).unwrap_or(flying);
                self.land(container);
                if is_frozen(cause) {
                    self.set_aside.insert(*container, since);
                }
                self.quarantined.inc();
                self.losses.add(i64::from(*loss));
            }
            Event::Throttled { what, to, .. } => self.slots.with_label_values(&[what.as_str()]).set(i64::from(*to)),
            Event::Held { by } => self.held.set(i64::from(by.is_some())),
            Event::ActionEnded { outcome, .. } => {
                let word = match outcome {
                    Outcome::Done { .. } => "done",
                    Outcome::Failed { .. } => "failed",
                    Outcome::Stale { .. } => "stale",
                    Outcome::Skipped { .. } => "skipped",
                    Outcome::NotStarted => "not_started",
                    Outcome::GateClosed { .. } => "gate_closed",
                    Outcome::Paused { .. } => "paused",
                    Outcome::Refused { .. } => "refused",
                };
                self.actions.with_label_values(&[word]).inc();
            }
            Event::RunEnded { .. } => {
                // What is followed no more is in doubt, not in flight.
                let left: Vec<Container> = self.flying.keys().copied().collect();
                left.iter().for_each(|container| self.land(container));
                self.held.set(0);
            }
            Event::Resumed { .. }
            | Event::ActionStarted { .. }
            | Event::Waiting { .. }
            | Event::Eta { .. }
            | Event::HookEnded { .. }
            | Event::Warning { .. }
            | Event::Stopping { .. } => {}
        }
    }
}

impl Metrics {
    /// Makes one, with everything at 0.
    ///
    /// # Errors
    /// A family that Prometheus would not take; a fault of ours.
    pub fn new() -> Result<Self, String> {
        let families = Families::new().map_err(|e| e.to_string())?;
        Ok(Self { families: Arc::new(Mutex::new(families)) })
    }

    fn lock(&self) -> MutexGuard<'_, Families> {
        self.families.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the limits of the plan that is about to be carried out.
    pub fn plan(&self, plan: &Plan) {
        let mut families = self.lock();
        families.declared.with_label_values(&[""]).set(i64::from(plan.max_moves));
        for (name, storage) in &plan.storages {
            families.declared.with_label_values(&[name.as_str()]).set(i64::from(storage.max_moves));
        }
        // How long these have been so is not known; that it is too long is.
        let long = jiff::SignedDuration::from_secs(TOO_LONG + 1);
        let since = plan.as_of.saturating_sub(long).unwrap_or(Timestamp::MIN);
        for one in plan.quarantined.iter().filter(|one| is_frozen(&one.cause)) {
            families.set_aside.entry(one.container).or_insert(since);
        }
    }

    /// All of it, in Prometheus' text format. `at`: the fleet's clock; `requests`: made of GitLab so far, by call.
    ///
    /// # Errors
    /// It cannot be written; a fault of ours.
    pub fn text(&self, at: Timestamp, requests: &BTreeMap<&'static str, u64>) -> Result<String, String> {
        let families = self.lock();
        let frozen = families.suspected.values().chain(families.set_aside.values()).copied();
        let since = families.flying.values().map(|flying| flying.since).chain(frozen);
        let ages: Vec<i64> = since.map(|since| at.duration_since(since).as_secs()).collect();
        let too_long = ages.iter().filter(|age| **age > TOO_LONG).count();
        families.too_long.set(i64::try_from(too_long).unwrap_or(i64::MAX));
        families.longest.set(ages.into_iter().max().unwrap_or(0).max(0));
        for (call, total) in requests {
            let counter = families.requests.with_label_values(&[call]);
            counter.inc_by(total.saturating_sub(counter.get()));
        }
        TextEncoder::new().encode_to_string(&families.registry.gather()).map_err(|e| e.to_string())
    }
}

impl View for Metrics {
    fn event(&mut self, event: &Event, at: Timestamp) {
        self.lock().take(event, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bytes, ContainerKind};

    #[test]
    fn what_is_set_aside_read_only_is_frozen_until_it_moves_again() {
        let mut metrics = Metrics::new().expect("made");
        let storage = |name: &str| StorageName::new(name).expect("valid");
        let scheduled = |since| Event::MoveScheduled {
            container: Container { kind: ContainerKind::Project, id: 1 },
            path: "a/b".into(),
            source: storage("default"),
            destination: storage("pod-a"),
            move_id: 1,
            attempt: 1,
            since: time(since),
        };
        let too_long = |metrics: &Metrics, at| {
            let text = metrics.text(time(at), &BTreeMap::new()).expect("text");
            let line = text.lines().find(|line| line.starts_with("tranship_frozen_too_long ")).expect("there");
            line.rsplit(' ').next().expect("a value").to_owned()
        };
        metrics.event(&scheduled(0), time(500));
        assert_eq!((too_long(&metrics, 600), too_long(&metrics, 601)), ("0".into(), "1".into()));
        let aside = Event::Quarantined {
            container: Container { kind: ContainerKind::Project, id: 1 },
            path: "a/b".into(),
            cause: "read-only without an end (the worker of its move is gone)".into(),
            evidence: Vec::new(),
            remedy: String::new(),
            loss: false,
        };
        metrics.event(&aside, time(700));
        assert_eq!(too_long(&metrics, 701), "1");
        metrics.event(&scheduled(800), time(800));
        assert_eq!(too_long(&metrics, 801), "0");
    }

    #[test]
    fn what_may_be_read_only_until_its_next_attempt_is_frozen_since_its_first_request() {
        let mut metrics = Metrics::new().expect("made");
        let storage = |name: &str| StorageName::new(name).expect("valid");
        let container = Container { kind: ContainerKind::Project, id: 1 };
        let longest = |metrics: &Metrics, at| {
            let text = metrics.text(time(at), &BTreeMap::new()).expect("text");
            let line = text.lines().find(|line| line.starts_with("tranship_frozen_longest_seconds ")).expect("there");
            line.rsplit(' ').next().expect("a value").to_owned()
        };
        let retried = |frozen| Event::MoveRetried {
            container,
            path: "a/b".into(),
            cause: "failed".into(),
            attempt: 1,
            after_seconds: 600,
            frozen,
        };
        let scheduled = Event::MoveScheduled {
            container,
            path: "a/b".into(),
            source: storage("default"),
            destination: storage("pod-a"),
            move_id: 1,
            attempt: 1,
            since: time(10),
        };
        metrics.event(&scheduled, time(10));
        metrics.event(&retried(true), time(20));
        assert_eq!(longest(&metrics, 610), "600");
        let aside = Event::Quarantined {
            container,
            path: "a/b".into(),
            cause: "read-only without an end (its move failed before a worker took it)".into(),
            evidence: Vec::new(),
            remedy: String::new(),
            loss: false,
        };
        metrics.event(&aside, time(620));
        assert_eq!(longest(&metrics, 710), "700", "counted from its request, not from its quarantine");
        metrics.event(&scheduled, time(10));
        metrics.event(&retried(false), time(20));
        assert_eq!(longest(&metrics, 900), "0", "it can be written to");
    }

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    /// A run with something of every family.
    pub(crate) fn sample() -> Metrics {
        let mut metrics = Metrics::new().expect("made");
        let storage = |name: &str| StorageName::new(name).expect("valid");
        let container = |id| Container { kind: ContainerKind::Project, id };
        let scheduled = |id| Event::MoveScheduled {
            container: container(id),
            path: "a/b".into(),
            source: storage("default"),
            destination: storage("pod-a"),
            move_id: id,
            attempt: 1,
            since: time(0),
        };
        for id in 1..=3 {
            metrics.event(&scheduled(id), time(0));
        }
        let verified = Event::MoveVerified {
            container: container(1),
            path: "a/b".into(),
            source: storage("default"),
            destination: storage("pod-a"),
            bytes: Bytes(1000),
            verdict: "attested".into(),
            detail: String::new(),
            frozen_ms: 4_200,
        };
        metrics.event(&verified, time(5));
        let skipped =
            Event::MoveSkipped { container: container(2), path: "a/b".into(), why: "gone".into(), done: true };
        metrics.event(&skipped, time(5));
        let throttled = Event::Throttled {
            what: "pod-a as destination".into(),
            storage: Some(storage("pod-a")),
            from: 4,
            to: 2,
            why: "slow".into(),
        };
        metrics.event(&throttled, time(6));
        metrics.event(&Event::Held { by: Some("veto".into()) }, time(6));
        let ended = Event::ActionEnded {
            address: crate::model::Address::new("drain", "default"),
            outcome: Outcome::Done { detail: String::new() },
        };
        metrics.event(&ended, time(7));
        metrics
    }

    #[test]
    fn events_become_metrics() {
        let text = sample().text(time(700), &BTreeMap::from([("schedule", 3)])).expect("written");
        for line in [
            "tranship_moves_total{destination=\"pod-a\",source=\"default\",verdict=\"attested\"} 1",
            "tranship_bytes_total{destination=\"pod-a\",source=\"default\"} 1000",
            "tranship_move_frozen_seconds_bucket{destination=\"pod-a\",source=\"default\",le=\"5\"} 1",
            "tranship_moves_in_flight{destination=\"pod-a\",source=\"default\"} 1",
            "tranship_frozen_too_long 1",
            "tranship_frozen_longest_seconds 700",
            "tranship_slots{of=\"pod-a as destination\"} 2",
            "tranship_held 1",
            "tranship_moves_skipped_total{done=\"true\"} 1",
            "tranship_gitlab_requests_total{call=\"schedule\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
