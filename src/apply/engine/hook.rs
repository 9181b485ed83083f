//! Programs of the operator's: as actions around waves, and on what happens.

use serde_json::{Map, Value, json};

use super::{Engine, Message, guarded};
use crate::apply::event::{Event, Outcome};
use crate::apply::failure::Class;
use crate::apply::port::{HookEnd, PortError, PortErrorKind, PortResult};
use crate::model::{Address, Container, Hook, HookEvent};
use crate::plan::{ActionId, Change};
use crate::state::QuarantineRecord;

/// How a program ended.
pub(super) struct Ended {
    hook: Hook,
    on: HookEvent,
    result: PortResult<HookEnd>,
}

impl Engine<'_> {
    /// What a program is told on its standard input.
    pub(super) fn told<const N: usize>(&self, on: HookEvent, address: &Address, more: [(&str, Value); N]) -> Value {
        let mut input = Map::new();
        input.insert("event".to_owned(), json!(on));
        input.insert("environment".to_owned(), json!(self.plan.environment));
        input.insert("address".to_owned(), json!(address));
        input.extend(more.map(|(key, value)| (key.to_owned(), value)));
        Value::Object(input)
    }

    /// Runs one; of an action, or beside everything else.
    pub(super) fn run_hook(&self, id: Option<ActionId>, hook: Hook, on: HookEvent, input: Value) {
        let (ports, sender, own) = (self.ports().clone(), self.sender.clone(), hook.clone());
        let lacking =
            || PortError::new(PortErrorKind::Protocol, format!("hook {}", hook.name), "it cannot be run here");
        let failed = lacking();
        let work = async move {
            match &ports.operator {
                Some(operator) => operator.run_hook(&own, &input).await,
                None => Err(failed),
            }
        };
        let fault = |cause: String| Err(PortError::new(PortErrorKind::Protocol, "running a hook", cause));
        guarded(work, fault, move |result| {
            let _ = sender.send(Message::Hooked(id, Ended { hook, on, result }));
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
        let address = crate::state::State::quarantine_address(container);
        let mut events = vec![HookEvent::Quarantine];
        if class.is_failed_move() {
            events.push(HookEvent::MoveFailed);
        }
        for on in events {
            let more = [
                ("container", json!(container)),
                ("path", json!(path)),
                ("cause", json!(record.cause)),
                ("evidence", json!(record.evidence)),
                ("remedy", json!(record.remedy)),
            ];
            let input = self.told(on, &address, more);
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
        let Ended { hook, on, result } = ended;
        let (well, how, output) = match result {
            Ok(HookEnd { code: Some(0), output }) => (true, "exit code 0".to_owned(), output),
            Ok(HookEnd { code: Some(code), output }) => (false, format!("exit code {code}"), output),
            Ok(HookEnd { code: None, output }) => {
                (false, format!("ended by a signal, or by its timeout of {} s", hook.timeout_seconds), output)
            }
            Err(error) => (false, error.to_string(), String::new()),
        };
        let name = hook.name;
        self.tell(Event::HookEnded { hook: name.clone(), on, well, how: how.clone(), output });
        let Some(id) = id else {
            if !well {
                self.summary.remarks.push(format!("hook {name} ({on}) failed: {how}"));
            }
            return;
        };
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
