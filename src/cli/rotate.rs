//! `rotate`: restarts the pod of one storage on purpose, and measures how long the storage is away.

use super::args::{self, Listing, Selection};
use super::context::{self, Context};
use super::exit::Exit;
use super::failure::Failure;
use crate::apply::rotate::{self, Asked, Trouble};
use crate::state::store::Store as _;
use crate::ui;

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        if trouble.interrupted { Self::interrupted() } else { Self::new(trouble.message, trouble.help) }
    }
}

/// Looks, asks, restarts, records, and holds the outage against the budget.
pub(super) async fn rotate(context: &Context, args: &args::Rotate) -> Result<Exit, Failure> {
    let (terminal, signals) = (&context.terminal, &context.signals);
    if !args.auto_approve && (args.json || !terminal.interactive()) {
        return Err(Failure::with(
            if args.json { Exit::Usage } else { Exit::Error },
            "nobody was asked whether the pod may restart, so nothing was done",
            "To restart it without being asked: tranship rotate STORAGE --auto-approve",
        ));
    }
    let project = context::load(terminal, &args.variables)?;
    let storage = context::storage(&project.desired, &args.storage, "")?.clone();
    let Some(spec) = storage.pod.clone() else {
        return Err(Failure::new(
            format!("{} has no pod: tranship observes its Gitaly and does not restart it", storage.address),
            "Name a storage with `pod = pod_spec.NAME`.",
        ));
    };
    let _lock = context::lock("rotate")?;
    let selection = Selection { target: Vec::new(), exclude: Vec::new(), adopt: false, parallelism: None };
    let session = project.connect(context, &selection, &Listing { refresh: true, inventory: None }).await?;
    let mut state = session.state()?;
    let name = &storage.name;
    let recorded = state.storage(name).cloned().unwrap_or_default();
    let asked = Asked {
        storage: name.clone(),
        max_unavailable: spec.max_unavailable,
        deadline_seconds: spec.ready_timeout_seconds,
        filesystem_id: recorded.filesystem_id,
        claim_uid: recorded.claim_uid,
    };
    let moving = signals.or_stop(session.moving(name)).await??;
    if moving > 0 {
        let moves = if moving == 1 { "1 move is".to_owned() } else { format!("{moving} moves are") };
        return Err(Failure::new(
            format!("{moves} under way to or from {name}, and would fail: nothing was done"),
            "Wait until they have ended, or let `tranship apply` end what an earlier run left; then try again.",
        ));
    }
    let mut before = signals.or_stop(rotate::look(&session.ports, &asked)).await??;
    for remark in &before.remarks {
        terminal.talk(&format!("{remark}\n"));
    }
    if !args.auto_approve {
        let last = recorded.rotation_seconds.map_or_else(
            || "how long is not measured yet".to_owned(),
            |seconds| format!("for about {seconds}, as its last measured restart"),
        );
        terminal.talk(&format!("The pod of {name} restarts: its repositories cannot be reached meanwhile, {last}.\n"));
        if !approved(context).await? {
            return Err(Failure::new("not approved; nothing was done", ""));
        }
        // The answer may have come late.
        before = signals.or_stop(rotate::look(&session.ports, &asked)).await??;
    }
    let say = |text: &str| terminal.talk(&format!("{text}\n"));
    let rotation = rotate::rotate(&session.ports, &asked, &before, &signals.stop, &say).await?;
    state.storage_mut(name).rotation_seconds = Some(rotation.outage_seconds);
    context::file_store().save(&state)?;
    let budget = spec.rotation_budget_seconds;
    if args.json {
        terminal.data(&ui::rotation_json(&rotation, budget))?;
    } else {
        terminal.data(&ui::rotation(&rotation, budget, terminal.out))?;
    }
    match budget {
        Some(budget) if ui::over_budget(&rotation, Some(budget)) => Err(Failure::new(
            format!("{name} was away for {}, above its rotation_budget of {budget} s", rotation.outage_seconds),
            "The longest phase says where the time went. Make it shorter, or allow more: rotation_budget in the pod_spec.",
        )),
        _ => Ok(Exit::Done),
    }
}

/// Asks until the answer is yes or no.
async fn approved(context: &Context) -> Result<bool, Failure> {
    loop {
        let terminal = context.terminal;
        let asked = tokio::task::spawn_blocking(move || terminal.ask("\nRestart it now? [yes, no] "));
        match context.signals.or_stop(asked).await?.ok().flatten().as_deref() {
            Some("yes") => return Ok(true),
            Some("no") | None => return Ok(false),
            Some(_) => terminal.talk("Please answer yes or no.\n"),
        }
    }
}
