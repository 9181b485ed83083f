//! `validate`, `plan`, `show`, `graph`: what changes nothing.

use camino::Utf8Path;

use super::args;
use super::context::{self, Context};
use super::exit::{self, Exit};
use super::failure::Failure;
use crate::plan::{Plan, saved};
use crate::state::store::{self, FILE_NAME};
use crate::state::{State, format};
use crate::ui;

/// Checks the configuration.
pub(super) fn validate(context: &Context, args: &args::Validate) -> Result<Exit, Failure> {
    let loaded = context::read(&args.variables);
    let terminal = &context.terminal;
    let valid = loaded.desired.is_some() && !loaded.diagnostics.has_errors();
    if args.json {
        terminal.data(&ui::diagnostics_json(&loaded.diagnostics, &loaded.sources))?;
    } else {
        terminal.talk(&ui::diagnostics(&loaded.diagnostics, &loaded.sources, terminal.err));
        if valid {
            terminal.data("The configuration is valid.")?;
        }
    }
    Ok(if valid { Exit::Done } else { Exit::Error })
}

/// Plans and prints. Takes no lock and writes no state.
pub(super) async fn plan(context: &Context, args: &args::Plan) -> Result<Exit, Failure> {
    let terminal = &context.terminal;
    let project = context::load(terminal, &args.variables)?;
    let mut session = project.connect(context, &args.selection, &args.listing).await?;
    session.runs = context::runs(args.run_dir.as_deref());
    let mut observed = session.observe(&context.signals).await?;
    let unfinished = context::unfinished(&context::runs(args.run_dir.as_deref()))?;
    if let Some(holder) = context::lock_holder() {
        terminal.talk(&format!("An apply is at work ({holder}): what is planned here is what it has left.\n"));
    } else {
        for run in &unfinished {
            let count = run.in_doubt;
            terminal.talk(&match count {
                0 => format!("Run {} was cut short; the next apply takes up from there first.\n", run.run),
                _ => format!(
                    "Run {} was cut short with {count} moves under way or in doubt, planned below once more; the next \
                     apply follows them first and moves none twice.\n",
                    run.run
                ),
            });
        }
    }
    // What our own runs began is not somebody else's.
    let ours: std::collections::BTreeSet<_> = unfinished.iter().flat_map(|run| &run.containers).copied().collect();
    observed.moves.retain(|record| !ours.contains(&record.container));
    let plan = session.plan_from(&observed, &session.state()?)?;
    if args.json {
        terminal.data(&ui::plan_json(&plan))?;
    } else {
        terminal.data(&ui::plan(&plan, terminal.out, terminal.verbose > 0))?;
    }
    if let Some(file) = &args.out {
        store::replace(file, saved::encode(&plan).as_bytes()).map_err(|error| {
            Failure::new(format!("{file}: the plan cannot be saved: {error}"), "Name a file in a folder that exists.")
        })?;
        terminal.talk(&format!("\nSaved. To carry out exactly this:\n\n  tranship apply {file}\n"));
    }
    Ok(exit_of(&plan, args.detailed_exitcode))
}

/// The exit code of `plan`. Changes that an error forbids to apply are not announced as changes.
fn exit_of(plan: &Plan, detailed: bool) -> Exit {
    let changes = detailed && !plan.is_empty() && !exit::has_errors(plan);
    Exit::of_plan(plan).and(if changes { Exit::Changes } else { Exit::Done })
}

/// Reads a plan that was saved.
pub(super) fn read_saved(file: &Utf8Path) -> Result<Plan, Failure> {
    if fs_err::metadata(file).is_ok_and(|found| !found.is_file()) {
        let message = format!("{file} is no regular file, and a saved plan is one");
        return Err(Failure::new(message, "Save one: tranship plan --out FILE"));
    }
    let text = fs_err::read_to_string(file).map_err(|error| {
        Failure::new(format!("the plan cannot be read: {error}"), "Save one: tranship plan --out FILE")
    })?;
    let mut failure = match saved::decode(&text) {
        Ok(plan) => return Ok(plan),
        Err(error) => Failure::from(error),
    };
    if let super::failure::Reason::Messages(messages) = &mut failure.reason {
        for (message, _) in messages {
            *message = format!("{file}: {message}");
        }
    }
    Err(failure)
}

/// Shows a saved plan, or the state.
pub(super) fn show(context: &Context, args: &args::Show) -> Result<Exit, Failure> {
    let terminal = &context.terminal;
    let text = match args.file.as_deref().filter(|file| *file != "state") {
        Some(file) => {
            let plan = read_saved(file)?;
            if args.json { ui::plan_json(&plan) } else { ui::plan(&plan, terminal.out, terminal.verbose > 0) }
        }
        None => {
            let state = store::read(Utf8Path::new(FILE_NAME))?.unwrap_or_else(|| {
                terminal.talk("There is no state file yet: nothing was applied.\n");
                State::new("default")
            });
            if args.json { format::encode(&state) } else { ui::state(&state, terminal.out) }
        }
    };
    terminal.data(&text)?;
    Ok(Exit::Done)
}

/// Prints a plan's graph.
pub(super) async fn graph(context: &Context, args: &args::Graph) -> Result<Exit, Failure> {
    let plan = match &args.file {
        Some(file) => read_saved(file)?,
        None => {
            let project = context::load(&context.terminal, &args.variables)?;
            let session = project.connect(context, &args.selection, &args.listing).await?;
            session.plan(&context.signals, &session.state()?).await?
        }
    };
    context.terminal.data(&if args.json { ui::graph_json(&plan) } else { ui::graph_dot(&plan) })?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::model::{Address, StorageName};
    use crate::plan::{Action, Change, Finding, Level, PolicyVerdict, Verdict};

    #[test]
    fn the_exit_code_tells_what_the_plan_means() {
        let empty = testing::plan();
        let mut changes = empty.clone();
        changes.actions.push(Action {
            address: Address::new("drain", "old"),
            change: Change::ProveEmpty { storage: StorageName::new("old").expect("name") },
            reason: String::new(),
        });
        assert_eq!(exit_of(&empty, true), Exit::Done);
        assert_eq!(exit_of(&changes, false), Exit::Done);
        assert_eq!(exit_of(&changes, true), Exit::Changes);

        let finding = |level, blocks_drain| Finding {
            level,
            code: "x".into(),
            subject: "y".into(),
            message: String::new(),
            help: String::new(),
            blocks_drain,
        };
        let with = |finding: Finding| {
            let mut plan = changes.clone();
            plan.findings.push(finding);
            plan
        };
        assert_eq!(exit_of(&with(finding(Level::Danger, false)), true), Exit::Changes);
        assert_eq!(exit_of(&with(finding(Level::Error, false)), true), Exit::Error, "no changes that may be applied");
        assert_eq!(exit_of(&with(finding(Level::Notice, true)), true), Exit::Refused);
        for verdict in [Verdict::Fail, Verdict::Unknown] {
            let mut plan = changes.clone();
            plan.policies.push(PolicyVerdict {
                address: Address::new("policy", "p"),
                verdict,
                message: String::new(),
                place: None,
            });
            assert_eq!(exit_of(&plan, true), Exit::Refused);
        }
    }
}
