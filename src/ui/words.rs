//! Closed sets of the plan and of the events, in words that an operator can act on.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::text::{self, milliseconds};
use super::yaml::yaml;
use crate::apply::event::{Event, Outcome};
use crate::apply::failure::remedy;
use crate::model::{Container, ContainerKind, Profile, StorageName, Veto, VetoSource};
use crate::plan::freeze::spell;
use crate::plan::pods::{ChangeClass, declare};
use crate::plan::room::{RoomLevel, SOFT_BELOW};
use crate::plan::{Action, After, Binding, Change, Plan, Verdict, WaitingOn};
use crate::state::State;

/// What is the matter and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// Why.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// Says why something was not planned; `subject`: what it is about.
pub(super) fn waiting_on(reason: &WaitingOn, subject: &str) -> Advice {
    let (message, help): (String, String) = match reason {
        WaitingOn::Assignment => (
            "the storage drains, but no assignment sends these repositories anywhere".into(),
            "Write an `assignment` with this storage in `from` that selects them.".into(),
        ),
        WaitingOn::Room { destinations, free, needed } => {
            let names: Vec<&str> = destinations.iter().map(crate::model::StorageName::as_str).collect();
            (
                format!("no room: {needed} needed, at most {free} free below the ceiling on {}", list(&names)),
                "Enlarge a disk, raise `limits.disk_ceiling`, or name another storage in the assignment's `to`.".into(),
            )
        }
        WaitingOn::GitlabToKnow { storage, address } => {
            let own = *subject == *State::storage_address(storage).to_string();
            let help = match address {
                Some(address) if own => declare(storage, address),
                None if own => format!("On a sandbox, tell its GitLab: tranship sandbox know {storage}. Then plan again."),
                _ => "Declare it in GitLab (`tranship render helm` and `tranship render gitlab-rb` print how), reconfigure, \
                      then plan again."
                    .to_owned(),
            };
            (format!("GitLab does not know the storage {storage}"), help)
        }
        WaitingOn::Move { state, destination } => (
            format!("a move of somebody else is under way (state {state}, to {destination})"),
            "Wait until it has ended, then plan again.".into(),
        ),
        WaitingOn::Unended { container, id, state } => (
            format!("{container} has left, and GitLab never ended its move {id} (state {state}): its copy is still here"),
            format!(
                "GitLab's worker is gone before it deleted the copy. Remove that through Gitaly, and end the move in GitLab's \
                 Rails console:\n{}",
                remedy::end(*container, *id)
            ),
        ),
        WaitingOn::Field { assignment } => (
            format!("`where` of {assignment} cannot be answered: a field that it asks for is not known"),
            "Write the condition so that it can do without, or give these repositories an assignment of their own."
                .into(),
        ),
        WaitingOn::Release => (
            "in quarantine on the way off this storage, or held back by a possible loss there".into(),
            "Follow the remedy, then release what is in quarantine: `tranship quarantine release ID`.".into(),
        ),
        WaitingOn::Listing { kind, cause } => (
            format!("the {} here could not be listed: {cause}", kind.plural()),
            "See to the cause, then plan again: what cannot be listed cannot be moved, nor proven gone. What GitLab has no \
             list of is moved in its Rails console."
                .into(),
        ),
        WaitingOn::Reading { kind, cause } => (
            format!("GitLab fails to show {} in its list ({cause}): not planned, whatever it is", one_of(*kind)),
            "Look for it in GitLab's log `exceptions_json.log`, mend or delete it, then plan again.".into(),
        ),
        WaitingOn::Window { window, longest_seconds, needed_seconds } => (
            format!(
                "too long for its hours: the largest needs {} at p95, and window {window} is open for {} at most",
                spell(*needed_seconds),
                spell(*longest_seconds)
            ),
            "Make the window longer, or give these repositories a wave with a longer one.".into(),
        ),
        WaitingOn::FreezePerRepository { budget_seconds, needed_seconds } => (
            format!(
                "read-only for too long: {} at p95 for the largest, and freeze.per_repository allows {}",
                spell(*needed_seconds),
                spell(*budget_seconds)
            ),
            "Raise per_repository, or name a window for what exceeds it: freeze { window = window.NAME }.".into(),
        ),
        WaitingOn::FreezePerDay { budget_seconds, needed_seconds } => (
            format!(
                "read-only for too long: {} at p95 for the largest, and freeze.per_day allows {} to all of a group",
                spell(*needed_seconds),
                spell(*budget_seconds)
            ),
            "Raise per_day: what one move needs cannot be spread over days.".into(),
        ),
        WaitingOn::Selection => (
            "left out by --target or --exclude, or because the weight that must be 0 first was".into(),
            "Plan without them, or select it too.".into(),
        ),
        WaitingOn::Leftovers => (
            "Gitaly holds repositories here that GitLab does not know on this storage".into(),
            "Find out what each is (a copy that a move left) and remove it by hand once that is sure.".into(),
        ),
        WaitingOn::Copies => (
            "copies are left here that GitLab did not delete after their move (`cleanup failed`)".into(),
            "Nothing uses them any more: each container lives elsewhere. Remove them through Gitaly, then plan again.".into(),
        ),
        WaitingOn::Temporary => (
            "Gitaly's own temporary folders are left here".into(),
            "Nothing: Gitaly clears them away within a week, and they keep nothing from being empty.".into(),
        ),
        WaitingOn::Pools => (
            "object pools are left here, which GitLab deletes by a background job after their last member has left".into(),
            "Nothing: the proof waits for them. If they stay for days, look for failed jobs `ObjectPool::Destroy` in Sidekiq."
                .into(),
        ),
        WaitingOn::Storage { storage } => (
            format!("the storage {storage} cannot be reached or cannot be trusted"),
            "The findings say why; resolve them, then plan again.".into(),
        ),
    };
    Advice { message, help }
}

/// How GitLab is told of a storage: the exact text, and where it goes.
fn declare(storage: &StorageName, address: &str) -> String {
    let mut text = String::from("Declare it in GitLab, reconfigure, then plan again.");
    if let Some(entry) = declare::chart_entry(storage, address) {
        let lines = yaml(&[serde_json::json!([entry])]);
        let _ = write!(text, "\nIn the values of GitLab's chart, below global.gitaly.external:\n{}", lines.trim_end());
    }
    let line = declare::gitlab_rb_entry(storage, address);
    let _ = write!(text, "\nOr in /etc/gitlab/gitlab.rb, within gitlab_rails['repositories_storages']:\n{line}");
    text.push_str("\n`tranship render helm` and `tranship render gitlab-rb` print all of it.");
    text
}

/// `11 projects, 1 snippet and 4 group wikis`.
pub(super) fn kinds(kinds: &BTreeMap<ContainerKind, u64>) -> String {
    let parts: Vec<String> = kinds.iter().map(|(kind, n)| text::count(*n, kind.word(), kind.plural())).collect();
    match parts.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        parts => parts.concat(),
    }
}

fn one_of(kind: ContainerKind) -> String {
    format!("a {}", kind.word())
}

/// Storages that something is said of together: a few by name.
pub(super) fn together(storages: &[StorageName]) -> String {
    const NAMED: usize = 4;
    let names: Vec<&str> = storages.iter().take(NAMED).map(StorageName::as_str).collect();
    match (names.as_slice(), storages.len().saturating_sub(NAMED)) {
        ([first @ .., last], 0) if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        (names, 0) => names.join(", "),
        (names, more) => format!("{} and {more} more", names.join(", ")),
    }
}

fn list(names: &[&str]) -> String {
    match names {
        [] => "any storage".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// What keeps a plan from being carried out sooner, and what would help.
pub(super) fn binding(binding: &Binding, plan: &Plan) -> String {
    let saves = |seconds: u64, what: &str| match seconds {
        0 => String::new(),
        seconds => format!(": {what} would save about {}", text::duration(seconds)),
    };
    match binding {
        Binding::Slots { storages, saves_seconds } => {
            let more = if storages.len() == 1 { "two more slots" } else { "two more on each" };
            format!("slots on {} bind{}", together(storages), saves(*saves_seconds, more))
        }
        Binding::Workers { saves_seconds } => {
            let at_once = text::count(u64::from(plan.max_moves), "move", "moves");
            format!("GitLab's workers bind, with {at_once} at once{}", saves(*saves_seconds, "two more"))
        }
        Binding::Bandwidth { storage, saves_seconds } => {
            format!("the bandwidth of {storage} binds{}", saves(*saves_seconds, "half as much again"))
        }
        Binding::Repository { container } => {
            let path = plan.moves.iter().find(|one| one.container == *container).map(|one| &*one.path);
            let name = named(*container, path.unwrap_or(""));
            format!("{name} alone takes as long: only a smaller repository or a faster copy would help")
        }
        Binding::Network { network, storage } => {
            format!("the fork network of project-{network} binds: its last member leaves {storage} after all others")
        }
        Binding::Soak => {
            "the watching between waves binds: fewer waves, a shorter soak or `calm` would help".to_owned()
        }
    }
}

/// What is to be said of a disk that is not well below its ceiling.
pub(super) fn level(level: RoomLevel, ceiling_permille: u64) -> String {
    match level {
        RoomLevel::Open => String::new(),
        RoomLevel::Soft => {
            let soft = ceiling_permille.saturating_sub(u64::from(SOFT_BELOW));
            format!("above {}: only what fits nowhere else goes there", text::percent(soft))
        }
        RoomLevel::Hard => "at its ceiling: nothing goes there".to_owned(),
        RoomLevel::Panic => "far above its ceiling: nothing goes there".to_owned(),
    }
}

/// A profile as it is written, and what it does.
pub(super) fn profile(profile: Profile) -> (&'static str, &'static str) {
    match profile {
        Profile::Fixed => ("fixed", "the declared limits"),
        Profile::Gentle => ("gentle", "from one move at once up to the declared limits, as the fleet bears it"),
        Profile::Balanced => ("balanced", "from half of the declared limits, up and down as the fleet bears it"),
        Profile::Window => ("window", "from the declared limits down, as the fleet bears it"),
    }
}

/// `incidents (file STOP)`.
pub(super) fn veto(veto: &Veto) -> String {
    let source = match &veto.source {
        VetoSource::Query(query) => format!("query {query}"),
        VetoSource::Url(url) => format!("url {url}"),
        VetoSource::File(file) => format!("file {file}"),
    };
    format!("{} ({source})", veto.name)
}

/// The word for a policy's answer.
pub(super) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "holds",
        Verdict::Fail => "fails",
        Verdict::Unknown => "cannot be answered",
    }
}

/// Says what an action does, in a line.
pub(super) fn action(action: &Action) -> String {
    match &action.change {
        Change::SetWeight { storage, from, to } => format!("set the weight of {storage}: {from} -> {to}"),
        Change::Moves { wave, position: _, source, window, order: _, first: _, count, bytes } => {
            let inside = window.as_ref().map_or_else(String::new, |window| format!(", inside window {window}"));
            format!("move {} ({bytes}) off {source}, wave {wave}{inside}", text::repositories(u64::from(*count)))
        }
        Change::ProveEmpty { storage } => format!("prove {storage} empty"),
        Change::ApplyObject { manifest, class, uid, force, .. } => {
            let over = if *force { ", taking over what others own" } else { "" };
            match class {
                ChangeClass::Create => format!("create {}", manifest.key),
                ChangeClass::InPlace => format!("change {} in place{over}", manifest.key),
                ChangeClass::RollsPod if uid.is_none() => {
                    format!("create {}: the pod that it takes over restarts", manifest.key)
                }
                ChangeClass::RollsPod => format!("change {}{over}: the pod restarts", manifest.key),
            }
        }
        Change::RecreateStatefulSet { manifest, restarts, .. } => {
            let rest = if *restarts { "the pod restarts" } else { "its pod and volume stay" };
            format!("delete {} without its pod, wait until it is gone, apply it anew: {rest}", manifest.key)
        }
        Change::GrowDisk { claim, from, to, .. } => format!("grow the volume of {claim}: {from} -> {to}"),
        Change::ReplacePod { pod, why, .. } => format!("delete the pod {pod}, for a new one: {why}"),
        Change::AwaitReady { storage, deadline_seconds, .. } => {
            format!("wait until {storage} is ready, at most {}", text::eta(u64::from(*deadline_seconds)))
        }
        Change::AwaitKnown { storage, deadline_seconds } => {
            format!("wait until GitLab knows {storage}, at most {}", text::eta(u64::from(*deadline_seconds)))
        }
        Change::Forget { storage } => format!("forget {storage}; nothing is deleted"),
        Change::Probe { storage, container, path, home } => {
            format!("move {} from {home} to {storage}, commit to it there, and bring it back", named(*container, path))
        }
        Change::Ramp { percent, share_permille, weights } => {
            let set: Vec<String> =
                weights.iter().map(|(name, change)| format!("{name} {} -> {}", change.before, change.after)).collect();
            let share = format!("{}.{} %", share_permille / 10, share_permille % 10);
            format!("set weights for {percent} % of new repositories, in fact {share}: {}", set.join(", "))
        }
        Change::Hold { after, storages: _, soak_seconds, calm: _, checks, approvals, rollback: _ } => {
            let after = self::after(after);
            let gates: std::collections::BTreeSet<String> = checks
                .iter()
                .map(|check| check.gate.to_string())
                .chain(approvals.iter().map(ToString::to_string))
                .collect();
            let gates: Vec<String> = gates.into_iter().collect();
            let watch =
                if *soak_seconds > 0 { format!("watch for {}", text::eta(*soak_seconds)) } else { String::new() };
            let asked = if gates.is_empty() { String::new() } else { format!("ask {}", gates.join(", ")) };
            let then = if watch.is_empty() || asked.is_empty() { "" } else { ", then " };
            format!("after {after}: {watch}{then}{asked}")
        }
        Change::RunHook { hook, on, wave } => format!("run the hook {} ({on}) for wave {wave}", hook.name),
    }
}

/// What a hold comes after.
pub(super) fn after(after: &After) -> String {
    match after {
        After::Ramp { percent: 100 } => "the last weights".to_owned(),
        After::Ramp { percent } => format!("{percent} % of new repositories"),
        After::Wave { wave } => format!("wave {wave}"),
    }
}

/// How grave an event is: the `@level` of a JSON line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// Goes well.
    Info,
    /// To be looked at.
    Warn,
    /// Went wrong.
    Error,
}

impl Gravity {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Says how grave an event is.
pub(super) fn gravity(event: &Event) -> Gravity {
    match event {
        Event::RunStarted { .. }
        | Event::Resumed { .. }
        | Event::ActionStarted { .. }
        | Event::MoveScheduled { .. }
        | Event::Waiting { .. }
        | Event::Eta { .. }
        | Event::Held { by: None } => Gravity::Info,
        Event::Throttled { from, to, .. } => {
            if to < from {
                Gravity::Warn
            } else {
                Gravity::Info
            }
        }
        Event::Held { by: Some(_) } => Gravity::Warn,
        Event::ActionEnded { outcome, .. } => match outcome {
            Outcome::Done { .. } => Gravity::Info,
            Outcome::NotStarted | Outcome::Skipped { .. } | Outcome::Stale { .. } => Gravity::Warn,
            Outcome::Paused { .. } => Gravity::Warn,
            Outcome::Failed { .. } | Outcome::Refused { .. } | Outcome::GateClosed { .. } => Gravity::Error,
        },
        Event::MoveVerified { verdict, .. } => {
            if verdict == "unknown" {
                Gravity::Warn
            } else {
                Gravity::Info
            }
        }
        Event::MoveSkipped { done, .. } => {
            if *done {
                Gravity::Info
            } else {
                Gravity::Warn
            }
        }
        Event::MoveRetried { .. } | Event::Warning { .. } | Event::Stopping { .. } => Gravity::Warn,
        Event::HookEnded { well, .. } => {
            if *well {
                Gravity::Info
            } else {
                Gravity::Warn
            }
        }
        Event::Quarantined { .. } => Gravity::Error,
        Event::RunEnded { summary } => {
            if summary.lost > 0 || summary.failed > 0 {
                Gravity::Error
            } else if super::summary::is_clean(summary) {
                Gravity::Info
            } else {
                Gravity::Warn
            }
        }
    }
}

/// Says what happened, in a line (a quarantine's evidence and remedy apart), not yet escaped for a terminal.
pub(super) fn event(event: &Event) -> String {
    match event {
        Event::RunStarted { run, actions, moves, bytes, expected_seconds } => {
            let mut line = format!("run {run}: {}", text::count(*actions, "action", "actions"));
            if *moves > 0 {
                let _ = write!(
                    line,
                    ", {} to move ({bytes}), about {}",
                    text::repositories(*moves),
                    text::duration(*expected_seconds)
                );
            }
            line
        }
        Event::Resumed { run, in_doubt } => {
            format!("taking up run {run}: the end of {} was not seen", text::count(*in_doubt, "move", "moves"))
        }
        Event::ActionStarted { address, what } => format!("{address}: begins: {what}"),
        Event::ActionEnded { address, outcome } => format!("{address}: {}", self::outcome(outcome)),
        Event::MoveScheduled { container, path, source, destination, move_id, attempt, since: _ } => {
            let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
            format!("scheduled {}: {source} -> {destination} (move {move_id}{again})", named(*container, path))
        }
        Event::MoveVerified { container, path, source, destination, bytes, verdict, detail, frozen_ms } => {
            let mut line = format!(
                "moved {}: {source} -> {destination} ({bytes}, {verdict}, read-only {})",
                named(*container, path),
                milliseconds(*frozen_ms)
            );
            if !detail.is_empty() {
                line.push_str(": ");
                line.push_str(detail);
            }
            line
        }
        Event::MoveRetried { container, path, cause, attempt, after_seconds, frozen: _ } => format!(
            "attempt {attempt} failed for {}: {cause}; tried again in {}",
            named(*container, path),
            text::duration(*after_seconds)
        ),
        Event::MoveSkipped { container, path, why, done } => {
            let word = if *done { "nothing to do for" } else { "skipped" };
            format!("{word} {}: {why}", named(*container, path))
        }
        Event::Quarantined { container, path, cause, evidence: _, remedy: _, loss } => {
            let word = if *loss { "POSSIBLE LOSS, quarantined" } else { "quarantined" };
            format!("{word} {}: {cause}", named(*container, path))
        }
        Event::Waiting { what } => format!("waiting: {what}"),
        Event::Eta { seconds, low, high } => {
            let [about, low, high] = [seconds, low, high].map(|seconds| text::eta(*seconds));
            format!("about {about} left, between {low} and {high} 80 times of 100")
        }
        Event::Throttled { what, storage: _, from, to: 0, why } => {
            format!("paused: {what}: {from} -> 0 at once: {why}")
        }
        Event::Throttled { what, storage: _, from, to, why } => {
            format!("slots: {what}: {from} -> {} at once: {why}", text::count(u64::from(*to), "move", "moves"))
        }
        Event::Held { by: Some(by) } => format!("held: {by}"),
        Event::Held { by: None } => "held no more: moves begin again".to_owned(),
        Event::HookEnded { hook, on, well, how, output } => {
            let word = if *well { "ended well" } else { "failed" };
            let last = output.lines().rfind(|line| !line.trim().is_empty());
            let last = last.map_or_else(String::new, |line| format!("; it said: {line}"));
            format!("hook {hook} ({on}) {word}: {how}{last}")
        }
        Event::Warning { message } => format!("warning: {message}"),
        Event::Stopping { in_flight, expected_seconds } => format!(
            "stopping: nothing new is scheduled; following {} in flight for at most about {}. \
             A second signal leaves at once: GitLab goes on by itself, and the next apply takes up from there.",
            text::count(*in_flight, "move", "moves"),
            text::duration(*expected_seconds)
        ),
        Event::RunEnded { summary } => {
            let verified = super::summary::verified(summary);
            let skipped = summary.moves_skipped.saturating_sub(summary.moves_moot);
            let mut line =
                format!("run ended: {} done, {} failed, {} skipped", summary.done, summary.failed, summary.skipped);
            for (number, word) in [
                (summary.refused, "refused"),
                (summary.gates_closed, "stopped by a gate"),
                (summary.stale, "stale"),
                (summary.paused, "paused"),
                (summary.not_started, "not started"),
            ] {
                if number > 0 {
                    let _ = write!(line, ", {number} {word}");
                }
            }
            let _ = write!(line, ", {} moved ({})", text::repositories(verified), summary.bytes);
            if skipped > 0 {
                let _ = write!(line, ", {} skipped", text::count(skipped, "move", "moves"));
            }
            line
        }
    }
}

/// Says how an action ended.
fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done { detail } if detail.is_empty() => "done".to_owned(),
        Outcome::Done { detail } => format!("done: {detail}"),
        Outcome::Failed { cause } => format!("failed: {cause}"),
        Outcome::Stale { cause } => format!("stale: {cause}"),
        Outcome::Skipped { because } => format!("skipped because of {because}"),
        Outcome::NotStarted => "not started, or not finished: the run was stopped".to_owned(),
        Outcome::Refused { cause } => format!("refused: {cause}"),
        Outcome::GateClosed { cause } => format!("the gate is closed: {cause}"),
        Outcome::Paused { until } => format!("paused: {until}"),
    }
}

/// `project-12 web/shop`.
pub(super) fn named(container: Container, path: &str) -> String {
    if path.is_empty() { container.to_string() } else { format!("{container} {path}") }
}
