//! Programs of the operator's: as actions around waves, and on what happens.

use serde_json::Value;

use super::hours::reached;
use super::{Engine, Message, guarded};
use crate::apply::event::{Event, Outcome};
use crate::apply::failure::Class;
use crate::apply::hooks;
use crate::apply::port::{HookEnd, PortError, PortErrorKind, PortResult};
use crate::model::{Address, Container, Hook, HookEvent};
use crate::plan::{ActionId, Change, Plan};
use crate::state::QuarantineRecord;
use crate::state::journal::Record as Entry;

/// How a program ended, or why it did not begin.
pub(super) enum Ended {
    Ran { hook: Hook, on: HookEvent, result: PortResult<HookEnd> },
    Not(Outcome),
}

/// The window of a wave's moves.
fn window_of<'p>(plan: &'p Plan, wave: &str) -> Option<&'p str> {
    plan.actions.iter().find_map(|action| match &action.change {
        Change::Moves { wave: of, window, .. } if of == wave => window.as_deref(),
        _ => None,
    })
}

impl Engine<'_> {
    /// What a program is told on its standard input.
    pub(super) fn told<const N: usize>(&self, on: HookEvent, address: &Address, more: [(&str, Value); N]) -> Value {
        hooks::input(&self.plan.environment, on, address, more)
    }

    /// Runs one of an action: before a wave not before moves of the wave may begin, so that a backup is not older than it
    /// must be.
    pub(super) fn run_hook_of(&mut self, id: ActionId, hook: Hook, on: HookEvent, wave: &str, input: Value) {
        let now = self.ports().clock.now();
        let window = if on == HookEvent::WaveStart { window_of(self.plan, wave) } else { None };
        let closed = self.hours.calendar.closed(window, now);
        let Some((until, why)) = closed else { return self.run_hook(Some(id), hook, on, input) };
        let until_text = self.hours.calendar.spell(until, &why);
        let wait = until.duration_since(now).unsigned_abs();
        if self.max_wait.is_some_and(|most| wait > most) {
            let until = format!("{why}; wave {wave} waits: come back at {until_text}");
            let _ = self.sender.send(Message::Hooked(Some(id), Ended::Not(Outcome::Paused { until })));
            return;
        }
        if let Some(action) = self.action(id) {
            self.tell(Event::Waiting { what: format!("{}: {why}; it runs at {until_text}", action.address) });
        }
        let (ports, sender, stop) = (self.ports().clone(), self.sender.clone(), self.stop.clone());
        tokio::spawn(async move {
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => Ended::Not(Outcome::NotStarted),
                () = reached(&ports, until) => {
                    let result = hooks::run(&ports, &hook, &input).await;
                    Ended::Ran { hook, on, result }
                }
            };
            let _ = sender.send(Message::Hooked(Some(id), ended));
        });
    }

    /// Runs one; of an action, or beside everything else.
    pub(super) fn run_hook(&self, id: Option<ActionId>, hook: Hook, on: HookEvent, input: Value) {
        let (ports, sender, own) = (self.ports().clone(), self.sender.clone(), hook.clone());
        let work = async move { hooks::run(&ports, &own, &input).await };
        let fault = |cause: String| Err(PortError::new(PortErrorKind::Protocol, "running a hook", cause));
        guarded(work, fault, move |result| {
            let _ = sender.send(Message::Hooked(id, Ended::Ran { hook, on, result }));
        });
    }

    /// Runs the programs that wait for something that has happened. The loop waits for their ends.
    pub(super) fn happened<const N: usize>(&mut self, on: HookEvent, id: ActionId, more: [(&str, Value); N]) {
        if let Some(action) = self.action(id) {
            let input = self.told(on, &action.address, more);
            self.run_all(on, &input);
        }
    }

    fn run_all(&mut self, on: HookEvent, input: &Value) {
        let plan = self.plan;
        for hook in plan.hooks.iter().filter(|hook| hook.on.contains(&on)) {
            self.running += 1;
            self.run_hook(None, hook.clone(), on, input.clone());
        }
    }

    /// Runs the programs for a repository that was set aside.
    pub(super) fn set_aside_hooks(
        &mut self,
        container: Container,
        path: &str,
        class: Class,
        record: &QuarantineRecord,
    ) {
        for (on, input) in hooks::set_aside(&self.plan.environment, container, path, Some(class), record) {
            self.run_all(on, &input);
        }
    }

    /// Notes that a program has run at the end of a wave. Once all of them have ended well, none is due any more; what a
    /// crash leaves due runs with the next apply.
    async fn ended_hook(&mut self, wave: &str, well: bool) {
        let due = self.hooks_due.entry(wave.to_owned()).or_insert_with(|| {
            let of_wave = |change: &Change| matches!(change, Change::RunHook { on: HookEvent::WaveDone, wave: of, .. } if of == wave);
            self.plan.actions.iter().filter(|action| of_wave(&action.change)).count()
        });
        *due = due.saturating_sub(usize::from(well));
        if *due == 0 && self.state.wave(wave).is_some_and(|record| record.ends_due) {
            self.state.set_ends_due(wave, false);
            self.save().await;
        }
    }

    pub(super) async fn hooked(&mut self, id: Option<ActionId>, ended: Ended) {
        self.running -= 1;
        let (hook, on, result) = match (ended, id) {
            (Ended::Ran { hook, on, result }, _) => (hook, on, result),
            (Ended::Not(outcome), Some(id)) => return self.end(id, outcome),
            (Ended::Not(_), None) => return,
        };
        let (well, how, output) = hooks::ended(&hook, result);
        let name = hook.name;
        self.tell(Event::HookEnded { hook: name.clone(), on, well, how: how.clone(), output });
        let Some(id) = id else {
            if !well {
                self.summary.remarks.push(format!("hook {name} ({on}) failed: {how}"));
            }
            return;
        };
        if let Some(action) = self.action(id) {
            let outcome = format!("hook {name}: {how}");
            self.journal().note(vec![Entry::Answered { address: action.address.clone(), outcome }]);
        }
        let wave = match self.action(id).map(|action| &action.change) {
            Some(Change::RunHook { wave, .. }) => wave.clone(),
            _ => String::new(),
        };
        if on == HookEvent::WaveDone {
            self.ended_hook(&wave, well).await;
        }
        let outcome = match (well, on) {
            (true, _) => Outcome::Done { detail: String::new() },
            (false, HookEvent::WaveStart) => {
                Outcome::GateClosed { cause: format!("hook {name}: {how}; wave {wave} does not begin") }
            }
            (false, _) => Outcome::Failed { cause: format!("hook {name}: {how}") },
        };
        self.end(id, outcome);
    }
}
