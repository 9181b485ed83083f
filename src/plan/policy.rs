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
    PolicyVerdict { address: policy.address.clone(), verdict, message }
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
        Value::List(names.collect())
    };
    object([
        ("as_of", Value::String(plan.as_of.to_string())),
        ("environment", Value::String(plan.environment.clone())),
        ("actions", number(plan.actions.len() as u64)),
        ("duration", number(plan.estimate.duration_seconds)),
        (
            "moves",
            object([
                ("count", number(plan.moves.len() as u64)),
                ("bytes", number(bytes)),
                ("freeze", number(plan.estimate.freeze_seconds)),
                ("longest_freeze", number(plan.estimate.longest_freeze_seconds)),
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
        object([("before", number(change.before.get().into())), ("after", number(change.after.get().into()))])
    };
    Value::Object(plan.weights.iter().map(|(name, c)| (name.to_string(), change(c))).collect())
}

fn storages(plan: &Plan) -> Value {
    let storage = |storage: &super::StoragePlan| {
        let optional = |bytes: Option<crate::model::Bytes>| bytes.map_or(Value::Unknown, |b| number(b.0));
        object([
            ("incoming", number(storage.incoming.0)),
            ("incoming_count", number(storage.incoming_count)),
            ("outgoing", number(storage.outgoing.0)),
            ("outgoing_count", number(storage.outgoing_count)),
            ("used", optional(storage.used)),
            ("capacity", optional(storage.capacity)),
        ])
    };
    Value::Object(plan.storages.iter().map(|(name, s)| (name.to_string(), storage(s))).collect())
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn text(name: &StorageName) -> Value {
    Value::String(name.to_string())
}

#[expect(clippy::cast_precision_loss, reason = "the language's numbers; exact below 8 PiB")]
fn number(number: u64) -> Value {
    Value::Number(number as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixture::World;

    #[test]
    fn only_a_plain_yes_is_a_pass() {
        let no = "too much".to_owned();
        assert_eq!(judge(Ok(Value::Bool(true)), &no), (Verdict::Pass, String::new()));
        assert_eq!(judge(Ok(Value::Bool(false)), &no), (Verdict::Fail, no.clone()));
        for answer in [Ok(Value::Unknown), Ok(Value::Null), Ok(number(1)), Err("division by zero".to_owned())] {
            let (verdict, message) = judge(answer.clone(), &no);
            assert_eq!(verdict, Verdict::Unknown, "{answer:?}");
            assert!(!message.is_empty() && message != no);
        }
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
        assert_eq!(get(&["moves", "count"]), number(2));
        assert_eq!(get(&["moves", "bytes"]), number(60_000_040));
        assert_eq!(get(&["moves", "longest_freeze"]), number(5));
        assert_eq!(get(&["sources"]), Value::List(vec![Value::String("old".to_owned())]));
        assert_eq!(get(&["destinations"]), Value::List(vec![Value::String("new".to_owned())]));
        assert_eq!(get(&["weights", "old", "after"]), number(0));
        assert_eq!(get(&["storages", "new", "incoming"]), number(66_000_044));
        assert_eq!(get(&["storages", "new", "capacity"]), Value::Unknown);
        assert_eq!(get(&["as_of"]), Value::String("2026-01-05T08:00:00Z".to_owned()));
    }
}
