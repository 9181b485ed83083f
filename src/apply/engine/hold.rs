//! Holds: watches, asks gates and waits for approvals, and says when to come back where that would take too long.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::{Engine, Message, guarded};
use crate::apply::action::set_weights;
use crate::apply::event::{Event, Outcome};
use crate::apply::gate::{self, Judgement};
use crate::apply::journal::Journal;
use crate::apply::port::{Approval, Ports};
use crate::model::{Address, HookEvent, StorageName, Weight};
use crate::plan::{Action, ActionId, After, Calm, Change, Check, Verdict, WeightChange, hold_address};
use crate::state::journal::{Carried, Record as Entry};
use crate::state::{ApprovalRecord, Record};

/// Between two looks for an approval, by the fleet's clock: a person who gives one sees the run go on.
const LOOK: Duration = Duration::from_secs(5);

/// How long a run waits, and what it knows of earlier waits.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// The longest wait.
    max_wait: Option<Duration>,
    /// Since when holds are watched, by earlier runs.
    soaks: BTreeMap<Address, Timestamp>,
    /// So many holds in a row were passed at once; `None` before the first of this run.
    row: Option<u32>,
    /// A gate said no, or could not be answered: nothing new is begun.
    pub(super) closed: bool,
}

impl Patience {
    /// Begins with what earlier runs began to watch.
    pub(crate) fn new(carried: &Carried, max_wait: Option<Duration>) -> Self {
        Self { max_wait, soaks: carried.soaks.clone(), row: None, closed: false }
    }
}

/// How a hold ended.
pub(super) struct Ended {
    outcome: Outcome,
    approvals: BTreeMap<Address, Approval>,
    at_once: bool,
    /// A gate said no, or could not be answered in time.
    closed: bool,
    /// One said no. What is not known sets no weight back.
    refused: bool,
    /// Weights that were set back.
    set_back: Vec<StorageName>,
    remarks: Vec<String>,
}

impl Ended {
    /// A gate said no.
    fn refused(cause: String) -> Self {
        Self { refused: true, ..Self::unanswered(cause) }
    }

    /// A gate could not be answered in time.
    fn unanswered(cause: String) -> Self {
        Self { closed: true, ..Self::of(Outcome::GateClosed { cause }) }
    }

    fn of(outcome: Outcome) -> Self {
        let (approvals, set_back, remarks) = Default::default();
        Self { outcome, approvals, at_once: false, closed: false, refused: false, set_back, remarks }
    }
}

/// One hold under way.
struct Watch {
    ports: Ports,
    journal: Journal,
    events: UnboundedSender<Event>,
    stop: CancellationToken,
    address: Address,
    soak: Duration,
    /// As an earlier run began it.
    since: Option<Timestamp>,
    checks: Vec<Check>,
    approvals: Vec<Address>,
    rollback: BTreeMap<StorageName, Weight>,
    /// The weights of those, as this tool left them.
    left: BTreeMap<StorageName, Weight>,
    settings: std::sync::Arc<tokio::sync::Mutex<()>>,
    max_wait: Option<Duration>,
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// To the second, as people say times.
fn clock(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// `gate.errors of gitaly-01`.
fn named(check: &Check) -> String {
    format!("{} of {}", check.gate, check.target)
}

impl Watch {
    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// Waits; false: the run was stopped meanwhile.
    async fn sleep(&self, duration: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = self.ports.clock.sleep(duration) => true,
        }
    }

    async fn run(self) -> Ended {
        let mut ended = match self.watch().await {
            Some(ended) => ended,
            None => self.ask().await,
        };
        if ended.refused {
            self.set_back(&mut ended).await;
        } else if ended.closed && !self.rollback.is_empty() {
            ended.remarks.push(format!("{}: weights stay: no gate has said no", self.address));
        }
        if ended.closed {
            self.use_up_approvals(&mut ended).await;
        }
        if ended.closed || matches!(ended.outcome, Outcome::Done { .. }) {
            let entry = Entry::Soak { hold: self.address.clone(), since: None };
            if let Err(e) = self.journal.append(vec![entry]).await {
                return Ended::of(Outcome::Failed { cause: e.to_string() });
            }
        }
        ended
    }

    /// Watches for as long as is left; a gate that says no meanwhile ends it at once. `Some`: that did not come to its end.
    async fn watch(&self) -> Option<Ended> {
        let now = self.ports.clock.now();
        let since = self.since.unwrap_or(now);
        if self.soak.is_zero() {
            return None;
        }
        if self.since.is_none() {
            let entry = Entry::Soak { hold: self.address.clone(), since: Some(since) };
            if let Err(e) = self.journal.append(vec![entry]).await {
                return Some(Ended::of(Outcome::Failed { cause: e.to_string() }));
            }
        }
        let end = since.saturating_add(signed(self.soak)).unwrap_or(Timestamp::MAX);
        let left = Duration::try_from(end.duration_since(now)).unwrap_or_default();
        if left.is_zero() {
            return None;
        }
        if self.max_wait.is_some_and(|most| left > most) {
            let until = format!("it is watched until {}; apply again then, and it goes on from there", clock(end));
            return Some(Ended::of(Outcome::Paused { until }));
        }
        let what = format!("{}: watched since {}, until {}", self.address, clock(since), clock(end));
        self.tell(Event::Waiting { what });
        let interval = self.interval();
        loop {
            let left = Duration::try_from(end.duration_since(self.ports.clock.now())).unwrap_or_default();
            if left.is_zero() {
                return None;
            }
            if !self.sleep(interval.map_or(left, |interval| interval.min(left))).await {
                return Some(Ended::of(Outcome::NotStarted));
            }
            let now = self.ports.clock.now();
            for check in self.checks.iter().filter(|check| !check.dry_run) {
                let answer = gate::ask(&self.ports, check, now).await;
                if answer.verdict == Verdict::Fail {
                    return Some(Ended::refused(answer.why));
                }
            }
        }
    }

    /// How often gates are asked; `None`: there is none to ask.
    fn interval(&self) -> Option<Duration> {
        self.checks.iter().map(|check| check.interval_seconds.max(1)).min().map(Duration::from_secs)
    }

    /// Asks until all gates say yes, one says no, or it takes too long.
    async fn ask(&self) -> Ended {
        let began = self.ports.clock.now();
        let (mut said, mut at_once) = (String::new(), true);
        let mut dry = BTreeSet::new();
        let mut approvals = BTreeMap::new();
        let mut answers: Vec<(&Check, Judgement)> = Vec::new();
        // Since when each gate that cannot be answered is so.
        let mut silent: BTreeMap<String, Timestamp> = BTreeMap::new();
        let mut due = began;
        loop {
            let now = self.ports.clock.now();
            if now >= due {
                answers.clear();
                for check in &self.checks {
                    answers.push((check, gate::ask(&self.ports, check, now).await));
                }
                let unknown = answers.iter().filter(|(_, answer)| answer.verdict == Verdict::Unknown);
                silent = unknown
                    .map(|(check, _)| named(check))
                    .map(|name| (silent.get(&name).copied().unwrap_or(now), name))
                    .map(|(since, name)| (name, since))
                    .collect();
                let interval = self.interval().unwrap_or(LOOK);
                due = now.saturating_add(signed(interval)).unwrap_or(Timestamp::MAX);
            }
            for (check, answer) in
                answers.iter().filter(|(check, answer)| check.dry_run && answer.verdict != Verdict::Pass)
            {
                if dry.insert((named(check), answer.verdict)) {
                    let word = if answer.verdict == Verdict::Fail { "would say no" } else { "could not be answered" };
                    let message = format!("dry run: {} {word}: {}", check.gate, answer.why);
                    self.tell(Event::Warning { message });
                }
            }
            let deciding = || answers.iter().filter(|(check, _)| !check.dry_run);
            let no: Vec<String> = deciding()
                .filter(|(_, answer)| answer.verdict == Verdict::Fail)
                .map(|(_, answer)| answer.why.clone())
                .collect();
            if !no.is_empty() {
                return Ended::refused(no.join("; "));
            }
            let unknown: Vec<&(&Check, Judgement)> =
                deciding().filter(|(_, answer)| answer.verdict == Verdict::Unknown).collect();
            let missing = match self.missing(&mut approvals).await {
                Ok(missing) => missing,
                Err(cause) => return Ended::of(Outcome::Failed { cause }),
            };
            at_once &= unknown.is_empty();
            if unknown.is_empty() && missing.is_empty() {
                let at_once = at_once && deciding().next().is_some();
                return Ended { approvals: approvals.clone(), at_once, ..Ended::of(self.passed(&answers, &approvals)) };
            }
            let waited = Duration::try_from(now.duration_since(began)).unwrap_or_default();
            let late = unknown.iter().find(|(check, _)| {
                let since = silent.get(&named(check)).copied().unwrap_or(now);
                let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
                waited >= Duration::from_secs(check.deadline_seconds)
            });
            if let Some((check, answer)) = late {
                let cause = format!("not answered in {} s: {}", check.deadline_seconds, answer.why);
                return Ended::unanswered(cause);
            }
            let whom: Vec<String> =
                unknown.iter().map(|(check, _)| named(check)).chain(missing.iter().map(ToString::to_string)).collect();
            let figures: Vec<String> = unknown
                .iter()
                .map(|(_, answer)| answer.why.clone())
                .chain(missing.iter().map(|gate| format!("{gate}: tranship approve {}", label(gate))))
                .collect();
            let what = figures.join("; ");
            let pause = if missing.is_empty() {
                Duration::try_from(due.duration_since(now)).unwrap_or(LOOK).max(Duration::from_secs(1))
            } else {
                LOOK
            };
            if self.max_wait.is_some_and(|most| waited + pause > most) {
                let until = format!("it waits for {what}; apply again when that is settled");
                return Ended::of(Outcome::Paused { until });
            }
            // Figures change with every answer; only whom it waits for is news.
            let whom = whom.join(", ");
            if whom != said {
                said = whom;
                self.tell(Event::Waiting { what: format!("{}: since {} for {what}", self.address, clock(began)) });
            }
            if !self.sleep(pause).await {
                return Ended::of(Outcome::NotStarted);
            }
        }
    }

    /// The approvals that are not there yet.
    async fn missing(&self, found: &mut BTreeMap<Address, Approval>) -> Result<Vec<Address>, String> {
        let mut missing = Vec::new();
        for gate in &self.approvals {
            let Some(operator) = &self.ports.operator else {
                return Err(format!("{gate}: there is no place here where an approval could be given"));
            };
            match operator.approval(gate).await.map_err(|e| e.to_string())? {
                Some(approval) => drop(found.insert(gate.clone(), approval)),
                None => {
                    found.remove(gate);
                    missing.push(gate.clone());
                }
            }
        }
        Ok(missing)
    }

    fn passed(&self, answers: &[(&Check, Judgement)], approvals: &BTreeMap<Address, Approval>) -> Outcome {
        let held = answers.iter().filter(|(check, _)| !check.dry_run);
        let held = held.map(|(_, answer)| answer.why.clone());
        let approved = approvals.iter().map(|(gate, approval)| format!("{gate} approved by {}", approval.by));
        Outcome::Done { detail: held.chain(approved).collect::<Vec<_>>().join("; ") }
    }

    /// An approval that was given before a gate closed is of what was known then: it opens nothing later.
    async fn use_up_approvals(&self, ended: &mut Ended) {
        let Some(operator) = &self.ports.operator else { return };
        for gate in &self.approvals {
            let Ok(Some(approval)) = operator.approval(gate).await else { continue };
            ended.remarks.push(match operator.approval_used(gate).await {
                Ok(()) => format!(
                    "{gate}: the approval by {} was given before {} closed, and is used up: approve anew",
                    approval.by, self.address
                ),
                Err(error) => format!("{gate}: {error}"),
            });
        }
    }

    /// Sets weights back after a gate said no, but for those that somebody has changed since.
    async fn set_back(&self, ended: &mut Ended) {
        if self.rollback.is_empty() {
            return;
        }
        let _one = self.settings.lock().await;
        let now = match self.ports.gitlab.weights().await {
            Ok(now) => now,
            Err(e) => return ended.remarks.push(format!("the weights were not set back: {e}")),
        };
        let mut changes = BTreeMap::new();
        for (name, after) in &self.rollback {
            let Some(before) = now.get(name).copied() else { continue };
            if before == *after || self.left.get(name) == Some(&before) {
                changes.insert(name.clone(), WeightChange { before, after: *after });
            } else {
                let what = "which is not what this tool left: somebody has set it";
                ended.remarks.push(format!("the weight of {name} is {before}, {what}; it was not set back to {after}"));
            }
        }
        if changes.is_empty() {
            return;
        }
        let (outcome, remarks) = set_weights(&self.ports, &changes).await;
        ended.remarks.extend(remarks);
        match outcome {
            Outcome::Done { detail } => {
                ended.set_back = changes.into_keys().collect();
                if let Outcome::GateClosed { cause } = &mut ended.outcome {
                    let _ = write!(cause, "; weights were set back: {detail}");
                }
            }
            Outcome::Failed { cause } | Outcome::Stale { cause } => {
                ended.remarks.push(format!("the weights were not set back: {cause}"));
            }
            _ => {}
        }
    }
}

/// A gate as `tranship approve` takes it.
fn label(gate: &Address) -> String {
    let text = gate.to_string();
    let short = text.strip_prefix("gate.").unwrap_or(&text);
    if gate.key.is_some() { format!("'{short}'") } else { short.to_owned() }
}

impl Engine<'_> {
    /// Begins to wait.
    pub(super) fn hold(&mut self, id: ActionId, action: &Action) {
        let Change::Hold { after, storages: _, soak_seconds, calm, checks, approvals, rollback } = &action.change
        else {
            return;
        };
        // What this run changed is watched from now on.
        let changed = self.plan.actions.iter().any(|action| match (&action.change, after) {
            (Change::Moves { wave, .. }, After::Wave { wave: of }) => wave == of,
            (Change::Ramp { percent, .. }, After::Ramp { percent: of }) => percent == of,
            (Change::SetWeight { .. }, After::Ramp { percent: 100 }) => true,
            _ => false,
        });
        let row = self.patience.row;
        let is_calm = calm.is_some_and(|Calm { after, so_far }| row.unwrap_or(so_far) >= after);
        let done = self.state.hold(&action.address).map(|record| &record.approvals);
        let approvals = approvals.iter().filter(|gate| done.is_none_or(|done| !done.contains_key(*gate)));
        let watch = Watch {
            ports: self.ports().clone(),
            journal: self.journal().clone(),
            events: self.mover.events.clone(),
            stop: self.stop.clone(),
            address: action.address.clone(),
            soak: if is_calm { Duration::ZERO } else { Duration::from_secs(*soak_seconds) },
            since: self.patience.soaks.get(&action.address).copied().filter(|_| !changed),
            checks: checks.clone(),
            approvals: approvals.cloned().collect(),
            rollback: rollback.clone(),
            left: rollback.keys().filter_map(|name| Some((name.clone(), self.state.storage(name)?.weight?))).collect(),
            settings: self.settings.clone(),
            max_wait: self.patience.max_wait,
        };
        let sender = self.sender.clone();
        let fault = |cause| Box::new(Ended::of(Outcome::Failed { cause }));
        guarded(async move { Box::new(watch.run().await) }, fault, move |ended| {
            let _ = sender.send(Message::Held(id, ended));
        });
    }

    pub(super) async fn held(&mut self, id: ActionId, ended: Ended) {
        self.running -= 1;
        let Some(action) = self.action(id) else { return };
        let Change::Hold { after, calm, storages, .. } = &action.change else { return };
        let Ended { outcome, approvals, at_once, closed, refused: _, set_back, remarks } = ended;
        for message in remarks {
            self.summary.remarks.push(message.clone());
            self.tell(Event::Warning { message });
        }
        if let Outcome::Done { detail: said } | Outcome::GateClosed { cause: said } = &outcome {
            let (address, outcome) = (action.address.clone(), said.clone());
            self.journal().note(vec![Entry::Answered { address, outcome }]);
        }
        let passed = matches!(outcome, Outcome::Done { .. });
        if passed {
            let so_far = calm.map_or(0, |calm| calm.so_far);
            self.patience.row = Some(if at_once { self.patience.row.unwrap_or(so_far) + 1 } else { 0 });
            // Taken first: an approval that is lost by a crash is asked for again, none is ever used twice.
            if let Some(operator) = self.ports().operator.clone() {
                for gate in approvals.keys() {
                    if let Err(error) = operator.approval_used(gate).await {
                        self.tell(Event::Warning { message: format!("{gate}: {error}") });
                    }
                }
            }
            let record = self.state.hold_mut(&hold_address(after));
            (record.passed, record.at_once) = (true, at_once);
            record.storages.extend(storages.iter().cloned());
            record.rollback.clear();
            record.approvals.extend(
                approvals.into_iter().map(|(gate, Approval { by, reason })| (gate, ApprovalRecord { by, reason })),
            );
            self.save().await;
        }
        if !set_back.is_empty() {
            if let Change::Hold { rollback, .. } = &action.change {
                for (storage, weight) in rollback.iter().filter(|(storage, _)| set_back.contains(storage)) {
                    self.state.storage_mut(storage).weight = Some(*weight);
                }
            }
            // The step was never taken.
            let address = hold_address(after);
            if matches!(self.state.records.get(&address), Some(Record::Hold(_))) {
                self.state.records.remove(&address);
            }
            self.save().await;
        }
        if closed {
            self.patience.closed = true;
            if let Outcome::GateClosed { cause } = &outcome {
                self.happened(HookEvent::Gate, id, [("cause", json!(cause))]);
            }
        }
        self.end(id, outcome);
    }

    /// Notes where the moves of a wave go that has a hold after it.
    pub(super) fn wave_begins<'n>(&mut self, name: &str, destinations: impl Iterator<Item = &'n StorageName>) {
        let after = After::Wave { wave: name.to_owned() };
        let is_held = |action: &Action| matches!(&action.change, Change::Hold { after: of, .. } if *of == after);
        if self.plan.actions.iter().any(is_held) {
            let record = self.state.hold_mut(&hold_address(&after));
            if std::mem::take(&mut record.passed) {
                // It was passed for what had moved by then.
                record.approvals.clear();
                record.storages.clear();
            }
            record.storages.extend(destinations.cloned());
        }
        let runs = |action: &Action| matches!(&action.change, Change::RunHook { on: HookEvent::WaveDone, wave, .. } if wave == name);
        if self.plan.actions.iter().any(runs) {
            self.state.set_ends_due(name, true);
        }
    }
}
