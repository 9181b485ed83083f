//! What the API does: get, list, apply, create, replace, patch, delete, evict. Each answers with the object, or with the
//! refusal of a real server.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::admission;
use super::defaults::fill;
use super::kinds::{Kind, kind_of};
use super::managers::{Manager, Managers};
use super::quantity;
use super::schema::Type;
use super::status::{Fault, Refused};
use super::store::{Key, Store, written};
use super::typed::check;
use super::validate;
use super::values::{number, set, text, unset};

/// An object as a request names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) kind: &'static Kind,
    /// Empty for kinds without.
    pub(super) namespace: &'a str,
    /// Empty for a create whose name stands in the object.
    pub(super) name: &'a str,
}

/// What else a writing request says.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    pub(super) manager: String,
    pub(super) force: bool,
    pub(super) dry_run: bool,
    /// `fieldValidation=Strict`.
    pub(super) strict: bool,
}

/// What a delete says.
#[derive(Debug, Clone, Default)]
pub(super) struct Deletion {
    pub(super) orphan: bool,
    pub(super) uid: Option<String>,
    pub(super) resource_version: Option<String>,
    pub(super) grace: Option<i64>,
    pub(super) dry_run: bool,
}

/// How a patch is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patch {
    /// RFC 7386.
    Merge,
    /// Lists merged by their keys.
    Strategic,
}

/// A status code and the object.
pub(super) type Done = Result<(u16, Value), Refused>;

impl Place<'_> {
    fn key(&self) -> Key {
        Key::new(self.kind, self.namespace, self.name)
    }

    /// As errors of an apply name what was sent.
    fn shown(&self, sent: &Value) -> String {
        let (namespace, name) = (text(sent, "/metadata/namespace"), text(sent, "/metadata/name"));
        format!("{namespace}/{name}; {}", self.kind.shown())
    }

    fn reset(&self) -> &'static str {
        if self.kind.status { "status" } else { "" }
    }
}

/// The 409 of an object that somebody changed meanwhile.
const MODIFIED: &str = "the object has been modified; please apply your changes to the latest version and try again";

impl Store {
    /// One object.
    pub(super) fn get(&self, place: Place<'_>) -> Result<Value, Refused> {
        self.find(&place.key()).cloned().ok_or_else(|| Refused::not_found(place.kind, place.name))
    }

    /// Those of a kind that a filter takes.
    pub(super) fn list(&self, kind: &Kind, namespace: Option<&str>, filter: impl Fn(&Value) -> bool) -> Value {
        let items: Vec<Value> = self.all(kind.kind, namespace).filter(|o| filter(o)).cloned().collect();
        json!({
            "kind": format!("{}List", kind.kind),
            "apiVersion": kind.api_version(),
            "metadata": { "resourceVersion": self.version() },
            "items": items,
        })
    }

    /// Server-side apply.
    pub(super) fn apply(&mut self, place: Place<'_>, patch: &Value, options: &Options, now: Timestamp) -> Done {
        let Place { kind, namespace, name } = place;
        if options.manager.is_empty() {
            let fault = Fault::required("fieldManager", "is required for apply patch");
            return Err(Refused::invalid_options("PatchOptions", &[fault]));
        }
        if !patch.is_object() {
            return Err(Refused::bad_request("error decoding YAML: it is no object"));
        }
        let found = (text(patch, "/apiVersion"), text(patch, "/kind"));
        if found != (kind.api_version().as_str(), kind.kind) {
            let (version, kind) = found;
            return Err(Refused::bad_request(format!("invalid object type: {version}, Kind={kind}")));
        }
        if patch.pointer("/metadata/managedFields").is_some_and(|m| !m.is_null()) {
            return Err(Refused::bad_request("metadata.managedFields must be nil"));
        }
        let of = kind.of();
        let wrong = check(&of, patch);
        if !wrong.is_empty() {
            let wrong = match wrong.as_slice() {
                [one] => one.clone(),
                many => format!("errors:\n  {}", many.join("\n  ")),
            };
            return Err(Refused::internal(format!(
                "failed to create typed patch object ({}): {wrong}",
                place.shown(patch)
            )));
        }
        let live = self.find(&place.key()).cloned();
        let (given, other) = (text(patch, "/metadata/name"), text(patch, "/metadata/namespace"));
        if !given.is_empty() && given != name {
            let what = format!("the name of the object ({given}) does not match the name on the URL ({name})");
            return Err(Refused::bad_request(what));
        }
        if kind.namespaced && !other.is_empty() && other != namespace {
            let what = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Refused::bad_request(what));
        }
        let mut managers = live.as_ref().map(Managers::of).unwrap_or_default();
        let manager = Manager::applier(&options.manager);
        let base = live.clone().unwrap_or_else(|| json!({}));
        let time = written(now);
        let version = kind.api_version();
        let merged = managers
            .apply(&of, &base, patch, &manager, &version, place.reset(), options.force, &time)
            .map_err(|conflicts| Refused::conflicts(&conflicts))?;
        if admission::has_bad_quantity(kind, &merged) {
            return Err(Refused::internal(format!(
                "failed to convert new object ({}) to proper version: unable to convert unstructured object to {}: {}",
                place.shown(patch),
                kind.shown(),
                quantity::INVALID
            )));
        }
        match live {
            Some(live) => self.update(place, &live, merged, managers, options).map(|object| (200, object)),
            None => {
                if !text(patch, "/metadata/uid").is_empty() {
                    let uid = text(patch, "/metadata/uid");
                    let why = format!(
                        "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                    );
                    return Err(Refused::precondition(kind, name, &why, kind.plural));
                }
                self.make(place, merged, managers, options, now).map(|object| (201, object))
            }
        }
    }

    /// POST.
    pub(super) fn create(&mut self, place: Place<'_>, object: Value, options: &Options, now: Timestamp) -> Done {
        let kind = place.kind;
        decode(kind, &object, options.strict)?;
        let mut object = object;
        let other = text(&object, "/metadata/namespace");
        if kind.namespaced && !other.is_empty() && other != place.namespace {
            let what = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Refused::bad_request(what));
        }
        if text(&object, "/metadata/name").is_empty() && !text(&object, "/metadata/generateName").is_empty() {
            let prefix = text(&object, "/metadata/generateName").to_owned();
            let uid = self.uid(&Key::new(kind, place.namespace, &prefix));
            let suffix: String = uid.chars().filter(char::is_ascii_alphanumeric).take(5).collect();
            set(&mut object, &["metadata", "name"], format!("{prefix}{suffix}"));
        }
        let name = text(&object, "/metadata/name").to_owned();
        let place = Place { name: &name, ..place };
        if !text(&object, "/metadata/resourceVersion").is_empty() {
            return Err(Refused::internal("resourceVersion should not be set on objects to be created"));
        }
        kind.of().prune(&mut object);
        fill(kind, &mut object);
        let mut managers = Managers::default();
        let manager = Manager::updater(&options.manager, &kind.api_version(), "");
        let empty = json!({ "metadata": {}, "spec": { "containers": null }, "status": {} });
        managers.update(&kind.of(), &empty, &object, &manager, &kind.api_version(), place.reset(), &written(now));
        self.make(place, object, managers, options, now).map(|object| (201, object))
    }

    /// Makes an object: admission, validation, storage.
    fn make(
        &mut self,
        place: Place<'_>,
        mut object: Value,
        managers: Managers,
        options: &Options,
        now: Timestamp,
    ) -> Result<Value, Refused> {
        let Place { kind, namespace, name } = place;
        if kind.namespaced && self.named("Namespace", "", namespace).is_none() {
            let namespaces = kind_of("Namespace").unwrap_or(kind);
            return Err(Refused::not_found(namespaces, namespace));
        }
        set(&mut object, &["apiVersion"], kind.api_version());
        set(&mut object, &["kind"], kind.kind);
        set(&mut object, &["metadata", "name"], name);
        if kind.namespaced {
            set(&mut object, &["metadata", "namespace"], namespace);
        }
        if kind.status {
            unset(&mut object, &["status"]);
        }
        if kind.counted {
            set(&mut object, &["metadata", "generation"], 1);
        }
        fill(kind, &mut object);
        admission::complete(self, kind, &mut object, options.dry_run)?;
        let faults = validate::create(kind, &object);
        if !faults.is_empty() {
            return Err(Refused::invalid(kind, name, &faults));
        }
        admission::within_quotas(self, kind, &object)?;
        let key = place.key();
        if self.find(&key).is_some() {
            return Err(Refused::exists(kind, name));
        }
        match kind.kind {
            "PersistentVolumeClaim" => {
                set(&mut object, &["metadata", "finalizers"], json!(["kubernetes.io/pvc-protection"]));
            }
            "PersistentVolume" => {
                set(&mut object, &["metadata", "finalizers"], json!(["kubernetes.io/pv-protection"]));
            }
            _ => {}
        }
        let uid = self.uid(&key);
        set(&mut object, &["metadata", "uid"], uid);
        set(&mut object, &["metadata", "creationTimestamp"], written(now));
        managers.write(&mut object, None);
        if options.dry_run {
            return Ok(object);
        }
        if kind.kind == "Namespace" {
            let made = self.put(key, object);
            self.add_namespace(name, now);
            return Ok(made);
        }
        Ok(self.put(key, object))
    }

    /// Stores what an object becomes, if it may.
    fn update(
        &mut self,
        place: Place<'_>,
        live: &Value,
        mut object: Value,
        managers: Managers,
        options: &Options,
    ) -> Result<Value, Refused> {
        let Place { kind, name, .. } = place;
        let version = text(&object, "/metadata/resourceVersion");
        if !version.is_empty() && version != text(live, "/metadata/resourceVersion") {
            return Err(Refused::precondition(kind, name, MODIFIED, kind.plural));
        }
        for field in ["generation", "deletionGracePeriodSeconds"] {
            keep(&mut object, live, &["metadata", field]);
        }
        for field in ["uid", "creationTimestamp", "deletionTimestamp"] {
            if object.pointer(&format!("/metadata/{field}")).is_none_or(Value::is_null) {
                keep(&mut object, live, &["metadata", field]);
            }
        }
        if kind.status {
            keep(&mut object, live, &["status"]);
        }
        admission::carry_over(kind, live, &mut object);
        fill(kind, &mut object);
        let faults = validate::update(kind, live, &object);
        if !faults.is_empty() {
            return Err(Refused::invalid(kind, name, &faults));
        }
        admission::may_grow(self, kind, live, &object)?;
        if kind.counted && object.get("spec") != live.get("spec") {
            set(&mut object, &["metadata", "generation"], number(live, "/metadata/generation") + 1);
        }
        set(&mut object, &["metadata", "resourceVersion"], text(live, "/metadata/resourceVersion"));
        managers.write(&mut object, Some(live));
        if options.dry_run {
            return Ok(object);
        }
        Ok(self.put(place.key(), object))
    }

    /// PUT.
    pub(super) fn replace(&mut self, place: Place<'_>, object: Value, options: &Options, now: Timestamp) -> Done {
        decode(place.kind, &object, options.strict)?;
        let live = self.get(place)?;
        let object = self.written_over(place, &live, object, options, now)?;
        Ok((200, object))
    }

    /// PATCH, but for applies.
    pub(super) fn patch(
        &mut self,
        place: Place<'_>,
        patch: &Value,
        how: Patch,
        options: &Options,
        now: Timestamp,
    ) -> Done {
        let live = self.get(place)?;
        let mut object = live.clone();
        match how {
            Patch::Merge => merge(&mut object, patch),
            Patch::Strategic => strategic(&place.kind.of(), &mut object, patch),
        }
        decode(place.kind, &object, options.strict).map_err(|refused| {
            let shown = Value::String(object.to_string());
            let what = refused.message.split_once(": ").map_or(refused.message.as_str(), |(_, what)| what);
            Refused::invalid_patch(Fault::invalid("patch", &shown, what))
        })?;
        let object = self.written_over(place, &live, object, options, now)?;
        Ok((200, object))
    }

    fn written_over(
        &mut self,
        place: Place<'_>,
        live: &Value,
        mut object: Value,
        options: &Options,
        now: Timestamp,
    ) -> Result<Value, Refused> {
        let kind = place.kind;
        kind.of().prune(&mut object);
        fill(kind, &mut object);
        let mut managers = Managers::of(live);
        if !managers.is_empty() {
            let manager = Manager::updater(&options.manager, &kind.api_version(), "");
            let version = kind.api_version();
            managers.update(&kind.of(), live, &object, &manager, &version, place.reset(), &written(now));
        }
        self.update(place, live, object, managers, options)
    }

    /// DELETE. Pods end gracefully; what a StatefulSet owns goes with it, or stays without an owner.
    pub(super) fn delete(&mut self, place: Place<'_>, how: &Deletion, now: Timestamp) -> Done {
        let Place { kind, name, .. } = place;
        let key = place.key();
        let mut object = self.get(place)?;
        for (wanted, what, field, else_) in [
            (&how.uid, "UID", "uid", "deleted and then recreated"),
            (&how.resource_version, "ResourceVersion", "resourceVersion", "modified"),
        ] {
            let found = text(&object, &format!("/metadata/{field}"));
            if let Some(wanted) = wanted.as_ref().filter(|wanted| *wanted != found) {
                let why = format!(
                    "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The \
                     object might have been {else_}"
                );
                return Err(Refused::precondition(kind, name, &why, kind.kind));
            }
        }
        let scheduled = !text(&object, "/spec/nodeName").is_empty();
        let grace = match kind.kind {
            "Pod" if scheduled => how.grace.unwrap_or_else(|| number(&object, "/spec/terminationGracePeriodSeconds")),
            _ => 0,
        };
        let lingers = grace > 0 || (how.orphan && kind.kind == "StatefulSet") || self.is_used(kind, &object);
        if lingers && text(&object, "/metadata/deletionTimestamp").is_empty() {
            let end = now.checked_add(jiff::SignedDuration::from_secs(grace)).unwrap_or(now);
            set(&mut object, &["metadata", "deletionTimestamp"], written(end));
            set(&mut object, &["metadata", "deletionGracePeriodSeconds"], grace);
            if kind.counted {
                let generation = number(&object, "/metadata/generation") + 1;
                set(&mut object, &["metadata", "generation"], generation);
            }
            if how.orphan {
                set(&mut object, &["metadata", "finalizers"], json!(["orphan"]));
            }
        }
        // Of these the server gives the object back also when it is gone at once, of others a Status.
        let told = ["Pod", "Service", "ServiceAccount", "ResourceQuota", "PersistentVolume", "PersistentVolumeClaim"];
        let answer = if lingers || told.contains(&kind.kind) {
            object.clone()
        } else {
            let mut details = json!({ "name": name, "kind": kind.plural, "uid": text(&object, "/metadata/uid") });
            if !kind.group.is_empty() {
                set(&mut details, &["group"], kind.group);
            }
            json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
        };
        if how.dry_run {
            return Ok((200, answer));
        }
        if kind.kind == "StatefulSet" {
            self.let_go(&object, how.orphan, now);
        }
        if grace > 0 || self.is_used(kind, &object) {
            self.put(key, object);
        } else {
            self.drop_with_contents(kind, &key);
        }
        Ok((200, answer))
    }

    /// True for a claim that a pod uses: it goes when the pod is gone.
    fn is_used(&self, kind: &Kind, object: &Value) -> bool {
        kind.kind == "PersistentVolumeClaim" && super::controllers::claim_is_used(self, object)
    }

    fn drop_with_contents(&mut self, kind: &Kind, key: &Key) {
        self.remove(key);
        if kind.kind == "Namespace" {
            for kind in super::kinds::KINDS.iter().filter(|k| k.namespaced) {
                let names: Vec<String> =
                    self.all(kind.kind, Some(&key.name)).map(|o| text(o, "/metadata/name").to_owned()).collect();
                for name in names {
                    self.remove(&Key::new(kind, &key.name, &name));
                }
            }
        }
    }

    /// The garbage collector's part in a StatefulSet's end.
    fn let_go(&mut self, set_: &Value, orphan: bool, now: Timestamp) {
        let (uid, namespace) = (text(set_, "/metadata/uid"), text(set_, "/metadata/namespace"));
        // A claim belongs to it where whenDeleted is Delete.
        for kind in ["Pod", "PersistentVolumeClaim"].into_iter().filter_map(kind_of) {
            let of = |object: &&Value| super::controllers::owner(object) == uid;
            let owned: Vec<Value> = self.all(kind.kind, Some(namespace)).filter(of).cloned().collect();
            for mut object in owned {
                let name = text(&object, "/metadata/name").to_owned();
                if orphan {
                    unset(&mut object, &["metadata", "ownerReferences"]);
                    self.put(Key::new(kind, namespace, &name), object);
                } else {
                    drop(self.delete(Place { kind, namespace, name: &name }, &Deletion::default(), now));
                }
            }
        }
    }

    /// DELETE of all that a filter takes.
    pub(super) fn delete_all(
        &mut self,
        kind: &'static Kind,
        namespace: &str,
        filter: impl Fn(&Value) -> bool,
        how: &Deletion,
        now: Timestamp,
    ) -> Done {
        let within = Some(namespace).filter(|n| !n.is_empty());
        let list = self.list(kind, within, filter);
        for object in super::values::items(&list, "/items") {
            let (name, namespace) = (text(object, "/metadata/name"), text(object, "/metadata/namespace"));
            self.delete(Place { kind, namespace, name }, how, now)?;
        }
        Ok((200, list))
    }

    /// Evicts a pod, if its disruption budget allows it.
    pub(super) fn evict(&mut self, place: Place<'_>, how: &Deletion, now: Timestamp) -> Done {
        let pod = self.get(place)?;
        let ready = super::controllers::is_ready(&pod);
        let done = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
        let free = matches!(text(&pod, "/status/phase"), "Pending" | "Succeeded" | "Failed")
            || !text(&pod, "/metadata/deletionTimestamp").is_empty();
        let labels = pod.pointer("/metadata/labels");
        let budgets: Vec<&Value> = self
            .all("PodDisruptionBudget", Some(place.namespace))
            .filter(|b| b.pointer("/spec/selector").is_some_and(|s| super::values::selects(s, labels)))
            .collect();
        match budgets.as_slice() {
            _ if free => {}
            [] => {}
            [budget] => {
                let name = text(budget, "/metadata/name");
                let (needs, has) = (number(budget, "/status/desiredHealthy"), number(budget, "/status/currentHealthy"));
                let always = text(budget, "/spec/unhealthyPodEvictionPolicy") == "AlwaysAllow";
                let spare = !ready && (always || (has >= needs && needs > 0));
                if number(budget, "/status/observedGeneration") < number(budget, "/metadata/generation") {
                    let why = format!("The disruption budget {name} is still being processed by the server.");
                    return Err(Refused::budget(why));
                }
                if !spare && number(budget, "/status/disruptionsAllowed") <= 0 {
                    let why =
                        format!("The disruption budget {name} needs {needs} healthy pods and has {has} currently");
                    return Err(Refused::budget(why));
                }
            }
            _ => {
                return Err(Refused::internal(
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                ));
            }
        }
        self.delete(place, how, now)?;
        Ok((201, done))
    }
}

fn keep(object: &mut Value, live: &Value, path: &[&str]) {
    match live.pointer(&format!("/{}", path.join("/"))) {
        Some(value) => set(object, path, value.clone()),
        None => unset(object, path),
    }
}

/// Reads an object as the server decodes one.
///
/// # Errors
/// A wrong type, a wrong quantity; with `strict`, fields that there are none of.
fn decode(kind: &Kind, object: &Value, strict: bool) -> Result<(), Refused> {
    let refuse = |what: String| {
        let (version, kind) = (kind.api_version(), kind.kind);
        Err(Refused::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {what}")))
    };
    if !object.is_object() {
        return refuse("json: cannot unmarshal into Go value".to_owned());
    }
    let wrong = check(&kind.of(), object);
    let (unknown, wrong): (Vec<&String>, Vec<&String>) = wrong
        .iter()
        .filter(|w| !w.contains(": duplicate entries"))
        .partition(|w| w.ends_with("field not declared in schema"));
    if let Some(wrong) = wrong.first() {
        return refuse(format!("json: cannot unmarshal {wrong}"));
    }
    if admission::has_bad_quantity(kind, object) {
        return refuse(quantity::INVALID.to_owned());
    }
    if strict && !unknown.is_empty() {
        let mut fields: Vec<String> = Vec::new();
        unknown_fields(&kind.of(), object, "", &mut fields);
        fields.sort();
        let fields: Vec<String> = fields.iter().map(|f| format!("unknown field {f:?}")).collect();
        return refuse(format!("strict decoding error: {}", fields.join(", ")));
    }
    Ok(())
}

/// Fields that there are none of, with lists' items by their index.
fn unknown_fields(of: &Type, value: &Value, at: &str, found: &mut Vec<String>) {
    match (of, value) {
        (Type::Any, _) => {}
        (Type::List(item, _), Value::Array(items)) => {
            for (index, inner) in items.iter().enumerate() {
                unknown_fields(item, inner, &format!("{at}[{index}]"), found);
            }
        }
        (_, Value::Object(map)) => {
            for (key, inner) in map {
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                match of.entry(key) {
                    Some(of) => unknown_fields(of, inner, &at, found),
                    None => found.push(at),
                }
            }
        }
        _ => {}
    }
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else { return *target = patch.clone() };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.as_str()).or_insert(Value::Null), value);
        }
    }
}

/// A strategic merge patch, without its `$patch` directives: nulls take away, lists merge by their keys.
fn strategic(of: &Type, target: &mut Value, patch: &Value) {
    fn nulls(target: &mut Value, patch: &Value) {
        let (Value::Object(map), Value::Object(patch)) = (target, patch) else { return };
        for (key, value) in patch {
            if value.is_null() {
                map.remove(key);
            } else if let Some(inner) = map.get_mut(key) {
                nulls(inner, value);
            }
        }
    }
    nulls(target, patch);
    if let Some(merged) = super::typed::merge(of, Some(target), Some(patch)) {
        *target = merged;
        nulls(target, patch);
    }
}
