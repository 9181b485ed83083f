//! `apply`: lock, take up what was cut short, plan, ask, carry out, and plan again while the fleet moves on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use tokio::sync::mpsc::unbounded_channel;

use super::args;
use super::context::{self, Context, Session};
use super::durations;
use super::exit::{self, Exit};
use super::failure::Failure;
use super::metrics;
use super::plan::read_saved;
use crate::apply::event::{Event, Summary};
use crate::apply::{self, RunResult};
use crate::model::{Address, Container, Desired, Observed, StorageName};
use crate::plan::{self, Change, Observations, Plan};
use crate::state::State;
use crate::ui::{self, Metrics, View};

/// How often a fleet that moves on is planned for within one apply. A fleet that brings new repositories faster than
/// they are moved would otherwise keep the apply for ever.
const ROUNDS: u32 = 3;

/// Runs the command.
pub(super) async fn apply(context: &Context, args: &args::Apply) -> Result<Exit, Failure> {
    let asks = args.file.is_none() && !args.auto_approve;
    if asks && args.json {
        return Err(Failure::with(
            Exit::Usage,
            "--json asks nothing, so it needs a saved plan or --auto-approve",
            "tranship apply --auto-approve --json",
        ));
    }
    if asks && !context.terminal.interactive() {
        return Err(Failure::new(
            "there is no terminal to ask for approval on; nothing was done",
            "Save a plan, look at it, and apply exactly that: `tranship plan --out FILE`, `tranship apply FILE`.\n\
             Or approve unseen: `tranship apply --auto-approve`.",
        ));
    }
    let listener = match args.metrics {
        Some(address) => Some(metrics::Listener::bind(address).await?),
        None => None,
    };
    if let Some(url) = listener.as_ref().and_then(metrics::Listener::url) {
        context.terminal.talk(&format!("Metrics of the run: {url}\n"));
    }
    let project = context::load(&context.terminal, &args.variables)?;
    let _lock = context::lock("apply")?;
    let saved = args.file.as_deref().map(read_saved).transpose()?;
    let mut session = project.connect(context, &args.selection, &args.listing).await?;
    session.runs = context::runs(args.run_dir.as_deref());
    let metrics = listener.map(|listener| listener.serve(&mut session.ports)).transpose()?;
    let mut apply = Apply { metrics, ..Apply::new(context, args, &session) };
    let result = match apply.recover().await {
        Ok(()) => apply.carry_out(saved, asks).await,
        Err(failure) => Err(failure),
    };
    result.map_err(|failure| failure.after(apply.exit))
}

/// One apply, over all its rounds.
struct Apply<'a> {
    context: &'a Context,
    args: &'a args::Apply,
    session: &'a Session,
    runs: Utf8PathBuf,
    /// Taken out while a run's events are shown.
    view: Option<Box<dyn View>>,
    metrics: Option<Metrics>,
    /// What the runs so far mean.
    exit: Exit,
    /// How long moves took, those of this apply among them.
    seen: Observations,
}

/// What is kept of a run's moves beside its result.
#[derive(Default)]
struct Noted {
    /// Milliseconds that each took.
    took: BTreeMap<Container, u64>,
    /// Those that were in place already, or gone.
    needless: BTreeSet<Container>,
}

impl<'a> Apply<'a> {
    fn new(context: &'a Context, args: &'a args::Apply, session: &'a Session) -> Self {
        let view = if args.json { ui::json_lines() } else { ui::people(context.terminal.err) };
        let runs = context::runs(args.run_dir.as_deref());
        let seen = session.seen.clone();
        Self { context, args, session, runs, view: Some(view), metrics: None, exit: Exit::Done, seen }
    }

    /// Follows, compares and records the moves of runs that were cut short.
    async fn recover(&mut self) -> Result<(), Failure> {
        if context::unfinished(&self.runs)?.is_empty() {
            return Ok(());
        }
        let state = self.session.state()?;
        let (result, _) = self.watch(self.runs.clone(), |engine| apply::recover(state, engine)).await;
        let exit = Exit::of_summary(&result.summary);
        self.exit = self.exit.and(exit);
        if exit == Exit::Done && result.fatal.is_none() {
            self.talk("What an earlier run left is settled.\n\n");
        } else {
            self.summary(&result.summary)?;
        }
        self.ended(&result)?;
        if result.summary.interrupted {
            return Err(Failure::interrupted());
        }
        if result.summary.lost > 0 {
            return Err(Failure::new(
                "a move of the run that was cut short may have lost something; nothing new was begun",
                "Look at it first: tranship quarantine list",
            ));
        }
        Ok(())
    }

    /// Plans and runs, in rounds.
    async fn carry_out(&mut self, saved: Option<Plan>, asks: bool) -> Result<Exit, Failure> {
        let signals = &self.context.signals;
        let is_saved = saved.is_some();
        let mut state = self.session.state()?;
        let mut plan = match saved {
            None => self.session.plan(signals, &state).await?,
            Some(saved) => {
                // Its moves look at their own repository each, right before they begin.
                let facts = self.session.facts(signals).await?;
                check_fresh(&saved, &self.session.project.desired, &state, &facts)?;
                saved
            }
        };
        if let Some(most) = self.args.selection.parallelism {
            plan.max_moves = plan.max_moves.min(most);
        }
        self.show(&plan)?;
        if let Some(exit) = self.forbidden(&plan) {
            return Ok(exit);
        }
        if plan.is_empty() {
            self.use_up_approvals(&plan).await;
            return Ok(self.exit.and(Exit::of_plan(&plan)));
        }
        if asks && !self.approved(&plan).await? {
            return Err(Failure::new("not approved; nothing was done", ""));
        }
        self.use_up_approvals(&plan).await;
        let scope = Scope::of(&plan);
        let mut refused = 0;
        for round in 1..=ROUNDS {
            let result = self.run(&plan, state).await?;
            // A proof refused in one round may be given in the next; only the last one's counts.
            refused = result.summary.refused;
            let counted = Summary { refused: 0, ..result.summary.clone() };
            self.exit = self.exit.and(Exit::of_summary(&counted));
            self.summary(&result.summary)?;
            self.ended(&result)?;
            let again = goes_on(&result.summary) && !signals.stop.is_cancelled();
            if !again {
                break;
            }
            state = result.state;
            let next = self.session.plan(signals, &state).await?;
            if next.is_empty() {
                plan = next;
                refused = 0;
                if plan.drain_is_stuck() {
                    // What keeps a drain from its end was not known before.
                    self.show(&plan)?;
                }
                break;
            }
            if is_saved && !scope.touches(&next) {
                // What is left was not part of the saved plan, by its --target or --exclude.
                break;
            }
            if is_saved || round == ROUNDS || !scope.holds(&next) || next.is_blocked() {
                self.leave(&next, is_saved);
                plan = next;
                break;
            }
            plan = next;
            self.talk(&format!("\nThe fleet has moved on meanwhile; round {} of {ROUNDS}.\n", round + 1));
            self.show(&plan)?;
        }
        if refused > 0 {
            self.exit = self.exit.and(Exit::Partial);
        }
        if plan.drain_is_stuck() {
            self.talk("\nA drain cannot end yet, so this ends with 7: the plan's part \"Not planned\" and `tranship quarantine list` say why.\n");
        }
        Ok(self.exit.and(Exit::of_plan(&plan)))
    }

    /// An approval that nothing of the whole plan waits for is of no later plan either: who gave it has not seen that one.
    async fn use_up_approvals(&self, plan: &Plan) {
        let Some(operator) = &self.session.ports.operator else { return };
        let selection = &self.args.selection;
        if self.args.file.is_some() || !selection.target.is_empty() || !selection.exclude.is_empty() {
            return;
        }
        let waited = |gate: &Address| {
            let waits = |change: &Change| matches!(change, Change::Hold { approvals, .. } if approvals.contains(gate));
            plan.actions.iter().any(|action| waits(&action.change))
        };
        for gate in self.session.project.desired.gates.keys().filter(|gate| !waited(gate)) {
            if let Ok(Some(approval)) = operator.approval(gate).await {
                let end = operator.approval_used(gate).await;
                let how = end.map_or_else(|error| error.to_string(), |()| "it is used up".to_owned());
                self.talk(&format!(
                    "Warning: {gate} was approved by {}, and nothing waits for that: {how}\n",
                    approval.by
                ));
            }
        }
    }

    /// Carries out one plan in a run of its own.
    async fn run(&mut self, plan: &Plan, state: State) -> Result<RunResult, Failure> {
        if let Some(metrics) = &self.metrics {
            metrics.plan(plan);
        }
        let name = new_run(&self.runs)?;
        let (result, noted) = self.watch(self.runs.join(&name), |engine| apply::run(plan, state, engine)).await;
        self.learn(plan, &noted.took);
        // An inventory does not know what a run that was killed moved: what was found in place is not planned from it again.
        let needless = plan.moves.iter().filter(|planned| noted.needless.contains(&planned.container));
        self.session.reading.moved(needless.map(|one| (one.container, one.destination.clone())).collect());
        // A run whose moves were not all followed to their end keeps its journal as it is: the next apply reads it.
        // So does one whose journal cannot be read back: what the run found must not be lost to that error.
        let open = context::unfinished(&self.runs).map_or(true, |runs| runs.iter().any(|run| run.run == name));
        if result.fatal.is_none()
            && !open
            && let Err(error) = apply::finish(&self.runs, &name, self.session.ports.clock.now())
        {
            self.talk(&format!("Warning: the journal of run {name} was not packed: {error}\n"));
        }
        Ok(result)
    }

    /// Runs the engine, its events shown as they come.
    async fn watch<F: Future<Output = RunResult>>(
        &mut self,
        folder: Utf8PathBuf,
        engine: impl FnOnce(apply::Context) -> F,
    ) -> (RunResult, Noted) {
        let (events, mut incoming) = unbounded_channel();
        let ports = self.session.ports.clone();
        let clock = Arc::clone(&ports.clock);
        let (view, mut metrics) = (self.view.take(), self.metrics.clone());
        let shown = tokio::spawn(async move {
            let (mut view, mut moved, mut noted) = (view, BTreeMap::new(), Noted::default());
            while let Some(event) = incoming.recv().await {
                if let Some(view) = &mut view {
                    view.event(&event, clock.now());
                }
                if let Some(metrics) = &mut metrics {
                    metrics.event(&event, clock.now());
                }
                match event {
                    Event::MoveVerified { container, destination, frozen_ms, .. } => {
                        moved.insert(container, destination);
                        noted.took.insert(container, frozen_ms);
                    }
                    Event::MoveSkipped { container, done: true, .. } => drop(noted.needless.insert(container)),
                    _ => {}
                }
            }
            (view, moved, noted)
        });
        self.session.talk.to(Some(events.clone()));
        let store = Arc::new(context::file_store());
        let stop = self.context.signals.stop.clone();
        let max_wait = self.args.max_wait;
        // The engine's sender is dropped with its context, which ends the view.
        let (seen, hooks) = (self.seen.clone(), self.session.project.desired.hooks.values().cloned().collect());
        let result = engine(apply::Context { ports, store, folder, events, stop, max_wait, seen, hooks }).await;
        self.session.talk.to(None);
        let mut noted = Noted::default();
        if let Ok((view, moved, of_moves)) = shown.await {
            self.view = view;
            noted = of_moves;
            self.session.reading.moved(moved);
        }
        (result, noted)
    }

    /// Keeps how long a run's moves took, for the next plan.
    fn learn(&mut self, plan: &Plan, took: &BTreeMap<Container, u64>) {
        if took.is_empty() {
            return;
        }
        for planned in &plan.moves {
            if let Some(ms) = took.get(&planned.container) {
                self.seen.add(&planned.source, &planned.destination, planned.copied(), *ms);
            }
        }
        let environment = &self.session.project.desired.environment;
        if let Err(error) = durations::save(&context::durations_file(), environment, &self.seen) {
            self.talk(&format!("Warning: how long moves took is not kept for the next plan: {error}\n"));
        }
    }

    /// Prints a plan for people; events in JSON speak for themselves.
    fn show(&self, plan: &Plan) -> Result<(), Failure> {
        let terminal = &self.context.terminal;
        if self.args.json { Ok(()) } else { terminal.data(&ui::plan(plan, terminal.out, terminal.verbose > 0)) }
    }

    /// Prints the end of a run; in JSON it is the last event.
    fn summary(&self, summary: &Summary) -> Result<(), Failure> {
        let terminal = &self.context.terminal;
        if self.args.json { Ok(()) } else { terminal.data(&ui::summary(summary, terminal.out)) }
    }

    fn talk(&self, text: &str) {
        self.context.terminal.talk(text);
    }

    /// The exit code when a plan must not be carried out.
    fn forbidden(&self, plan: &Plan) -> Option<Exit> {
        if !plan.is_blocked() {
            return None;
        }
        let why =
            if exit::has_errors(plan) { "what was found above must be settled first" } else { "a policy said no" };
        self.talk(&format!("\nNothing was done: {why}.\n"));
        Some(self.exit.and(Exit::of_plan(plan)))
    }

    /// Ends with an error when a run could not go on.
    fn ended(&self, result: &RunResult) -> Result<(), Failure> {
        match &result.fatal {
            None => Ok(()),
            Some(cause) => Err(Failure::with(
                Exit::Error,
                cause,
                "Moves in flight go on in GitLab. Settle the cause, then run apply again: it takes up from there.",
            )),
        }
    }

    /// Tells what is left for another apply.
    fn leave(&mut self, next: &Plan, is_saved: bool) {
        self.exit = self.exit.and(Exit::Partial);
        let what = if next.is_blocked() {
            "what is left must not be carried out as it stands"
        } else if is_saved {
            "a saved plan does what it says and no more"
        } else {
            "the fleet moves on faster than this apply, or wants what was not approved"
        };
        self.talk(&format!("\nThere is more to do: {what}. `tranship plan` shows it.\n"));
    }

    /// Asks until the answer is one of the three.
    async fn approved(&self, plan: &Plan) -> Result<bool, Failure> {
        loop {
            let terminal = self.context.terminal;
            let asked = tokio::task::spawn_blocking(move || terminal.ask("\nCarry this out? [yes, no, details] "));
            let answer = self.context.signals.or_stop(asked).await?.ok().flatten();
            match answer.as_deref() {
                Some("yes") => return Ok(true),
                Some("no") | None => return Ok(false),
                Some("details") => terminal.data(&ui::plan(plan, terminal.out, true))?,
                Some(_) => self.talk("Please answer yes, no or details.\n"),
            }
        }
    }
}

/// True when planning again makes sense: something was done, and nothing failed for good.
fn goes_on(summary: &Summary) -> bool {
    let progressed = summary.done + summary.attested + summary.advanced + summary.bracketed + summary.unknown > 0;
    let held = summary.gates_closed + summary.paused > 0;
    progressed && !held && summary.failed + summary.in_doubt == 0 && summary.lost == 0 && !summary.interrupted
}

/// Finds a saved plan stale, before the first action.
fn check_fresh(saved: &Plan, desired: &Desired, state: &State, observed: &Observed) -> Result<(), Failure> {
    let mut reasons = plan::stale(saved, &desired.digest, state, observed);
    if saved.environment != desired.environment {
        reasons = vec![format!(
            "it is for environment {:?}, the configuration is of environment {:?}",
            saved.environment, desired.environment
        )];
    }
    if reasons.is_empty() {
        return Ok(());
    }
    Err(Failure::with(
        Exit::Stale,
        format!("the saved plan is stale, so nothing was done: {}", reasons.join("; ")),
        "Plan again, look at it, and apply that: tranship plan --out FILE",
    ))
}

/// What was approved with the first plan; later rounds stay inside.
struct Scope {
    moves: BTreeSet<(StorageName, Address)>,
    others: BTreeSet<Address>,
}

impl Scope {
    fn of(plan: &Plan) -> Self {
        Self {
            moves: plan.moves.iter().map(|planned| (planned.source.clone(), planned.assignment.clone())).collect(),
            others: Self::others(plan).cloned().collect(),
        }
    }

    /// True when a plan wants anything of what was approved.
    fn touches(&self, plan: &Plan) -> bool {
        let moves = plan.moves.iter().any(|planned| {
            self.moves.iter().any(|(source, assignment)| *source == planned.source && *assignment == planned.assignment)
        });
        moves || Self::others(plan).any(|address| self.others.contains(address))
    }

    /// The addresses of actions that are no moves.
    fn others(plan: &Plan) -> impl Iterator<Item = &Address> {
        let no_move = plan.actions.iter().filter(|action| !matches!(action.change, Change::Moves { .. }));
        no_move.map(|action| &action.address)
    }

    fn holds(&self, plan: &Plan) -> bool {
        let moves = plan.moves.iter().all(|planned| {
            self.moves.iter().any(|(source, assignment)| *source == planned.source && *assignment == planned.assignment)
        });
        moves && Self::others(plan).all(|address| self.others.contains(address))
    }
}

/// Makes the folder of a new run: named by the time, so that names sort by age.
fn new_run(runs: &Utf8Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(
            format!("the journal cannot be kept: {error}"),
            "Make room for it, or keep it elsewhere: --run-dir DIR",
        )
    };
    fs_err::create_dir_all(runs).map_err(failed)?;
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut name = time.clone();
    for number in 2.. {
        match fs_err::create_dir(runs.join(&name)) {
            Ok(()) => break,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => name = format!("{time}-{number:02}"),
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::model::{Bytes, ContainerKind, Weight};
    use crate::plan::{Action, PlannedMove};

    fn planned(source: &str, assignment: &str) -> PlannedMove {
        PlannedMove {
            container: Container { kind: ContainerKind::Project, id: 1 },
            path: "web/shop".into(),
            source: StorageName::new(source).expect("name"),
            destination: StorageName::new("new").expect("name"),
            assignment: Address::new("assignment", assignment),
            bytes: Bytes(1),
            shared: Bytes(0),
            pool: None,
            empty: false,
        }
    }

    fn weight(storage: &str) -> Action {
        Action {
            address: Address::new("weight", storage),
            change: Change::SetWeight {
                storage: StorageName::new(storage).expect("name"),
                from: Weight::ZERO,
                to: Weight::ZERO,
            },
            reason: String::new(),
        }
    }

    #[test]
    fn later_rounds_stay_within_what_was_approved() {
        let of = |moves: &[(&str, &str)], weights: &[&str]| {
            let mut plan = testing::plan();
            plan.moves = moves.iter().map(|(source, assignment)| planned(source, assignment)).collect();
            plan.actions = weights.iter().map(|storage| weight(storage)).collect();
            plan
        };
        let scope = Scope::of(&of(&[("old", "a"), ("old", "b"), ("older", "a")], &["old"]));
        assert!(scope.holds(&of(&[("old", "b"), ("older", "a")], &[])));
        assert!(scope.holds(&of(&[], &["old"])));
        assert!(!scope.holds(&of(&[("older", "b")], &[])), "another pair of source and assignment");
        assert!(!scope.holds(&of(&[], &["new"])), "another weight");
    }

    #[test]
    fn planning_again_needs_progress_and_no_failure() {
        let good = Summary { attested: 1, ..Summary::default() };
        assert!(goes_on(&good));
        assert!(goes_on(&Summary { refused: 1, stale: 1, ..good.clone() }), "the fleet moved on: plan again");
        for bad in [
            Summary::default(),
            Summary { failed: 1, ..good.clone() },
            Summary { in_doubt: 1, ..good.clone() },
            Summary { lost: 1, ..good.clone() },
            Summary { gates_closed: 1, ..good.clone() },
            Summary { paused: 1, ..good.clone() },
            Summary { interrupted: true, ..good },
        ] {
            assert!(!goes_on(&bad), "{bad:?}");
        }
    }

    #[test]
    fn runs_are_named_apart_and_sort_by_age() {
        let folder = tempfile::tempdir().expect("tempdir");
        let runs = Utf8Path::from_path(folder.path()).expect("UTF-8").join("runs");
        let names: Vec<String> = (0..3).map(|_| new_run(&runs).expect("made")).collect();
        let mut sorted = names.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(names, sorted);
        assert!(names.iter().all(|name| runs.join(name).is_dir()));
    }
}
