//! Takes up what an earlier run left: folds what it verified into the state, follows what is in doubt to its end.

use std::collections::BTreeMap;

use futures::StreamExt as _;

use super::event::{Event, Summary};
use super::failure::{Class, remedy};
use super::journal::Journal;
use super::learned::Learned;
use super::mover::{Ended, Mover, Rules};
use super::{Context, RunResult, cluster, hooks, tally, whole};
use crate::model::{Container, SourceFsck, StorageName};
use crate::state::journal::{self, FORMAT, Folded, Intent, ObjectFate, Record as Entry, Tried};
use crate::state::{ProbeRecord, QuarantineRecord, Record, State};

/// Moves followed at once: they are in flight in GitLab already, only our reads are bounded by this.
const AT_ONCE: usize = 16;
/// Of those, so many are named.
const NAMED: usize = 5;

/// Recovers all unfinished runs below `runs`, except `own`.
pub(crate) async fn recover(mut state: State, context: &Context, runs: &camino::Utf8Path) -> RunResult {
    let mut summary = Summary::default();
    let began = context.ports.clock.now();
    let unfinished = match journal::unfinished(runs) {
        Ok(unfinished) => unfinished,
        Err(e) => return failed(state, summary, format!("the journals could not be read: {e}")),
    };
    let digest = state.digest();
    for (folder, journal) in unfinished {
        let folded = match journal.fold(&digest) {
            Ok(folded) => folded,
            Err(e) => return failed(state, summary, format!("a journal could not be read: {e}")),
        };
        if folded.newer {
            let cause = format!("{folder}: the journal is of a newer tranship; finish that run with it");
            return failed(state, summary, cause);
        }
        if folded.environment.as_ref().is_some_and(|e| *e != state.environment) {
            let found = folded.environment.unwrap_or_default();
            let cause = format!("{folder}: the journal is of environment {found}, not {}", state.environment);
            return failed(state, summary, cause);
        }
        let run = folder.file_name().unwrap_or_default().to_owned();
        let in_doubt = folded.doubts.len() as u64;
        if in_doubt > 0 {
            let _ = context.events.send(Event::Resumed { run: run.clone(), in_doubt });
        }
        match one(&mut state, context, &folder, folded, &mut summary).await {
            Ok(true) => {}
            // Its journal stays: nothing else waits for that.
            Ok(false) => continue,
            Err(cause) => return failed(state, summary, cause),
        }
        if let Err(e) = journal::pack(runs, &run, super::KEEP_RUNS, super::recent(context.ports.clock.now())) {
            let _ = context
                .events
                .send(Event::Warning { message: format!("the journal of {run} could not be packed: {e}") });
        }
    }
    summary.seconds = context.ports.clock.now().duration_since(began).unsigned_abs().as_secs();
    RunResult { state, summary, fatal: None }
}

fn failed(state: State, summary: Summary, cause: String) -> RunResult {
    RunResult { state, summary, fatal: Some(cause) }
}

/// Recovers one run into the state. `Ok(true)`: nothing of it is in doubt any more.
async fn one(
    state: &mut State,
    context: &Context,
    folder: &camino::Utf8Path,
    mut folded: Folded,
    summary: &mut Summary,
) -> Result<bool, String> {
    let mut holds = Vec::new();
    for ((intent, verdict, source, destination), beside) in folded.verified.iter().zip(&folded.beside) {
        tally::record(state, intent, verdict, source, destination);
        tally::beside(state, intent, beside.whole.as_deref(), beside.left);
        summary.bytes.0 = summary.bytes.0.saturating_add(intent.bytes.0);
        count(summary, verdict);
        holds.push(intent.container);
    }
    for (container, record, loss) in std::mem::take(&mut folded.quarantined) {
        set_aside(state, context, summary, container, record, None, loss).await;
        holds.push(container);
    }
    let mut left = objects(state, context, &folded.objects).await;
    for (container, (home, storage)) in &folded.probes {
        let record = ProbeRecord { home: home.clone(), storage: storage.clone() };
        state.records.insert(State::probe_address(*container), Record::Probe(record));
    }
    // The same journal goes on: a second crash is recovered from it as the first is.
    let journal = Journal::open(folder).map_err(|e| e.to_string())?;
    save(state, context, &journal, std::mem::take(&mut holds)).await?;
    let version = super::gitlab_version(&context.ports, !folded.doubts.is_empty()).await;
    let Context { ports, events, stop, .. } = context;
    let learned = Learned::new(context.seen.durations(), context.seen.clone());
    let run = folder.file_name().unwrap_or("run");
    let rules = Rules::new(run, version, context.hooks.clone(), learned, SourceFsck::None);
    let mover = Mover::new(ports.clone(), journal.clone(), events.clone(), stop.clone(), rules);
    for doubt in folded.doubts.values().take(NAMED) {
        let Intent { path, source, destination, .. } = &doubt.intent;
        let what = format!("{path}: its move from {source} to {destination} is followed to its end");
        let _ = context.events.send(Event::Waiting { what });
    }
    let mut ends = futures::stream::iter(std::mem::take(&mut folded.doubts).into_values())
        .map(|doubt| {
            let (mover, intent) = (mover.clone(), doubt.intent.clone());
            async move { (intent, mover.take_up(doubt.intent, doubt.move_id, doubt.frozen).await) }
        })
        .buffer_unordered(AT_ONCE);
    while let Some((intent, ended)) = ends.next().await {
        match ended {
            Ended::Verified(v) => {
                summary.bytes.0 = summary.bytes.0.saturating_add(v.intent.bytes.0);
                count(summary, v.verdict.as_str());
                tally::record(state, &v.intent, v.verdict.as_str(), &v.source, &v.destination);
                tally::beside(state, &v.intent, v.deep.map(whole::word), v.left.is_some());
                holds.push(v.intent.container);
                folded.ended_well(v.intent.container);
            }
            Ended::Quarantined { container, class, record, .. } => {
                folded.ended_well(container);
                set_aside(state, context, summary, container, record, Some(class), class.is_loss()).await;
                holds.push(container);
            }
            Ended::Again { class, cause, .. } => {
                // It counts within the budget of its repository.
                let tried = Tried { attempts: intent.attempt, said: vec![cause] };
                journal.note(vec![Entry::Tried { container: intent.container, tried }]);
                if class != Class::Unstarted {
                    continue;
                }
                let suspect = remedy::suspect(remedy::Case::of(&intent, None), &intent.path);
                remark(context, summary, format!("{suspect}; the next attempt tells"));
            }
            // Not moved after all: the next plan has it.
            Ended::Skipped { .. } | Ended::Foreign { .. } | Ended::Stopped => {}
            Ended::Halt { cause } | Ended::InDoubt { cause } | Ended::Unreachable { cause, .. } => {
                left += 1;
                let Intent { container, path, .. } = &intent;
                let message = format!("{container} {path}: how its move ended could not be found out: {cause}");
                remark(context, summary, format!("{message}; it is left alone, and the next apply asks again"));
            }
            Ended::Fatal { cause } => return Err(cause),
        }
    }
    drop(ends);
    for ((wave, _), (assignments, _)) in folded.closing.iter().filter(|(_, (_, flying))| flying.is_empty()) {
        tally::wave_passed(state, wave, assignments.iter());
    }
    save(state, context, &journal, holds).await?;
    summary.in_doubt += left;
    let end = if left == 0 { Entry::Ended } else { began(&state.environment) };
    journal.append(vec![end]).await.map_err(|e| e.to_string())?;
    Ok(left == 0)
}

fn remark(context: &Context, summary: &mut Summary, message: String) {
    summary.remarks.push(message.clone());
    let _ = context.events.send(Event::Warning { message });
}

/// Records what an earlier run applied to a cluster, whether it saw the end or not. Returns of how many objects that could
/// not be found out.
async fn objects(state: &mut State, context: &Context, objects: &BTreeMap<(StorageName, String), ObjectFate>) -> u64 {
    let mut left = 0;
    for ((storage, key), fate) in objects {
        let (manifest, force) = match fate {
            ObjectFate::Applied { digest, uid } => {
                tally::object(state, storage, key, digest, uid.as_deref());
                continue;
            }
            ObjectFate::InDoubt { manifest, force } => (manifest, *force),
        };
        // Without a cluster in the configuration the next plan has nothing to do with it either.
        let Some(cluster) = &context.ports.cluster else { continue };
        match cluster::applied(cluster.as_ref(), manifest, force).await {
            Ok(Some(live)) => {
                let uid = live.pointer("/metadata/uid").and_then(serde_json::Value::as_str);
                tally::object(state, storage, key, &manifest.digest(), uid);
            }
            // It was not, or is not as it was to be: the next plan has it.
            Ok(None) => {}
            Err(error) => {
                left += 1;
                let _ = context.events.send(Event::Warning { message: format!("{key} of {storage}: {error}") });
            }
        }
    }
    left
}

fn count(summary: &mut Summary, verdict: &str) {
    match verdict {
        "attested" => summary.attested += 1,
        "advanced" => summary.advanced += 1,
        "bracketed" => summary.bracketed += 1,
        _ => summary.unknown += 1,
    }
}

/// Records and tells a quarantine, whichever run found it, and runs the operator's programs for it. They may have been run
/// before: then they are once more.
async fn set_aside(
    state: &mut State,
    context: &Context,
    summary: &mut Summary,
    container: Container,
    record: QuarantineRecord,
    class: Option<Class>,
    loss: bool,
) {
    summary.quarantined += 1;
    summary.lost += u64::from(loss);
    summary.remarks.extend(remedy::urgent(container, &record));
    let _ = context.events.send(Event::Quarantined {
        container,
        path: record.path.clone(),
        cause: record.cause.clone(),
        evidence: record.evidence.clone(),
        remedy: record.remedy.clone(),
        loss,
    });
    for (on, input) in hooks::set_aside(&state.environment, container, &record.path, class, &record) {
        for hook in context.hooks.iter().filter(|hook| hook.on.contains(&on)) {
            let (well, how, output) = hooks::ended(hook, hooks::run(&context.ports, hook, &input).await);
            if !well {
                summary.remarks.push(format!("hook {} ({on}) failed: {how}", hook.name));
            }
            let _ = context.events.send(Event::HookEnded { hook: hook.name.clone(), on, well, how, output });
        }
    }
    state.records.insert(State::quarantine_address(container), Record::Quarantine(record));
}

async fn save(state: &State, context: &Context, journal: &Journal, holds: Vec<Container>) -> Result<(), String> {
    journal.append(vec![Entry::Checkpoint { state: state.digest(), holds }]).await.map_err(|e| e.to_string())?;
    context.store.save(state).map_err(|e| format!("the state could not be written: {e}"))
}

/// The first record of a run, and of what is left of one that was taken up.
pub(crate) fn began(environment: &str) -> Entry {
    Entry::Began { format: FORMAT, environment: environment.to_owned() }
}
