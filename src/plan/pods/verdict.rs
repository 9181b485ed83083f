//! What one object needs, from the live one and the server's answer to its dry run.

use serde_json::Value;

use super::diff::{changes, contradictions};
use super::{ChangeClass, FieldChange, fitted};
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
    Recreate(Vec<FieldChange>),
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
}

/// Fields that the API server does not let anybody change in a StatefulSet, and that a new one under the same name may
/// have otherwise while its pod and volume stay. (gitaly-kubernetes §9)
const RECREATED: [&str; 4] =
    [".spec.serviceName", ".spec.podManagementPolicy", ".spec.volumeClaimTemplates", ".spec.revisionHistoryLimit"];
/// How the server begins what it says then.
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
        Some(Reading::Known(Answer::Refused(refusal))) => return refused(manifest, live, refusal),
        Some(Reading::Known(Answer::Accepted(then))) => then,
    };
    let Some(live) = live else {
        return Verdict::Apply(Applied { class: ChangeClass::Create, changes: Vec::new(), force: false, taken });
    };
    let changes = changes(live, then);
    // Taking an object over is a change of its owner, also when none of its fields changes.
    if changes.is_empty() && !force {
        return Verdict::Same;
    }
    let class = if rolls(&manifest.key.kind, &changes, then) { ChangeClass::RollsPod } else { ChangeClass::InPlace };
    Verdict::Apply(Applied { class, changes, force, taken })
}

fn refused(manifest: &Manifest, live: Option<&Value>, refusal: &Refusal) -> Verdict {
    let immutable = manifest.key.kind == ObjectKind::StatefulSet
        && refusal.why == Why::Invalid
        && refusal.message.contains(FORBIDDEN);
    if let Some(live) = live.filter(|_| immutable) {
        let changes = contradictions(live, &fitted(manifest, Some(live)).body);
        let at = |change: &FieldChange, path: &str| {
            change.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let selector = changes.iter().any(|change| at(change, ".spec.selector"));
        if !selector && changes.iter().any(|change| RECREATED.iter().any(|path| at(change, path))) {
            return Verdict::Recreate(changes);
        }
    }
    Verdict::Refused(refusal.clone())
}

/// True when changes make a StatefulSet's pod restart.
fn rolls(kind: &ObjectKind, changes: &[FieldChange], then: &Value) -> bool {
    *kind == ObjectKind::StatefulSet && !waits_for_a_delete(then) && touches_template(changes)
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
fn is_ours(live: &Value) -> bool {
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
        let said = "StatefulSet.apps \"x\" is invalid: spec: Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden";
        let no = || refusal(Why::Invalid, said, &[]);
        let live = set("old", "a", "RollingUpdate");
        let judged = |wanted: Value| judge(&manifest(wanted), &facts(Some(live.clone()), no(), None), false, false);
        let Verdict::Recreate(changes) = judged(set("x", "a", "RollingUpdate")) else { panic!("recreated") };
        assert_eq!(changes.iter().map(|c| c.path.as_str()).collect::<Vec<_>>(), [".spec.serviceName"]);
        assert!(!touches_template(&changes));
        let mut other = set("x", "a", "RollingUpdate");
        other["spec"]["selector"] = json!({ "matchLabels": { "a": "b" } });
        assert!(matches!(judged(other), Verdict::Refused(_)));
        // Nothing of it is what must be made anew: the server's words are told.
        assert!(matches!(judged(set("old", "b", "RollingUpdate")), Verdict::Refused(_)));
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
