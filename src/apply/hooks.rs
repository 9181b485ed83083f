//! The operator's programs: what they are told on their standard input, and how they ended in words.

use serde_json::{Map, Value, json};

use super::failure::Class;
use super::port::{HookEnd, PortError, PortErrorKind, PortResult, Ports};
use crate::model::{Address, Container, Hook, HookEvent};
use crate::state::QuarantineRecord;

/// What a program is told.
pub(crate) fn input<const N: usize>(
    environment: &str,
    on: HookEvent,
    address: &Address,
    more: [(&str, Value); N],
) -> Value {
    let mut input = Map::new();
    input.insert("event".to_owned(), json!(on));
    input.insert("environment".to_owned(), json!(environment));
    input.insert("address".to_owned(), json!(address));
    input.extend(more.map(|(key, value)| (key.to_owned(), value)));
    Value::Object(input)
}

/// What has happened when a repository is set aside, and what programs are told of it. Without a class, nobody knows whether
/// GitLab ended its move.
pub(crate) fn set_aside(
    environment: &str,
    container: Container,
    path: &str,
    class: Option<Class>,
    record: &QuarantineRecord,
) -> Vec<(HookEvent, Value)> {
    let address = crate::state::State::quarantine_address(container);
    let mut events = vec![HookEvent::Quarantine];
    if class.is_some_and(Class::is_failed_move) {
        events.push(HookEvent::MoveFailed);
    }
    let told = |on| {
        let more = [
            ("container", json!(container)),
            ("path", json!(path)),
            ("cause", json!(record.cause)),
            ("evidence", json!(record.evidence)),
            ("remedy", json!(record.remedy)),
        ];
        (on, input(environment, on, &address, more))
    };
    events.into_iter().map(told).collect()
}

/// Runs one.
///
/// # Errors
/// It cannot be run.
pub(crate) async fn run(ports: &Ports, hook: &Hook, input: &Value) -> PortResult<HookEnd> {
    match &ports.operator {
        Some(operator) => operator.run_hook(hook, input).await,
        None => Err(PortError::new(PortErrorKind::Protocol, format!("hook {}", hook.name), "it cannot be run here")),
    }
}

/// Whether it ended well, how in words, and what it printed.
pub(crate) fn ended(hook: &Hook, result: PortResult<HookEnd>) -> (bool, String, String) {
    match result {
        Ok(HookEnd { code: Some(0), output }) => (true, "exit code 0".to_owned(), output),
        Ok(HookEnd { code: Some(code), output }) => (false, format!("exit code {code}"), output),
        Ok(HookEnd { code: None, output }) => {
            (false, format!("ended by a signal, or by its timeout of {} s", hook.timeout_seconds), output)
        }
        Err(error) => (false, error.to_string(), String::new()),
    }
}
