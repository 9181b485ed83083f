//! Who owns which field: `managedFields`, and what applies and other writes make of them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::fields::{FieldSet, shown};
use super::schema::Type;
use super::typed::{compare, field_set, merge, without};

/// A field manager's identity. Ordered as the server lists them in messages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Manager {
    pub(super) name: String,
    /// True for applies, false for every other kind of write.
    pub(super) applies: bool,
    /// Empty for applies: one that applied in another version is the same.
    version: String,
    subresource: String,
}

#[derive(Debug, Clone, PartialEq)]
struct Owned {
    fields: FieldSet,
    version: String,
    time: Option<String>,
}

/// All managers of an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Managers {
    all: BTreeMap<Manager, Owned>,
}

/// A field that somebody else owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conflict {
    /// As the server prints it: `"helm"`, `"kubectl" using apps/v1`.
    pub(super) manager: String,
    /// Like `.spec.replicas`.
    pub(super) field: String,
}

impl Manager {
    /// One that applies.
    pub(super) fn applier(name: &str) -> Self {
        Self { name: name.to_owned(), applies: true, version: String::new(), subresource: String::new() }
    }

    /// One that writes otherwise.
    pub(super) fn updater(name: &str, version: &str, subresource: &str) -> Self {
        let name = if name.is_empty() { "unknown" } else { name };
        Self { name: name.to_owned(), applies: false, version: version.to_owned(), subresource: subresource.to_owned() }
    }

    fn shown(&self) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text = format!("{text} with subresource {:?}", self.subresource);
        }
        if self.applies { text } else { format!("{text} using {}", self.version) }
    }
}

/// What nobody owns: the object's identity and what the server writes itself.
fn unowned() -> FieldSet {
    FieldSet::from_json(&json!({
        "f:apiVersion": {}, "f:kind": {},
        "f:metadata": {
            ".": {}, "f:name": {}, "f:namespace": {}, "f:creationTimestamp": {}, "f:selfLink": {}, "f:uid": {},
            "f:clusterName": {}, "f:generation": {}, "f:managedFields": {}, "f:resourceVersion": {},
        },
    }))
}

/// A set without what lies below one of the object's fields.
fn apart(set: &FieldSet, reset: &str) -> FieldSet {
    let Value::Object(mut map) = set.to_json() else { return set.clone() };
    map.remove(&format!("f:{reset}"));
    FieldSet::from_json(&Value::Object(map))
}

impl Managers {
    /// Reads `metadata.managedFields`.
    pub(super) fn of(object: &Value) -> Self {
        let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
        let all = entries.filter_map(|entry| {
            let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let applies = text("operation") == "Apply";
            let version = text("apiVersion");
            let manager = Manager {
                name: text("manager"),
                applies,
                version: if applies { String::new() } else { version.clone() },
                subresource: text("subresource"),
            };
            let fields = FieldSet::from_json(entry.get("fieldsV1")?);
            let time = entry.get("time").and_then(Value::as_str).map(str::to_owned);
            Some((manager, Owned { fields, version, time }))
        });
        Self { all: all.collect() }
    }

    /// Writes `metadata.managedFields`; keeps those of `before` where nothing but times differ.
    pub(super) fn write(&self, object: &mut Value, before: Option<&Value>) {
        let mut entries: Vec<(bool, Option<&String>, &Manager, Value)> = Vec::new();
        for (manager, owned) in &self.all {
            let mut entry = Map::new();
            entry.insert("manager".to_owned(), manager.name.as_str().into());
            entry.insert("operation".to_owned(), if manager.applies { "Apply" } else { "Update" }.into());
            entry.insert("apiVersion".to_owned(), owned.version.as_str().into());
            entry.insert("fieldsType".to_owned(), "FieldsV1".into());
            entry.insert("fieldsV1".to_owned(), owned.fields.to_json());
            if let Some(time) = &owned.time {
                entry.insert("time".to_owned(), time.as_str().into());
            }
            if !manager.subresource.is_empty() {
                entry.insert("subresource".to_owned(), manager.subresource.as_str().into());
            }
            entries.push((!manager.applies, owned.time.as_ref(), manager, Value::Object(entry)));
        }
        entries.sort_by(|a, b| (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)));
        let written: Vec<Value> = entries.into_iter().map(|(.., entry)| entry).collect();
        let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
        let old = before.and_then(|b| b.pointer("/metadata/managedFields")).and_then(Value::as_array);
        let timeless = |entries: &[Value]| -> Vec<Value> {
            let mut entries = entries.to_vec();
            entries.iter_mut().filter_map(Value::as_object_mut).for_each(|e| drop(e.remove("time")));
            entries.sort_by_key(Value::to_string);
            entries
        };
        match old {
            Some(old) if timeless(old) == timeless(&written) => {
                metadata.insert("managedFields".to_owned(), Value::Array(old.clone()));
            }
            _ if written.is_empty() => drop(metadata.remove("managedFields")),
            _ => drop(metadata.insert("managedFields".to_owned(), Value::Array(written))),
        }
    }

    /// Applies `patch` onto `live`: what the object becomes, before defaults, and whether it differs.
    ///
    /// # Errors
    /// Fields that others own and that would change, unless `force`.
    #[expect(clippy::too_many_arguments, reason = "what an apply is made of")]
    pub(super) fn apply(
        &mut self,
        of: &Type,
        live: &Value,
        patch: &Value,
        manager: &Manager,
        version: &str,
        reset: &str,
        force: bool,
        now: &str,
    ) -> Result<Value, Vec<Conflict>> {
        if self.all.is_empty() && live.pointer("/metadata/uid").is_some() {
            let before = Manager::updater("before-first-apply", version, "");
            self.update(of, &json!({ "metadata": {}, "spec": {} }), live, &before, version, reset, now);
        }
        let mut merged = merge(of, Some(live), Some(patch)).unwrap_or_default();
        let fields = apart(&field_set(of, patch), reset).difference(&unowned());
        let before = self.all.get(manager).cloned();
        let time = before.as_ref().and_then(|b| b.time.clone());
        self.all.insert(manager.clone(), Owned { fields, version: version.to_owned(), time });
        if let Some(before) = before {
            let owned = self.all.values().fold(FieldSet::default(), |all, o| all.union(&o.fields));
            let gone = before.fields.with_named(of).difference(&owned.with_named(of));
            merged = without(of, &merged, &gone);
        }
        let difference = compare(of, live, &merged);
        let touched = apart(&difference.modified.union(&difference.added), reset);
        let others = || self.all.iter().filter(|(other, _)| *other != manager);
        let conflicts: Vec<Conflict> = others()
            .flat_map(|(other, owned)| {
                let taken = owned.fields.intersection(&touched).paths();
                taken.into_iter().map(|path| Conflict { manager: other.shown(), field: shown(&path) })
            })
            .collect();
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        self.yield_to(Some(manager), &touched, &difference.removed);
        if merged != *live
            && let Some(owned) = self.all.get_mut(manager)
        {
            owned.time = Some(now.to_owned());
        }
        Ok(merged)
    }

    /// Takes fields from all others, and what is gone from everybody.
    fn yield_to(&mut self, manager: Option<&Manager>, touched: &FieldSet, removed: &FieldSet) {
        for (other, owned) in &mut self.all {
            if Some(other) != manager {
                owned.fields = owned.fields.difference(touched);
            }
            owned.fields = owned.fields.difference(removed);
        }
        self.all.retain(|_, owned| !owned.fields.is_empty());
    }

    /// Notes a write that was no apply.
    #[expect(clippy::too_many_arguments, reason = "what a write is made of")]
    pub(super) fn update(
        &mut self,
        of: &Type,
        old: &Value,
        new: &Value,
        manager: &Manager,
        version: &str,
        reset: &str,
        now: &str,
    ) {
        let difference = compare(of, old, new);
        let touched = apart(&difference.modified.union(&difference.added), reset);
        let mine = self.all.get(manager).map(|o| o.fields.clone()).unwrap_or_default();
        self.yield_to(None, &touched, &difference.removed);
        let touched = touched.difference(&unowned());
        if touched.is_empty() {
            return;
        }
        let kept = mine.difference(&difference.removed);
        let owned = Owned { fields: kept.union(&touched), version: version.to_owned(), time: Some(now.to_owned()) };
        self.all.insert(manager.clone(), owned);
    }

    /// True when nobody owns anything.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}
