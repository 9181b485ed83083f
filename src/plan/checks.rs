//! What gates ask for which storage, with the query as it is asked: a plan holds no expressions.

use std::collections::BTreeMap;

use super::{Check, pods};
use crate::diag::{Diagnostic, Diagnostics};
use crate::expr::{Expression, Value};
use crate::model::{Address, Connection, Desired, Question, StorageName};

/// The labels that select a storage's server in PromQL: `instance="gitaly-01:9236"`. A pod without any has its namespace
/// and name, as Prometheus' operator labels them; the sandbox's own Prometheus knows a storage without any by its name.
fn selector(desired: &Desired, storage: &StorageName) -> String {
    let declared = desired.storages.get(storage);
    let mut labels = declared.map(|storage| storage.metrics.clone()).unwrap_or_default();
    let pod = declared.is_some_and(|storage| storage.pod.is_some());
    if labels.is_empty() {
        match (&desired.connection, &desired.cluster) {
            (Connection::Sandbox(_), _) => drop(labels.insert("storage".to_owned(), storage.to_string())),
            (_, Some(cluster)) if pod => {
                labels.insert("namespace".to_owned(), cluster.namespace.clone());
                labels.insert("pod".to_owned(), pods::pod_name(storage.as_str()));
            }
            _ => {}
        }
    }
    labels.iter().map(|(name, value)| format!("{name}={}", text(value))).collect::<Vec<_>>().join(",")
}

/// A string as PromQL reads it.
fn text(value: &str) -> String {
    let mut text = String::from("\"");
    for character in value.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            other => text.push(other),
        }
    }
    text + "\""
}

fn query(desired: &Desired, query: &Expression, storage: &StorageName) -> Result<String, Box<Diagnostic>> {
    let target = BTreeMap::from([
        ("selector".to_owned(), Value::from(selector(desired, storage))),
        ("name".to_owned(), Value::from(storage.as_str())),
    ]);
    let value = query.evaluate(&BTreeMap::from([("target".to_owned(), Value::from(target))]))?;
    Ok(value.as_str().unwrap_or_default().to_owned())
}

/// The checks of these gates for these storages, and the gates among them that a person must approve.
///
/// # Errors
/// A query that cannot be evaluated for a storage.
pub(super) fn checks<'a>(
    desired: &Desired,
    gates: &[Address],
    targets: impl IntoIterator<Item = &'a StorageName>,
) -> Result<(Vec<Check>, Vec<Address>), Diagnostics> {
    let targets: Vec<&StorageName> = targets.into_iter().collect();
    let (mut checks, mut approvals) = (Vec::new(), Vec::new());
    for gate in gates.iter().filter_map(|address| desired.gates.get(address)) {
        let Question::Metrics(question) = &gate.question else {
            approvals.push(gate.address.clone());
            continue;
        };
        for target in &targets {
            let mut baseline = BTreeMap::new();
            for storage in &question.baseline {
                let text = query(desired, &question.query, storage).map_err(|d| Diagnostics { items: vec![*d] })?;
                baseline.insert(storage.clone(), text);
            }
            checks.push(Check {
                gate: gate.address.clone(),
                target: (*target).clone(),
                query: query(desired, &question.query, target).map_err(|d| Diagnostics { items: vec![*d] })?,
                max: question.max,
                min: question.min,
                for_seconds: question.for_seconds,
                baseline,
                max_ratio: question.max_ratio,
                dry_run: question.dry_run,
                interval_seconds: question.interval_seconds,
                deadline_seconds: question.deadline_seconds,
            });
        }
    }
    Ok((checks, approvals))
}
