//! What one object needs, from the live one and the server's answer to its dry run.

use serde_json::Value;

use super::diff::changes;
use super::{ChangeClass, FieldChange};
use crate::model::Reading;
use crate::model::cluster::{Answer, ClusterFacts, FIELD_MANAGER, FieldConflict, Manifest, ObjectKind, Refusal, Why};

/// What an object needs.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// Nothing.
    Same,
    /// To be applied.
    Apply(Applied),
    /// A StatefulSet whose fields cannot be changed in place.
    Recreate(Recreated),
    /// It exists, and tranship neither made nor adopted it. Who did.
    Foreign(Vec<String>),
    /// Others own fields of it.
    Owned(Vec<FieldConflict>),
    /// The server said no.
    Refused(Refusal),
    /// The server was not asked, or did not answer.
    Unknown(String),
}

/// How an object is applied.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Applied {
    /// What it does.
    pub(super) class: ChangeClass,
    /// All fields that differ.
    pub(super) changes: Vec<FieldChange>,
    /// Takes fields over.
    pub(super) force: bool,
    /// From whom.
    pub(super) taken: Vec<FieldConflict>,
    /// A StatefulSet that then leaves its pod as it is until somebody deletes it.
    pub(super) waits: bool,
}

/// How a StatefulSet is made anew.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Recreated {
    /// All fields in which the new one differs from the live one, those that only the live one has among them.
    pub(super) changes: Vec<FieldChange>,
    /// Of those, the paths that cannot be changed in place.
    pub(super) fixed: Vec<String>,
    /// Takes it over.
    pub(super) force: bool,
    /// From whom, by field.
    pub(super) taken: Vec<FieldConflict>,
    /// The new one leaves its pod as it is until somebody deletes it.
    pub(super) waits: bool,
}

/// How the server begins what it says of fields of a StatefulSet that nobody may change, and that a new one under the same
/// name may have otherwise while its pod and volume stay. (gitaly-kubernetes §9)
const FORBIDDEN: &str = "updates to statefulset spec for fields other than";

/// Judges one object. `adopt`: take over what others own; `recorded`: the state says that tranship applied it.
pub(super) fn judge(manifest: &Manifest, facts: &ClusterFacts, adopt: bool, recorded: bool) -> Verdict {
    let live = facts.objects.get(&manifest.key);
    let foreign = live.filter(|live| !recorded && !is_ours(live));
    if let Some(live) = foreign
        && !adopt
    {
        return Verdict::Foreign(managers(live));
    }
    let mut answer = facts.dry_runs.get(&manifest.key);
    let mut taken = Vec::new();
    if let Some(Reading::Known(Answer::Refused(refusal))) = answer
        && !refusal.conflicts.is_empty()
    {
        taken.clone_from(&refusal.conflicts);
        taken.sort();
        taken.dedup();
        if !adopt {
            return Verdict::Owned(taken);
        }
        answer = facts.forced.get(&manifest.key);
    }
    let force = foreign.is_some() || !taken.is_empty();
    let then = match answer {
        None => return Verdict::Unknown("its dry run was not made".to_owned()),
        Some(Reading::Unknown(cause)) => return Verdict::Unknown(cause.clone()),
        Some(Reading::Known(Answer::Refused(refusal))) => {
            return match live.filter(|_| manifest.key.kind == ObjectKind::StatefulSet && needs_anew(refusal)) {
                Some(live) => anew(live, facts.anew.get(&manifest.key), refusal, force, taken),
                None => Verdict::Refused(refusal.clone()),
            };
        }
        Some(Reading::Known(Answer::Accepted(then))) => then,
    };
    let waits = manifest.key.kind == ObjectKind::StatefulSet && waits_for_a_delete(then);
    let Some(live) = live else {
        return Verdict::Apply(Applied { class: ChangeClass::Create, changes: Vec::new(), force: false, taken, waits });
    };
    let changes = changes(live, then);
    // Taking an object over is a change of its owner, also when none of its fields changes.
    if changes.is_empty() && !force {
        return Verdict::Same;
    }
    let rolls = manifest.key.kind == ObjectKind::StatefulSet && !waits && touches_template(&changes);
    let class = if rolls { ChangeClass::RollsPod } else { ChangeClass::InPlace };
    Verdict::Apply(Applied { class, changes, force, taken, waits })
}

/// True when the server refuses to change fields of a StatefulSet that only a new one can have otherwise.
pub fn needs_anew(refusal: &Refusal) -> bool {
    refusal.why == Why::Invalid && refusal.message.contains(FORBIDDEN)
}

/// Judges a StatefulSet that cannot become in place what is wanted. `then`: what a new one would be.
fn anew(
    live: &Value,
    then: Option<&Reading<Answer>>,
    refusal: &Refusal,
    force: bool,
    taken: Vec<FieldConflict>,
) -> Verdict {
    let then = match then {
        None => return Verdict::Unknown("what it would be, made anew, was not asked".to_owned()),
        Some(Reading::Unknown(cause)) => return Verdict::Unknown(cause.clone()),
        Some(Reading::Known(Answer::Refused(refusal))) => return Verdict::Refused(refusal.clone()),
        Some(Reading::Known(Answer::Accepted(then))) => then,
    };
    let mut then = then.clone();
    if let (Some(name), Some(live)) = (then.pointer_mut("/metadata/name"), live.pointer("/metadata/name")) {
        live.clone_into(name);
    }
    let changes = changes(live, &then);
    let allowed = changeable(&refusal.message);
    let fixed: Vec<String> =
        changes.iter().map(|change| &change.path).filter(|path| is_fixed(path, &allowed)).cloned().collect();
    // The selector finds the pod that runs: with another one nothing would be taken over.
    if fixed.is_empty() || fixed.iter().any(|path| part_of(path, ".spec.selector")) {
        return Verdict::Refused(refusal.clone());
    }
    let waits = waits_for_a_delete(&then);
    Verdict::Recreate(Recreated { changes, fixed, force, taken, waits })
}

/// The fields of a StatefulSet's spec that may be changed, as the server lists them when it refuses others.
fn changeable(message: &str) -> Vec<&str> {
    let list = message.split_once(FORBIDDEN).map_or("", |(_, rest)| rest);
    // Every other part stands in quotes.
    list.split('\'').skip(1).step_by(2).collect()
}

fn is_fixed(path: &str, changeable: &[&str]) -> bool {
    path.strip_prefix(".spec.").is_some_and(|rest| !changeable.iter().any(|field| part_of(rest, field)))
}

/// True for a field and what lies below it.
fn part_of(path: &str, field: &str) -> bool {
    path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// True when a StatefulSet leaves its pod as it is until somebody deletes it.
pub(super) fn waits_for_a_delete(set: &Value) -> bool {
    set.pointer("/spec/updateStrategy/type").and_then(Value::as_str) == Some("OnDelete")
}

/// True when changes concern the pod's template.
pub fn touches_template(changes: &[FieldChange]) -> bool {
    changes.iter().any(|change| change.path.starts_with(".spec.template"))
}

/// True when tranship applied something of an object.
pub(super) fn is_ours(live: &Value) -> bool {
    managed(live).any(|entry| entry.get("manager").and_then(Value::as_str) == Some(FIELD_MANAGER))
}

fn managed(live: &Value) -> impl Iterator<Item = &Value> {
    live.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten()
}

/// Who else wrote an object, apart from what the cluster itself writes into its status.
fn managers(live: &Value) -> Vec<String> {
    let wrote = managed(live).filter(|entry| entry.get("subresource").is_none());
    let mut names: Vec<String> = wrote.filter_map(|entry| entry.get("manager")?.as_str()).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cluster::ObjectKey;
    use serde_json::json;

    fn manifest(body: Value) -> Manifest {
        Manifest { key: ObjectKey { kind: ObjectKind::StatefulSet, name: "x".to_owned() }, body }
    }

    fn set(service: &str, image: &str, strategy: &str) -> Value {
        json!({
            "metadata": { "name": "x", "managedFields": [{ "manager": "tranship" }] },
            "spec": { "serviceName": service, "updateStrategy": { "type": strategy },
                "template": { "spec": { "containers": [{ "name": "gitaly", "image": image }] } } },
        })
    }

    /// The facts with a live object and the answers to its dry runs.
    fn facts(live: Option<Value>, answer: Answer, forced: Option<Answer>) -> ClusterFacts {
        let key = manifest(Value::Null).key;
        let mut facts = ClusterFacts::default();
        facts.objects.extend(live.map(|live| (key.clone(), live)));
        facts.dry_runs.insert(key.clone(), Reading::Known(answer));
        facts.forced.extend(forced.map(|answer| (key, Reading::Known(answer))));
        facts
    }

    fn refusal(why: Why, message: &str, conflicts: &[(&str, &str)]) -> Answer {
        let conflict = |(manager, field): &(&str, &str)| FieldConflict {
            manager: (*manager).to_owned(),
            field: (*field).to_owned(),
        };
        Answer::Refused(Refusal {
            why,
            message: message.to_owned(),
            conflicts: conflicts.iter().map(conflict).collect(),
        })
    }

    fn class(live: Option<Value>, then: Value) -> Option<ChangeClass> {
        match judge(&manifest(set("x", "a", "RollingUpdate")), &facts(live, Answer::Accepted(then), None), false, false)
        {
            Verdict::Apply(applied) => Some(applied.class),
            _ => None,
        }
    }

    #[test]
    fn the_class_follows_from_what_changes() {
        let live = || Some(set("x", "a", "RollingUpdate"));
        assert_eq!(class(None, set("x", "a", "RollingUpdate")), Some(ChangeClass::Create));
        assert_eq!(class(live(), set("x", "a", "RollingUpdate")), None);
        assert_eq!(class(live(), set("x", "b", "RollingUpdate")), Some(ChangeClass::RollsPod));
        assert_eq!(class(live(), set("x", "b", "OnDelete")), Some(ChangeClass::InPlace));
        assert_eq!(class(live(), set("y", "a", "RollingUpdate")), Some(ChangeClass::InPlace), "if the server says so");
    }

    #[test]
    fn what_cannot_be_changed_is_made_anew_except_the_selector() {
        let said = "StatefulSet.apps \"x\" is invalid: spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'template' and 'minReadySeconds' are forbidden";
        let no = || refusal(Why::Invalid, said, &[]);
        let mut live = set("old", "a", "RollingUpdate");
        let judge_of = |live: &Value, wanted: Value, adopt: bool| {
            let mut facts = facts(Some(live.clone()), no(), None);
            let wanted = manifest(wanted);
            facts.anew.insert(wanted.key.clone(), Reading::Known(Answer::Accepted(wanted.body.clone())));
            judge(&wanted, &facts, adopt, false)
        };
        let paths = |changes: &[FieldChange]| changes.iter().map(|c| c.path.clone()).collect::<Vec<_>>();
        let Verdict::Recreate(anew) = judge_of(&live, set("x", "a", "RollingUpdate"), false) else {
            panic!("recreated")
        };
        assert_eq!(
            (paths(&anew.changes), anew.fixed),
            (vec![".spec.serviceName".to_owned()], vec![".spec.serviceName".to_owned()])
        );
        assert!(!touches_template(&anew.changes) && !anew.force);
        // What only the live one has goes with it, and its pod restarts without.
        let mut noted = live.clone();
        noted["spec"]["template"]["metadata"]["annotations"] = json!({ "kubectl.kubernetes.io/restartedAt": "now" });
        noted["spec"]["volumeClaimTemplates"] =
            json!([{ "metadata": { "name": "repo-data", "labels": { "a": "b" } } }]);
        let Verdict::Recreate(anew) = judge_of(&noted, set("old", "a", "RollingUpdate"), false) else {
            panic!("recreated")
        };
        assert!(touches_template(&anew.changes), "{anew:?}");
        assert_eq!(anew.fixed, [".spec.volumeClaimTemplates"]);
        // Somebody else's is taken over with it.
        let mut helms = live.clone();
        helms["metadata"]["managedFields"] = json!([{ "manager": "helm" }]);
        assert!(
            matches!(judge_of(&helms, set("x", "a", "RollingUpdate"), true), Verdict::Recreate(anew) if anew.force)
        );
        let judged = |wanted: Value| judge_of(&live, wanted, false);
        let mut other = set("x", "a", "RollingUpdate");
        other["spec"]["selector"] = json!({ "matchLabels": { "a": "b" } });
        assert!(matches!(judged(other), Verdict::Refused(_)));
        // Nothing of it is what must be made anew: the server's words are told.
        assert!(matches!(judged(set("old", "b", "RollingUpdate")), Verdict::Refused(_)));
        // Nobody asked what a new one would be.
        live["spec"]["serviceName"] = json!("other");
        let unasked = judge(&manifest(set("x", "a", "RollingUpdate")), &facts(Some(live), no(), None), false, false);
        assert!(matches!(unasked, Verdict::Unknown(_)));
    }

    #[test]
    fn what_others_own_is_taken_over_only_when_asked() {
        let ours = set("x", "a", "RollingUpdate");
        let mut helms = ours.clone();
        helms["metadata"]["managedFields"] =
            json!([{ "manager": "helm" }, { "manager": "kube-controller-manager", "subresource": "status" }]);
        let wanted = manifest(ours.clone());
        let same = |live: &Value| facts(Some(live.clone()), Answer::Accepted(live.clone()), None);
        assert_eq!(judge(&wanted, &same(&helms), false, false), Verdict::Foreign(vec!["helm".to_owned()]));
        assert_eq!(judge(&wanted, &same(&helms), false, true), Verdict::Same, "the state says that it is ours");
        let Verdict::Apply(applied) = judge(&wanted, &same(&helms), true, false) else { panic!("adopted") };
        assert!(applied.force && applied.changes.is_empty() && applied.class == ChangeClass::InPlace);

        let conflict =
            || refusal(Why::Conflict, "conflict", &[("kubectl", ".spec.replicas"), ("kubectl", ".spec.replicas")]);
        let contested = facts(Some(ours.clone()), conflict(), Some(Answer::Accepted(set("x", "b", "RollingUpdate"))));
        let Verdict::Owned(fields) = judge(&wanted, &contested, false, false) else { panic!("owned") };
        assert_eq!(fields.len(), 1);
        let Verdict::Apply(applied) = judge(&wanted, &contested, true, false) else { panic!("adopted") };
        assert!(applied.force && applied.class == ChangeClass::RollsPod && applied.taken == fields);
    }

    #[test]
    fn what_was_not_answered_is_not_known() {
        let wanted = manifest(set("x", "a", "RollingUpdate"));
        assert!(matches!(judge(&wanted, &ClusterFacts::default(), false, false), Verdict::Unknown(_)));
        let mut facts = ClusterFacts::default();
        facts.dry_runs.insert(wanted.key.clone(), Reading::Unknown("away".to_owned()));
        assert_eq!(judge(&wanted, &facts, false, false), Verdict::Unknown("away".to_owned()));
    }
}
