//! Rules over the finished plan: each gets the plan as a value and answers yes, no, or why it cannot tell.

use std::collections::BTreeMap;

use super::{Plan, PolicyVerdict, Verdict};
use crate::expr::Value;
use crate::model::{Desired, Policy, StorageName};

/// Asks every policy, in the order of their addresses.
pub(super) fn verdicts(desired: &Desired, plan: &Plan) -> Vec<PolicyVerdict> {
    if desired.policies.is_empty() {
        return Vec::new();
    }
    let roots = BTreeMap::from([("plan".to_owned(), value(plan))]);
    let mut verdicts: Vec<_> = desired.policies.iter().map(|policy| ask(policy, &roots)).collect();
    verdicts.sort_by(|a, b| a.address.cmp(&b.address));
    verdicts
}

fn ask(policy: &Policy, roots: &BTreeMap<String, Value>) -> PolicyVerdict {
    let answer = policy.condition.evaluate(roots).map_err(|error| error.to_string());
    let (verdict, message) = judge(answer, &policy.error_message);
    let place = policy.place.clone().filter(|_| verdict != Verdict::Pass);
    PolicyVerdict { address: policy.address.clone(), verdict, message, place }
}

fn judge(answer: Result<Value, String>, error_message: &str) -> (Verdict, String) {
    match answer {
        Ok(Value::Bool(true)) => (Verdict::Pass, String::new()),
        Ok(Value::Bool(false)) => (Verdict::Fail, error_message.to_owned()),
        Ok(Value::Unknown) => (Verdict::Unknown, "The condition rests on something that is not known.".to_owned()),
        Ok(_) => (Verdict::Unknown, "The condition is neither true nor false.".to_owned()),
        Err(error) => (Verdict::Unknown, error),
    }
}

/// The plan as conditions see it. Sizes in bytes, times in seconds.
fn value(plan: &Plan) -> Value {
    let bytes = plan.moves.iter().fold(0u64, |sum, one| sum.saturating_add(one.bytes.0));
    let moving = |pick: fn(&super::StoragePlan) -> u64| {
        let names = plan.storages.iter().filter(|(_, s)| pick(s) > 0).map(|(name, _)| text(name));
        Value::list(names)
    };
    Value::object([
        ("as_of", Value::from(plan.as_of.to_string())),
        ("environment", Value::from(plan.environment.as_str())),
        ("actions", Value::from(plan.actions.len() as u64)),
        ("duration", Value::from(plan.estimate.duration_seconds)),
        (
            "moves",
            Value::object([
                ("count", Value::from(plan.moves.len() as u64)),
                ("bytes", Value::from(bytes)),
                ("freeze", Value::from(plan.estimate.freeze_seconds)),
                ("longest_freeze", Value::from(plan.estimate.longest_freeze_seconds)),
            ]),
        ),
        ("sources", moving(|s| s.outgoing_count)),
        ("destinations", moving(|s| s.incoming_count)),
        ("weights", weights(plan)),
        ("storages", storages(plan)),
    ])
}

fn weights(plan: &Plan) -> Value {
    let change = |change: &super::WeightChange| {
        Value::object([
            ("before", Value::from(u64::from(change.before))),
            ("after", Value::from(u64::from(change.after))),
        ])
    };
    Value::object(plan.weights.iter().map(|(name, c)| (name.as_str(), change(c))))
}

fn storages(plan: &Plan) -> Value {
    let storage = |storage: &super::StoragePlan| {
        let optional = |bytes: Option<crate::model::Bytes>| bytes.map_or(Value::Unknown, |b| Value::from(b.0));
        Value::object([
            ("incoming", Value::from(storage.incoming.0)),
            ("incoming_count", Value::from(storage.incoming_count)),
            ("outgoing", Value::from(storage.outgoing.0)),
            ("outgoing_count", Value::from(storage.outgoing_count)),
            ("used", optional(storage.used)),
            ("capacity", optional(storage.capacity)),
        ])
    };
    Value::object(plan.storages.iter().map(|(name, s)| (name.as_str(), storage(s))))
}

fn text(name: &StorageName) -> Value {
    Value::from(name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::{SourceId, Span};
    use crate::expr::Expression;
    use crate::model::{Address, PLAN_FIELDS};
    use crate::plan::fixture::World;

    #[test]
    fn only_a_plain_yes_is_a_pass() {
        let no = "too much".to_owned();
        assert_eq!(judge(Ok(Value::Bool(true)), &no), (Verdict::Pass, String::new()));
        assert_eq!(judge(Ok(Value::Bool(false)), &no), (Verdict::Fail, no.clone()));
        for answer in [Ok(Value::Unknown), Ok(Value::Null), Ok(Value::from(1u64)), Err("division by zero".to_owned())] {
            let (verdict, message) = judge(answer.clone(), &no);
            assert_eq!(verdict, Verdict::Unknown, "{answer:?}");
            assert!(!message.is_empty() && message != no);
        }
    }

    #[test]
    fn what_does_not_pass_says_where_its_condition_stands() {
        let place = |holds: bool| {
            let policy = Policy {
                address: Address::new("policy", "p"),
                condition: Expression::constant(holds),
                error_message: "no".to_owned(),
                place: Some("a.hcl:1:2".to_owned()),
                span: Span { source: SourceId(0), start: 0, end: 0 },
            };
            ask(&policy, &BTreeMap::new()).place
        };
        assert_eq!(place(false).as_deref(), Some("a.hcl:1:2"));
        assert_eq!(place(true), None);
    }

    #[test]
    fn the_table_of_fields_is_the_plan() {
        fn walk(value: &Value, path: &str, found: &mut std::collections::BTreeSet<(String, &'static str)>) {
            match value {
                Value::Object(entries) => {
                    for (key, inner) in entries.iter() {
                        let step = if matches!(path, "weights" | "storages") { "*" } else { key };
                        walk(inner, [path, step].join(".").trim_start_matches('.'), found);
                    }
                }
                other => {
                    let kind = match other {
                        Value::String(_) => "string",
                        Value::Number(_) | Value::Unknown => "whole number",
                        _ => "list of strings",
                    };
                    found.insert((path.to_owned(), kind));
                }
            }
        }
        let mut found = Default::default();
        walk(&value(&World::drain(&[60_000_000, 40]).plan()), "", &mut found);
        let kind = |kind: &'static str| kind.split(',').next().unwrap_or_default();
        let told = PLAN_FIELDS.iter().map(|(path, of, _)| ((*path).to_owned(), kind(of))).collect();
        assert_eq!(found, told);
    }

    #[test]
    fn a_condition_sees_the_plan() {
        let mut plan = World::drain(&[60_000_000, 40]).plan();
        plan.storages.values_mut().for_each(|s| s.capacity = None);
        let Value::Object(root) = value(&plan) else { panic!("an object") };
        let get = |path: &[&str]| {
            let mut at = &root[path[0]];
            for key in &path[1..] {
                let Value::Object(map) = at else { panic!("{path:?}") };
                at = &map[*key];
            }
            at.clone()
        };
        assert_eq!(get(&["moves", "count"]), Value::from(2u64));
        assert_eq!(get(&["moves", "bytes"]), Value::from(60_000_040u64));
        assert_eq!(get(&["moves", "longest_freeze"]), Value::from(5u64));
        assert_eq!(get(&["sources"]), Value::list([Value::from("old")]));
        assert_eq!(get(&["destinations"]), Value::list([Value::from("new")]));
        assert_eq!(get(&["weights", "old", "after"]), Value::from(0u64));
        assert_eq!(get(&["storages", "new", "incoming"]), Value::from(66_000_044u64));
        assert_eq!(get(&["storages", "new", "capacity"]), Value::Unknown);
        assert_eq!(get(&["as_of"]), Value::String("2026-01-05T08:00:00Z".to_owned()));
    }
}
