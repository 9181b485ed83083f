//! What is learned from watching a restart: how far the pod is, and how long nobody was answered. Pure.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::apply::cluster::{condition, list, text, uid_of};
use crate::plan::pods;
use crate::state::Tenths;

/// How long a restart stayed in each of its phases. They begin when the pod is told to stop, and follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Phases {
    /// Until the old pod had stopped.
    pub terminating: Tenths,
    /// Until the new pod had a node, and its volume was attached to no other one.
    pub detach: Tenths,
    /// Until the volume was attached and mounted.
    pub attach: Tenths,
    /// Until Gitaly's container ran: other containers, the image.
    pub start: Tenths,
    /// Until the pod was ready and Gitaly answered at its address.
    pub ready: Tenths,
}

impl Phases {
    /// Each with its name and what it lasts until, in order.
    pub fn named(&self) -> [(&'static str, Tenths, &'static str); 5] {
        let Self { terminating, detach, attach, start, ready } = *self;
        [
            ("terminating", terminating, "until the old pod had stopped"),
            ("detach", detach, "until the new one had a node, and the volume was free"),
            ("attach", attach, "until the volume was attached and mounted"),
            ("start", start, "until Gitaly's container ran"),
            ("ready", ready, "until the pod was ready and Gitaly answered"),
        ]
    }
}

/// The tenths of a second between two moments; none when they stand the other way round.
pub(super) fn between(from: Timestamp, to: Timestamp) -> Tenths {
    Tenths::of_millis(u64::try_from(to.duration_since(from).as_millis()).unwrap_or(0))
}

/// How far a pod is on its way from one to the next.
#[derive(Debug, Clone)]
pub(super) struct Course {
    began: Timestamp,
    /// Of the pod that goes.
    old: String,
    /// The node that it was on.
    from: String,
    /// Of the pod that comes.
    new: Option<String>,
    gone: Option<Timestamp>,
    free: Option<Timestamp>,
    mounted: Option<Timestamp>,
    running: Option<Timestamp>,
    ready: Option<Timestamp>,
}

impl Course {
    /// Begins when the pod is told to stop.
    pub(super) fn new(old: &Value, began: Timestamp) -> Self {
        Self {
            began,
            old: uid_of(old).unwrap_or_default().to_owned(),
            from: text(old, "/spec/nodeName").to_owned(),
            new: None,
            gone: None,
            free: None,
            mounted: None,
            running: None,
            ready: None,
        }
    }

    /// The node whose hold on the volume must end first, if there may be one.
    pub(super) fn asks_about(&self, pod: Option<&Value>) -> Option<&str> {
        let other = pod.map(|pod| text(pod, "/spec/nodeName")).filter(|node| !node.is_empty() && *node != self.from);
        (self.free.is_none() && other.is_some() && !self.from.is_empty()).then_some(self.from.as_str())
    }

    /// Takes a look. `held`: whether the old node still has the volume, where that can be seen.
    pub(super) fn see(&mut self, at: Timestamp, pod: Option<&Value>, held: Option<bool>) {
        let uid = pod.and_then(uid_of);
        if uid == Some(&self.old) {
            return;
        }
        self.gone.get_or_insert(at);
        if uid != self.new.as_deref() {
            // Another one again: what the one before had reached is lost.
            self.new = uid.map(str::to_owned);
            (self.free, self.mounted, self.running, self.ready) = (None, None, None, None);
        }
        let Some(pod) = pod else { return };
        let node = text(pod, "/spec/nodeName");
        let reached = Reached::of(pod);
        if reached >= Reached::Mounted || (!node.is_empty() && (node == self.from || held != Some(true))) {
            self.free.get_or_insert(at);
        }
        if reached >= Reached::Mounted {
            self.mounted.get_or_insert(at);
        }
        if reached >= Reached::Running {
            self.running.get_or_insert(at);
        }
        if reached >= Reached::Ready {
            self.ready.get_or_insert(at);
        } else {
            self.ready = None;
        }
    }

    /// True once the old pod is gone.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.is_some()
    }

    /// Since when the new pod is ready.
    pub(super) fn ready(&self) -> Option<Timestamp> {
        self.ready
    }

    /// The phases, once the pod is ready; `answered`: since when Gitaly answers.
    pub(super) fn phases(&self, answered: Timestamp) -> Option<Phases> {
        let (gone, ready) = (self.gone?, self.ready?);
        let end = ready.max(answered);
        let free = self.free.unwrap_or(ready);
        let mounted = self.mounted.unwrap_or(ready);
        let running = self.running.unwrap_or(ready);
        Some(Phases {
            terminating: between(self.began, gone),
            detach: between(gone, free),
            attach: between(free, mounted),
            start: between(mounted, running),
            ready: between(running, end),
        })
    }

    /// When it began.
    pub(super) fn began(&self) -> Timestamp {
        self.began
    }
}

/// How far a pod is, by its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    Made,
    Mounted,
    Running,
    Ready,
}

impl Reached {
    fn of(pod: &Value) -> Self {
        let holds = |kind: &str| condition(pod, kind).is_some_and(|one| text(one, "/status") == "True");
        let has = |status: &Value, state: &str| status.pointer("/state").and_then(|all| all.get(state)).is_some();
        let statuses = |pointer: &str| list(pod, pointer).collect::<Vec<_>>();
        let (inits, containers) = (statuses("/status/initContainerStatuses"), statuses("/status/containerStatuses"));
        let gitaly = containers.iter().find(|status| text(status, "/name") == pods::CONTAINER);
        if holds("Ready") {
            Self::Ready
        } else if gitaly.is_some_and(|status| has(status, "running")) {
            Self::Running
        } else if holds("PodReadyToStartContainers")
            || inits.iter().chain(&containers).any(|status| has(status, "running") || has(status, "terminated"))
        {
            // Servers before 1.29 do not tell of the first: a container that ran had its volumes.
            Self::Mounted
        } else {
            Self::Made
        }
    }
}

/// One question to Gitaly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) began: Timestamp,
    pub(super) ended: Timestamp,
    pub(super) answered: bool,
}

/// All questions that were put during a restart, in the order of their ends.
#[derive(Debug, Default)]
pub(super) struct Watch {
    probes: Vec<Probe>,
}

impl Watch {
    pub(super) fn add(&mut self, probe: Probe) {
        self.probes.push(probe);
    }

    /// Whether any was not answered.
    pub(super) fn missed(&self) -> bool {
        self.probes.iter().any(|probe| !probe.answered)
    }

    /// How many in a row were answered at the end, of those put after a moment.
    pub(super) fn steady(&self, since: Timestamp) -> usize {
        self.probes.iter().rev().take_while(|probe| probe.answered && probe.began >= since).count()
    }

    /// From when to when nobody was answered: from the last answered question before the first that was not, to the first
    /// answer after the last that was not. At most a tick too long at either end, never too short. `None`: all were
    /// answered.
    pub(super) fn outage(&self) -> Option<(Timestamp, Timestamp)> {
        let missed = || self.probes.iter().filter(|probe| !probe.answered);
        let (first, last) = (missed().map(|p| p.began).min()?, missed().map(|p| p.began).max()?);
        let answered = || self.probes.iter().filter(|probe| probe.answered);
        let from = answered().map(|p| p.began).filter(|began| *began <= first).max().unwrap_or(first);
        let to = answered().filter(|p| p.began > last).map(|p| p.ended).min().unwrap_or(last);
        Some((from, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).expect("a time")
    }

    fn pod(uid: &str, node: &str, status: Value) -> Value {
        json!({ "metadata": { "uid": uid }, "spec": { "nodeName": node }, "status": status })
    }

    fn waiting() -> Value {
        json!({ "containerStatuses": [{ "name": "gitaly", "state": { "waiting": { "reason": "ContainerCreating" } } }] })
    }

    fn running(ready: &str) -> Value {
        json!({ "containerStatuses": [{ "name": "gitaly", "state": { "running": {} } }],
            "conditions": [{ "type": "Ready", "status": ready }] })
    }

    fn tenths(phases: Phases) -> [u32; 5] {
        phases.named().map(|(_, tenths, _)| tenths.0)
    }

    #[test]
    fn each_phase_ends_where_the_next_begins() {
        let old = pod("1", "node-a", running("True"));
        let mut course = Course::new(&old, at(0));
        course.see(at(500), Some(&old), None);
        assert!(!course.is_gone() && course.phases(at(600)).is_none());
        course.see(at(1_000), None, None);
        assert!(course.is_gone());
        let made = pod("2", "", Value::Null);
        course.see(at(1_200), Some(&made), None);
        assert_eq!(course.asks_about(Some(&made)), None, "it has no node yet");
        let placed = pod("2", "node-b", waiting());
        assert_eq!(course.asks_about(Some(&placed)), Some("node-a"));
        course.see(at(2_000), Some(&placed), Some(true));
        assert_eq!(course.asks_about(Some(&placed)), Some("node-a"), "the old node still has the volume");
        course.see(at(4_000), Some(&placed), Some(false));
        assert_eq!(course.asks_about(Some(&placed)), None);
        let mut mounted = waiting();
        mounted["conditions"] = json!([{ "type": "PodReadyToStartContainers", "status": "True" }]);
        course.see(at(7_000), Some(&pod("2", "node-b", mounted)), None);
        course.see(at(9_000), Some(&pod("2", "node-b", running("False"))), None);
        assert_eq!(course.ready(), None);
        course.see(at(10_000), Some(&pod("2", "node-b", running("True"))), None);
        assert_eq!(course.phases(at(10_500)).map(tenths), Some([10, 30, 30, 20, 15]));
        assert_eq!(course.phases(at(9_500)).map(tenths), Some([10, 30, 30, 20, 10]), "it answered before it was ready");
    }

    #[test]
    fn on_the_same_node_there_is_nothing_to_detach() {
        let old = pod("1", "node-a", running("True"));
        let mut course = Course::new(&old, at(0));
        let placed = pod("2", "node-a", waiting());
        assert_eq!(course.asks_about(Some(&placed)), None);
        course.see(at(1_000), Some(&placed), None);
        course.see(at(3_000), Some(&pod("2", "node-a", running("True"))), None);
        assert_eq!(course.phases(at(3_000)).map(tenths), Some([10, 0, 20, 0, 0]));
    }

    #[test]
    fn a_pod_that_is_replaced_again_begins_again_and_one_that_falters_is_not_ready() {
        let mut course = Course::new(&pod("1", "node-a", running("True")), at(0));
        course.see(at(1_000), Some(&pod("2", "node-a", running("True"))), None);
        course.see(at(1_500), Some(&pod("2", "node-a", running("False"))), None);
        assert_eq!(course.phases(at(1_500)), None);
        course.see(at(2_000), Some(&pod("3", "node-a", running("True"))), None);
        assert_eq!(course.phases(at(2_000)).map(tenths), Some([10, 10, 0, 0, 0]));
    }

    #[test]
    fn an_init_container_that_ran_had_its_volumes() {
        let mut status = waiting();
        status["initContainerStatuses"] = json!([{ "name": "init-cgroups", "state": { "running": {} } }]);
        assert_eq!(Reached::of(&pod("2", "n", status)), Reached::Mounted);
        assert_eq!(Reached::of(&pod("2", "n", waiting())), Reached::Made);
    }

    fn watch(probes: &[(i64, i64, bool)]) -> Watch {
        let mut watch = Watch::default();
        for &(began, ended, answered) in probes {
            watch.add(Probe { began: at(began), ended: at(ended), answered });
        }
        watch
    }

    #[test]
    fn an_outage_is_from_the_last_answer_to_the_next() {
        let seen = watch(&[(0, 5, true), (200, 210, false), (600, 605, true), (400, 1_400, false), (800, 805, true)]);
        assert_eq!(seen.outage(), Some((at(0), at(605))));
        assert_eq!((seen.steady(at(0)), seen.steady(at(700)), seen.steady(at(900))), (1, 1, 0));
        assert_eq!(watch(&[(0, 5, true), (200, 205, true)]).outage(), None);
        let over = watch(&[(200, 205, false)]);
        assert!(over.missed() && over.outage() == Some((at(200), at(200))), "it has not come back");
    }

    proptest! {
        /// A server that is away from `down` to `up`: what is told is never less, and at most two ticks more.
        #[test]
        fn an_outage_is_never_told_too_short(down in 1_000i64..5_000, away in 0i64..20_000, tick in 50i64..500, hang in 0i64..1_000) {
            let up = down + away;
            let mut probes: Vec<(i64, i64, bool)> = (0..).map(|n| n * tick).take_while(|t| *t < up + 4 * tick).map(|began| {
                let answered = began < down || began >= up;
                (began, began + if answered { 1 } else { hang }, answered)
            }).collect();
            probes.sort_by_key(|probe| probe.1);
            match watch(&probes).outage() {
                None => prop_assert!(away < tick),
                Some((from, to)) => {
                    let told = to.duration_since(from).as_millis();
                    prop_assert!(told >= i128::from(away), "{told} of {away}");
                    prop_assert!(told <= i128::from(away + 2 * tick + 1), "{told} of {away}");
                }
            }
        }
    }
}
