//! The operator's side for fleets in memory, and answers to queries, as a test scripts them.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

use super::port::Port;
use crate::apply::port::{Approval, HookEnd, Operator, PortResult, Series};
use crate::model::{Address, Hook, VetoSource};

/// What a test has set, and what was asked.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) approvals: BTreeMap<Address, Approval>,
    pub(super) hooks: BTreeMap<String, HookEnd>,
    pub(super) ran: Vec<(String, Value)>,
    pub(super) vetoes: BTreeMap<String, String>,
    /// By query: values from a time on; `None`: no data.
    pub(super) values: BTreeMap<String, Vec<(Timestamp, Option<f64>)>>,
}

#[async_trait]
impl Operator for Port {
    async fn run_hook(&self, hook: &Hook, input: &Value) -> PortResult<HookEnd> {
        let (hook, input) = (hook.clone(), input.clone());
        self.call("run_hook", format!("hook {}", hook.name), move |_, inner| {
            inner.script.ran.push((hook.name.clone(), input));
            let end = inner.script.hooks.get(&hook.name).cloned();
            Ok(end.unwrap_or(HookEnd { code: Some(0), output: String::new() }))
        })
        .await
    }

    async fn approval(&self, gate: &Address) -> PortResult<Option<Approval>> {
        self.call("approval", format!("approval of {gate}"), |_, inner| Ok(inner.script.approvals.get(gate).cloned()))
            .await
    }

    async fn approval_used(&self, gate: &Address) -> PortResult<()> {
        self.call("approval_used", format!("approval of {gate}"), |_, inner| {
            inner.script.approvals.remove(gate);
            Ok(())
        })
        .await
    }

    async fn veto(&self, source: &VetoSource) -> PortResult<Option<String>> {
        let name = match source {
            VetoSource::Query(text) | VetoSource::Url(text) | VetoSource::File(text) => text,
        };
        self.call("veto", format!("veto {name}"), |_, inner| Ok(inner.script.vetoes.get(name).cloned())).await
    }
}

impl Script {
    /// What a query that was scripted is answered; `None`: it was not. A scripted query's samples are always fresh.
    pub(super) fn answer(&self, query: &str, from: Timestamp, to: Timestamp, step: Duration) -> Option<Vec<Series>> {
        let of = |value: f64| vec![Series { labels: BTreeMap::new(), points: vec![(to, value)] }];
        if self.values.is_empty() {
            return None;
        }
        if query.starts_with("max(timestamp(") {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit")]
            return Some(of(to.as_millisecond() as f64 / 1000.0));
        }
        if query.starts_with("max(count_over_time(") {
            return Some(of(100.0));
        }
        let values = self.values.get(query)?;
        let mut points = Vec::new();
        let step = i64::try_from(step.as_secs().max(1)).unwrap_or(i64::MAX);
        let mut second = from.as_second();
        while second <= to.as_second() {
            if let Ok(at) = Timestamp::from_second(second) {
                let value = values.iter().rfind(|(since, _)| since.as_second() <= second).and_then(|(_, value)| *value);
                points.extend(value.map(|value| (at, value)));
            }
            second = second.saturating_add(step);
        }
        Some(if points.is_empty() { Vec::new() } else { vec![Series { labels: BTreeMap::new(), points }] })
    }
}
