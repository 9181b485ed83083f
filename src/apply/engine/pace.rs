//! Asks how the fleet bears it, and sets slots and vetoes by the answers; tells what keeps new moves from beginning.

use std::collections::{BTreeMap, BTreeSet};

use tokio_util::sync::CancellationToken;

use super::{Engine, Message, lock};
use crate::apply::event::Event;
use crate::apply::gate;
use crate::apply::pace::{Answer, End, Pace, Role, Signal, Turn, of_series};
use crate::apply::port::Ports;
use crate::apply::room::{Binding, Outside};
use crate::model::{DiskSpace, StorageName, Veto, VetoSource};
use crate::plan::room::PANIC_ABOVE;
use crate::plan::{Check, Verdict};
use crate::state::journal::Record as Entry;

/// A source that does not answer for so long ends its waves: a node's restart takes minutes, and who looks after it has been
/// paged by then.
const SILENT: jiff::SignedDuration = jiff::SignedDuration::from_mins(30);

/// A disk this full, thousandths, is a matter of safety.
const PANIC_PERMILLE: u64 = 920;

/// What one round of questions brought.
#[derive(Default)]
pub(crate) struct Answers {
    signals: BTreeMap<StorageName, Vec<Signal>>,
    /// How full disks are: of destinations only, as leaving a full disk is what moves are for.
    disks: BTreeMap<StorageName, Signal>,
    vetoes: BTreeMap<String, Answer>,
    /// Storages whose Gitaly does not answer.
    silent: BTreeSet<StorageName>,
}

/// What keeps new moves from beginning, as it was told last, and the round of questions that is under way.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    told: Option<String>,
    /// Since when nothing begins and nothing flies, because of what was told.
    idle: Option<jiff::Timestamp>,
    asking: bool,
    /// Since when storages do not answer.
    silent: BTreeMap<StorageName, jiff::Timestamp>,
    /// Ends the questions with the run.
    end: CancellationToken,
}

impl Drop for Pacing {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// A text with its numbers left out; names keep theirs.
fn without_figures(text: &str) -> String {
    let is_word = |word: &&str| word.trim_matches(|c: char| !c.is_alphanumeric()).parse::<f64>().is_err();
    text.split(' ').filter(is_word).collect::<Vec<_>>().join(" ")
}

impl Engine<'_> {
    /// Keeps the questions going while there are moves.
    pub(super) fn keep_pace(&mut self, at_once: bool) {
        let Some(interval) = self.pace.interval() else { return };
        if self.pacing.asking || self.waves.is_empty() {
            return;
        }
        // Fixed slots are stopped for the sake of what flies: while nothing does, as between windows, nothing is asked.
        let idle = self.launched.is_empty() && self.pace.limits().all(|(_, slots)| slots > 0);
        if idle && !self.pace.adapts() && self.plan.concurrency.vetoes.is_empty() {
            return;
        }
        if at_once && self.waves.len() == 1 {
            // Nothing was asked while no wave was open: what was answered before that is old.
            self.pace.forget_vetoes();
        }
        self.pacing.asking = true;
        let (ports, sender, end) = (self.ports().clone(), self.sender.clone(), self.pacing.end.clone());
        let concurrency = &self.plan.concurrency;
        // Above 92 %, and where a higher ceiling was declared, seven points above that.
        let panic = |name: &StorageName| {
            let ceiling = self.plan.storages.get(name).map_or(850, |s| u64::from(s.disk_ceiling_permille));
            PANIC_PERMILLE.max(ceiling + u64::from(PANIC_ABOVE))
        };
        let storages: Vec<(StorageName, u64)> =
            self.pace.storages().into_iter().map(|name| (name.clone(), panic(&name))).collect();
        let (signals, vetoes) = (concurrency.signals.clone(), concurrency.vetoes.clone());
        tokio::spawn(async move {
            let work = async {
                if !at_once {
                    ports.clock.sleep(interval).await;
                }
                ask(&ports, storages, &signals, &vetoes).await
            };
            tokio::select! {
                () = end.cancelled() => {}
                answers = work => drop(sender.send(Message::Paced(Box::new(answers)))),
            }
        });
    }

    /// Takes one round of answers.
    pub(super) async fn paced(&mut self, answers: Answers) {
        self.pacing.asking = false;
        self.pace.answered(answers.vetoes);
        let at = self.ports().clock.now();
        let mut ends: BTreeMap<End, Vec<Signal>> = BTreeMap::new();
        let freezing = lock(&self.mover.freezing).clone();
        for index in &self.launched {
            let Some(planned) = self.plan.moves.get(*index) else { continue };
            // What has not been asked for yet is not frozen, however long it waits.
            let Some(since) = freezing.get(&planned.container) else { continue };
            if self.mover.poller.is_writable(planned.container) {
                continue;
            }
            let ms = u64::try_from(at.duration_since(*since).as_millis()).unwrap_or(0);
            let (source, destination) = (&planned.source, &planned.destination);
            let fit = self.mover.rules.learned.of(source, destination);
            if let Some(signal) = Pace::frozen(&fit, &planned.path, planned.copied(), ms) {
                for (storage, role) in [(source, Role::Source), (destination, Role::Destination)] {
                    ends.entry(End { storage: storage.clone(), role }).or_default().push(signal.clone());
                }
            }
        }
        let full = answers.disks.iter().filter(|(_, signal)| signal.verdict == Verdict::Fail);
        for storage in full.map(|(storage, _)| storage.clone()).collect::<Vec<_>>() {
            // What its waves do about it goes by their own figures.
            if self.room.knows(&storage) && !self.measuring.contains(&storage) {
                self.measure(&storage);
            }
        }
        self.hear_silence(at, &answers.silent);
        for (storage, signal) in answers.disks {
            ends.entry(End { storage, role: Role::Destination }).or_default().push(signal);
        }
        let turns = self.pace.decide(at, &answers.signals, &ends);
        for (end, limit) in self.pace.limits() {
            self.slots.set_limit(end, limit);
        }
        for (end, turn) in turns {
            self.throttled(end.to_string(), Some(end.storage), turn).await;
        }
        self.keep_pace(false);
    }

    /// Storages whose Gitaly does not answer: a destination is asked until it does, and what goes there is paused when that
    /// takes long; waves off a source end then.
    fn hear_silence(&mut self, at: jiff::Timestamp, silent: &BTreeSet<StorageName>) {
        self.pacing.silent.retain(|storage, _| silent.contains(storage));
        for storage in silent {
            let since = *self.pacing.silent.entry(storage.clone()).or_insert(at);
            if self.waves.values().any(|wave| wave.goes_to(storage)) {
                self.await_destination(storage);
            }
            if at.duration_since(since) < SILENT {
                continue;
            }
            let cause = format!("{storage} has not answered for {} minutes", SILENT.as_secs() / 60);
            self.waves.values_mut().filter(|wave| wave.source == *storage).for_each(|wave| wave.close(cause.clone()));
        }
    }

    /// Takes what the moves table said of GitLab's workers.
    pub(super) async fn worked(&mut self) {
        let (turns, taken) = self.mover.poller.changes();
        for one in taken {
            // It has got a worker: what waits behind it may be scheduled again.
            lock(&self.mover.short).remove(&one.record.container);
            let name = |text: &str| StorageName::new(text).ok();
            if let (Some(source), Some(destination)) = (name(&one.record.source), name(&one.record.destination)) {
                self.pace.taken(&source, &destination, one.millis);
            }
        }
        for turn in turns {
            // Above what we may have outstanding anyway it is nobody's limit.
            let most = self.plan.max_moves;
            let turn = Turn { from: turn.from.min(most), to: turn.to.min(most), ..turn };
            let told = self.mover.poller.workers_found() || turn.to < turn.from;
            if turn.from != turn.to && told {
                self.throttled("GitLab's workers".to_owned(), None, turn).await;
            }
        }
    }

    async fn throttled(&mut self, what: String, storage: Option<StorageName>, turn: Turn) {
        let Turn { from, to, why } = turn;
        let record = Entry::Throttled { what: what.clone(), from, to, why: why.clone() };
        if let Err(e) = self.journal().append(vec![record]).await {
            self.fatal = Some(e.to_string());
        }
        self.tell(Event::Throttled { what, storage, from, to, why });
    }

    /// What others leave us.
    pub(super) fn outside(&self) -> Outside {
        Outside { foreign: self.mover.poller.foreign(), workers: self.mover.poller.workers() }
    }

    /// Notes and tells what kept moves from beginning, when that is not what is declared and has changed.
    pub(super) fn tell_held(
        &mut self,
        veto: Option<String>,
        bindings: BTreeSet<Binding>,
        room: BTreeSet<StorageName>,
        away: BTreeSet<StorageName>,
    ) {
        if self.waves.is_empty() {
            // Nothing is left that could begin: what was told stands.
            self.pacing.idle = None;
            return;
        }
        let mut reasons: BTreeSet<String> = veto.into_iter().collect();
        for binding in bindings {
            match binding {
                Binding::All | Binding::Declared => {}
                Binding::Foreign => {
                    let most = self.plan.max_moves;
                    reasons.insert(format!("moves of others take up slots of the {most} that GitLab's workers have"));
                }
                Binding::Workers => {
                    // While they are still being found out, that is nobody's fault.
                    if self.mover.poller.workers_found() {
                        reasons.insert(format!("GitLab's workers are all busy ({})", self.mover.poller.workers()));
                    }
                }
                Binding::Found(end) => {
                    let why = self.pace.why(&end);
                    reasons.insert(match self.pace.limit(&end) {
                        0 => format!("{end} is stopped: {why}"),
                        _ => format!("the slots found for {end} so far are taken: {why}"),
                    });
                    self.pace.full(end);
                }
            }
        }
        for destination in room {
            reasons.insert(if self.filled.contains_key(&destination) {
                format!(
                    "{destination} is above its ceiling: something else fills it; it is measured again every minute"
                )
            } else {
                format!("room on {destination}: what flies there must end first")
            });
        }
        for destination in away {
            reasons.insert(format!("Gitaly of {destination} must answer first"));
        }
        let by = (!reasons.is_empty()).then(|| reasons.into_iter().collect::<Vec<_>>().join("; "));
        // A figure that has changed is no news.
        if by != self.pacing.told {
            let before = std::mem::replace(&mut self.pacing.told, by.clone());
            if by.as_deref().map(without_figures) != before.as_deref().map(without_figures) {
                self.tell(Event::Held { by });
            }
        }
        self.leave_what_is_held();
    }

    /// Leaves to a later run what was kept from beginning for longer than this one waits, once nothing flies.
    fn leave_what_is_held(&mut self) {
        let flies = self.waves.values().any(|wave| wave.in_flight > 0);
        let Some(by) = self.pacing.told.clone().filter(|_| !flies) else {
            self.pacing.idle = None;
            return;
        };
        let now = self.ports().clock.now();
        let waited = now.duration_since(*self.pacing.idle.get_or_insert(now)).unsigned_abs();
        if self.max_wait.is_some_and(|most| waited > most) {
            let until = format!("{by}; apply again when that is settled");
            self.waves.values_mut().for_each(|wave| wave.pause(&until));
        }
    }
}

async fn ask(
    ports: &Ports,
    storages: Vec<(StorageName, u64)>,
    signals: &BTreeMap<StorageName, Vec<Check>>,
    vetoes: &[Veto],
) -> Answers {
    let at = ports.clock.now();
    let vetoes = futures::future::join_all(
        vetoes.iter().map(|veto| async move { (veto.name.clone(), ask_veto(ports, &veto.source, at).await) }),
    );
    let signals = futures::future::join_all(storages.into_iter().map(|(storage, panic)| async move {
        let (answers, disk) = disk(&storage, panic, ports.gitaly.disk(&storage).await.map_err(|e| e.to_string()));
        let is_silent = answers.is_some();
        let mut all: Vec<Signal> = answers.into_iter().collect();
        // What is only tried decides nothing.
        for check in signals.get(&storage).into_iter().flatten().filter(|check| !check.dry_run) {
            let judged = gate::ask(ports, check, at).await;
            all.push(Signal::new(judged.verdict, judged.why));
        }
        (storage, all, disk, is_silent)
    }));
    let (vetoes, signals) = futures::future::join(vetoes, signals).await;
    let mut answers = Answers { vetoes: vetoes.into_iter().collect(), ..Answers::default() };
    for (storage, signals, disk, is_silent) in signals {
        answers.silent.extend(is_silent.then(|| storage.clone()));
        answers.disks.extend(disk.map(|disk| (storage.clone(), disk)));
        answers.signals.insert(storage, signals);
    }
    answers
}

/// Whether its Gitaly answers, and whether its disk is about to be full.
fn disk(
    storage: &StorageName,
    panic: u64,
    found: Result<Option<DiskSpace>, String>,
) -> (Option<Signal>, Option<Signal>) {
    match found {
        Err(cause) => (Some(Signal::safety(Verdict::Fail, format!("{storage} does not answer: {cause}"))), None),
        Ok(None) => {
            let why = format!("Gitaly cannot say how full the disk of {storage} is");
            (None, Some(Signal::new(Verdict::Unknown, why)))
        }
        Ok(Some(space)) => {
            let all = space.used.0.saturating_add(space.available.0).max(1);
            let permille = u64::try_from(u128::from(space.used.0) * 1000 / u128::from(all)).unwrap_or(1000);
            let verdict = if permille >= panic { Verdict::Fail } else { Verdict::Pass };
            (None, Some(Signal::safety(verdict, format!("the disk of {storage} is full to {} %", permille / 10))))
        }
    }
}

pub(super) async fn ask_veto(ports: &Ports, source: &VetoSource, at: jiff::Timestamp) -> Answer {
    match source {
        VetoSource::Query(query) => match &ports.metrics {
            None => Answer::Unknown("there is no Prometheus to ask".to_owned()),
            Some(metrics) => match metrics.query(query, at).await {
                Ok(series) => of_series(&series),
                Err(e) => Answer::Unknown(e.to_string()),
            },
        },
        VetoSource::Url(_) | VetoSource::File(_) => match &ports.operator {
            None => Answer::Unknown("there is nobody to look".to_owned()),
            Some(operator) => match operator.veto(source).await {
                Ok(Some(why)) => Answer::Held(why),
                Ok(None) => Answer::Free,
                Err(e) => Answer::Unknown(e.to_string()),
            },
        },
    }
}
