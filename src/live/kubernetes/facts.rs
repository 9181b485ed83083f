//! Nodes, classes and quota from the server's JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::model::cluster::{NodeFacts, QuotaFacts, StorageClassFacts, VolumeFacts};

/// Text at a JSON pointer; empty when there is none.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn name(value: &Value) -> String {
    text(value, "/metadata/name").to_owned()
}

/// StorageClasses by name.
pub(super) fn storage_classes(items: &[Value]) -> BTreeMap<String, StorageClassFacts> {
    items.iter().map(|item| (name(item), StorageClassFacts::of(item))).collect()
}

/// The names of PriorityClasses.
pub(super) fn names(items: &[Value]) -> BTreeSet<String> {
    items.iter().map(name).collect()
}

/// Nodes, by name.
pub(super) fn nodes(items: &[Value]) -> Vec<NodeFacts> {
    let mut found: Vec<NodeFacts> = items.iter().map(NodeFacts::of).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// ResourceQuotas, by name.
pub(super) fn quotas(items: &[Value]) -> Vec<QuotaFacts> {
    let mut found: Vec<QuotaFacts> = items.iter().map(QuotaFacts::of).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// PersistentVolumes by name.
pub(super) fn volumes(items: &[Value]) -> BTreeMap<String, VolumeFacts> {
    items.iter().map(|item| (name(item), VolumeFacts::of(item))).collect()
}

/// Events as `Reason: message`, oldest first, the newest `most`.
pub(super) fn events(mut items: Vec<Value>, most: usize) -> Vec<String> {
    let at = |item: &Value| {
        let times = ["/lastTimestamp", "/series/lastObservedTime", "/eventTime", "/metadata/creationTimestamp"];
        times.iter().map(|time| text(item, time)).filter(|time| !time.is_empty()).max().unwrap_or_default().to_owned()
    };
    items.sort_by_cached_key(|item| (at(item), name(item)));
    let skip = items.len().saturating_sub(most);
    let line = |item: &Value| {
        let message = crate::live::cause::one_line(text(item, "/message"), None, 300);
        format!("{}: {message}", text(item, "/reason"))
    };
    items.iter().skip(skip).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nodes_are_read_as_the_server_writes_them() {
        let node = json!({
            "metadata": { "name": "n1", "labels": { "zone": "a" } },
            "spec": { "unschedulable": true },
            "status": {
                "allocatable": { "cpu": "3920m", "memory": "15830732Ki" },
                "conditions": [{ "type": "MemoryPressure", "status": "False" }, { "type": "Ready", "status": "True" }],
                "nodeInfo": { "kubeletVersion": "v1.34.4" }
            }
        });
        let bare = json!({ "metadata": { "name": "a0" } });
        let found = nodes(&[node, bare]);
        assert_eq!(found[0].name, "a0");
        assert!(!found[0].ready && found[0].cpu_millis == 0);
        let n1 = &found[1];
        assert_eq!((n1.cpu_millis, n1.memory, n1.ready, n1.unschedulable), (3920, 15_830_732 * 1024, true, true));
        assert_eq!(n1.labels.get("zone").map(String::as_str), Some("a"));
    }

    #[test]
    fn a_quota_says_what_is_left_unless_it_is_for_some_pods_only() {
        let quota = |spec: Value| {
            json!({ "metadata": { "name": "q" }, "spec": spec,
                "status": { "used": { "requests.cpu": "1500m", "pods": "3" } } })
        };
        let hard = json!({ "requests.cpu": "4", "pods": "2", "requests.memory": "1Ki" });
        let found = quotas(&[quota(json!({ "hard": hard })), quota(json!({ "hard": hard, "scopes": ["BestEffort"] }))]);
        let left: Vec<(&str, u128)> = found[0].left.iter().map(|(name, left)| (name.as_str(), *left)).collect();
        assert_eq!(left, [("pods", 0), ("requests.cpu", 2_500), ("requests.memory", 1_024_000)]);
        assert!(found[1].left.is_empty());
    }

    #[test]
    fn the_newest_events_come_last_and_few() {
        let event = |at: &str, reason: &str| json!({ "lastTimestamp": at, "reason": reason, "message": "m\nn", "metadata": { "name": reason } });
        let items = vec![
            event("2026-01-01T00:00:03Z", "C"),
            json!({ "eventTime": "2026-01-01T00:00:01.5Z", "reason": "A", "message": "m", "metadata": { "name": "a" } }),
            event("2026-01-01T00:00:02Z", "B"),
        ];
        assert_eq!(events(items, 2), ["B: m n", "C: m n"]);
    }
}
