//! Pod storages: the blocks `kubernetes` and `pod_spec`, what a storage with a pod needs, and the rules that can be told
//! without a cluster.

mod spec;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::build::Builder;
use super::check::Fields;
use super::syntax::{Block, Body};
use crate::diag::{Diagnostic, Span, nearest};
use crate::expr::tree::{Kind, Node};
use crate::expr::{Value, parse_duration};
use crate::model::{
    Address, Bytes, ClusterSettings, DesiredStorage, DiskSpec, Endpoint, PodSpec, Scheme, SecretKey, ServiceKind,
    StorageName,
};
use spec::Spec;

/// Longest name of a storage with a pod: its pod carries the label `controller-revision-hash`, the name with `-` and at
/// most ten characters, and a label has at most 63.
const NAME_LIMIT: usize = 52;
/// Below it a disk's size was written wrongly.
const SMALLEST_DISK: Bytes = Bytes(1 << 30);
/// The namespace, Secrets and hooks' address that the embedded fleet stands in for.
const EMBEDDED: (&str, &str) = ("gitaly", "http://gitlab.sandbox:8181");

fn secret_key(name: &str, key: &str) -> SecretKey {
    SecretKey { name: name.to_owned(), key: key.to_owned() }
}

/// A value as JSON; sets become lists.
pub(super) fn json(value: &Value) -> Json {
    match value {
        Value::Null | Value::Unknown => Json::Null,
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Number(number) => match number.as_int() {
            Some(whole) => match (i64::try_from(whole), u64::try_from(whole)) {
                (Ok(whole), _) => Json::from(whole),
                (_, Ok(whole)) => Json::from(whole),
                _ => Json::from(number.to_f64()),
            },
            None => Json::from(number.to_f64()),
        },
        Value::String(text) => Json::String(text.clone()),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Set(items) => items.iter().map(json).collect(),
        Value::Object(entries) => {
            Json::Object(entries.iter().map(|(name, value)| (name.clone(), json(value))).collect())
        }
    }
}

fn texts(fields: &Fields, name: &str) -> Vec<String> {
    let items = fields.get(name).and_then(|entry| entry.value.elements()).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn text_map(fields: &Fields, name: &str) -> BTreeMap<String, String> {
    let Some(Value::Object(entries)) = fields.get(name).map(|entry| &entry.value) else { return BTreeMap::new() };
    entries.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// A duration in whole seconds, rounded up.
fn seconds(fields: &Fields, name: &str) -> Option<u32> {
    let duration = parse_duration(fields.text(name)?).ok()?;
    let whole = duration.as_secs() + i64::from(duration.subsec_nanos() > 0);
    u32::try_from(whole).ok()
}

fn bytes(fields: &Fields, name: &str) -> Option<Bytes> {
    fields.whole(name).map(Bytes)
}

fn inner<'b>(block: &'b Block, kind: &str) -> Option<&'b Block> {
    block.body.blocks.iter().find(|inner| inner.kind == kind)
}

/// Whether a text is a DNS label as object names are: lower-case letters, digits and `-`, beginning with a letter.
fn is_label(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Where a key of an object stands that is written out.
fn key_span(node: &Node, key: &str) -> Option<Span> {
    let Kind::Object(entries) = &node.kind else { return None };
    let named = |(name, _): &&(Node, Node)| matches!(&name.kind, Kind::Literal(value) if value.as_str() == Some(key));
    entries.iter().find(named).map(|(name, _)| name.span)
}

impl Builder<'_> {
    /// A volume that holds no repository is a slip of the pen: `1e3` is a thousand bytes.
    fn disk_size(&mut self, size: Bytes, at: Span) {
        if size < SMALLEST_DISK {
            let detail = format!("A volume of {size} is smaller than any that a Gitaly could work on: 1 GiB at least.");
            self.refuse(
                "config/pod-disk",
                "Disk too small",
                detail,
                at,
                "Write it with its unit, for example \"5Ti\".",
            );
        }
    }

    fn refuse(&mut self, code: &'static str, summary: &str, detail: impl Into<String>, at: Span, help: &str) {
        self.out.push(Diagnostic::error(code, summary).detail(detail).at(at).help(help));
    }

    fn warn(&mut self, code: &'static str, summary: &str, detail: impl Into<String>, at: Span, help: &str) {
        self.out.push(Diagnostic::warning(code, summary).detail(detail).at(at).help(help));
    }

    /// Reads all pod specs, by their addresses.
    pub(super) fn pod_specs(&mut self, body: &Body) -> BTreeMap<String, Arc<PodSpec>> {
        let mut specs = BTreeMap::new();
        for block in body.blocks.iter().filter(|block| block.kind == "pod_spec") {
            let Some((label, _)) = block.labels.first() else { continue };
            let address = Address::new("pod_spec", label.clone());
            if let Some(spec) = (Spec { builder: self, block }).read(address.clone()) {
                // A second block of one name has been told.
                specs.entry(address.to_string()).or_insert_with(|| Arc::new(spec));
            }
        }
        specs
    }

    /// Reads the cluster: the `kubernetes` block's, or what the embedded fleet stands in for.
    pub(super) fn cluster(&mut self, body: &Body) -> Option<ClusterSettings> {
        let single = |kind: &str| body.blocks.iter().find(|block| block.kind == kind);
        let sandbox = single("sandbox").map(|block| block.header);
        let written = single("gitlab").map(|block| self.quiet_text(block, "gitlab", "internal_url"));
        let internal_url = written.flatten().or_else(|| sandbox.map(|_| EMBEDDED.1.to_owned()));
        let Some(block) = single("kubernetes") else {
            return sandbox.map(|span| ClusterSettings {
                kubeconfig: None,
                context: None,
                namespace: EMBEDDED.0.to_owned(),
                gitaly_token: Some(secret_key("gitaly-token", "token")),
                shell_secret: Some(secret_key("gitlab-shell-secret", "secret")),
                internal_url,
                embedded: true,
                span,
            });
        };
        let fields = self.fields(block, "kubernetes");
        let mut secrets = (None, None);
        if let Some(inner) = inner(block, "secrets") {
            let values = self.inner_fields(inner, "kubernetes", "secrets");
            secrets =
                (self.secret_key(inner, &values, "gitaly_token"), self.secret_key(inner, &values, "shell_secret"));
        }
        let namespace = fields.text("namespace")?;
        if !is_label(namespace) && !namespace.starts_with(|c: char| c.is_ascii_digit()) {
            let detail = format!("{namespace:?} is no namespace: lower-case letters, digits and `-`, at most 63.");
            self.refuse(
                "config/namespace",
                "Not a namespace",
                detail,
                fields.span("namespace"),
                "Write it as kubectl shows it.",
            );
        }
        let text = |name: &str| fields.text(name).map(str::to_owned);
        Some(ClusterSettings {
            kubeconfig: text("kubeconfig"),
            context: text("context"),
            namespace: namespace.to_owned(),
            gitaly_token: secrets.0,
            shell_secret: secrets.1,
            internal_url,
            embedded: false,
            span: block.header,
        })
    }

    fn secret_key(&mut self, block: &Block, fields: &Fields, name: &str) -> Option<SecretKey> {
        const PARTS: [&str; 2] = ["name", "key"];
        fields.get(name)?;
        let mut entries = text_map(fields, name);
        if let Some(other) = entries.keys().find(|key| !PARTS.contains(&key.as_str())) {
            let written = block.body.attribute(name).and_then(|written| key_span(&written.value, other));
            let near = nearest(other, PARTS).map(|near| format!("Did you mean `{near}`?"));
            self.refuse(
                "config/secret-key",
                "Not a key of a Secret",
                format!("`{name}` has a `name` and a `key`; here is {other:?}."),
                written.unwrap_or_else(|| fields.span(name)),
                &near.unwrap_or_else(|| "Remove it.".to_owned()),
            );
            return None;
        }
        let lacks = PARTS.into_iter().find(|part| entries.get(*part).is_none_or(String::is_empty));
        match (lacks, entries.remove("name"), entries.remove("key")) {
            (None, Some(secret), Some(key)) => Some(SecretKey { name: secret, key }),
            (lacks, ..) => {
                let lacks = lacks.unwrap_or("name");
                let detail = format!("`{name}` must name a Secret and its key; it lacks `{lacks}`.");
                let help = format!("For example: {name} = {{ name = \"gitaly-token\", key = \"token\" }}");
                self.refuse("config/secret-key", "Not a key of a Secret", detail, fields.span(name), &help);
                None
            }
        }
    }

    /// Checks what storages with pods need, and fills in the addresses of their Services. `headers`: of the `gitlab`
    /// block, if there is one.
    pub(super) fn check_pods(
        &mut self,
        storages: &mut BTreeMap<StorageName, DesiredStorage>,
        cluster: Option<&ClusterSettings>,
        body: &Body,
    ) {
        let single = |kind: &str| body.blocks.iter().find(|block| block.kind == kind);
        let Some((first, span)) = storages.values().find(|s| s.pod.is_some()).map(|s| (s.address.clone(), s.span))
        else {
            return;
        };
        match cluster {
            None if single("kubernetes").is_none() => {
                let detail = format!("{first} has a pod, and there is no `kubernetes` block that says where it runs.");
                let help = "Add: kubernetes { namespace = \"gitaly\" … }, with the Secrets that the pods mount.";
                self.refuse("config/no-kubernetes", "No cluster", detail, span, help);
            }
            None => {}
            Some(cluster) => {
                if cluster.gitaly_token.is_none()
                    && let Some(block) = single("kubernetes").filter(|block| inner(block, "secrets").is_none())
                {
                    let detail =
                        "Pods mount Gitaly's token and GitLab Shell's secret, and no `secrets` block names them.";
                    let help = "Add: secrets {\n  gitaly_token = { name = \"gitaly-token\", key = \"token\" }\n  shell_secret = { name = \"gitlab-shell-secret\", key = \"secret\" }\n}";
                    self.refuse("config/no-secrets", "No Secrets for the pods", detail, block.header, help);
                }
                if cluster.internal_url.is_none()
                    && let Some(gitlab) =
                        single("gitlab").filter(|block| block.body.attribute("internal_url").is_none())
                {
                    let detail = "`gitlab` needs `internal_url`, as there are pods: without it every push to them is refused, while reads go on.";
                    self.out.push(
                        Diagnostic::error("config/missing-attribute", "Missing attribute")
                            .detail(detail)
                            .at(gitlab.header)
                            .also(span, "the first storage with a pod")
                            .help("For example: internal_url = \"http://gitlab-webservice-default.gitlab.svc:8181\""),
                    );
                }
            }
        }
        self.object_names(storages);
        let sandbox = single("sandbox").is_some();
        for storage in storages.values_mut() {
            let (Some(spec), Some(cluster), false) = (&storage.pod, cluster, sandbox) else { continue };
            if storage.endpoint.is_none() {
                if spec.service.kind != ServiceKind::ClusterIp {
                    let detail = format!(
                        "{} is reached by a Service of type {} (`service.type`), whose name no machine outside can look up: \
                         `address` must say where GitLab dials it.",
                        storage.address,
                        spec.service.kind.as_str()
                    );
                    let help = "For example: address = \"tcp://gitaly-a.internal.example.com:8075\"";
                    self.refuse("config/pod-address", "Address of a pod missing", detail, storage.span, help);
                }
                let authority = format!("{}-gitaly.{}.svc:8075", storage.name, cluster.namespace);
                storage.endpoint = Some(Endpoint { scheme: Scheme::Tcp, authority });
            }
        }
    }

    /// Object names are DNS labels, and no two storages may share one.
    fn object_names(&mut self, storages: &BTreeMap<StorageName, DesiredStorage>) {
        for storage in storages.values().filter(|storage| storage.pod.is_some()) {
            let name = storage.name.as_str();
            if name.len() <= NAME_LIMIT && !is_label(name) {
                let detail = format!(
                    "{} is {name:?}, and its objects in the cluster bear that name: at most {NAME_LIMIT} lower-case \
                     letters, digits and `-`, beginning with a letter and not ending with `-`.",
                    storage.address
                );
                self.refuse(
                    "config/pod-name",
                    "Not a name for objects",
                    detail,
                    storage.name_span,
                    "Give it another `name`.",
                );
            } else if name.len() > NAME_LIMIT {
                let detail = format!(
                    "The name of {} has {} characters, {name:?}; at most {NAME_LIMIT} leave room for what Kubernetes adds \
                     to it in a label of its pod.",
                    storage.address,
                    name.chars().count()
                );
                self.refuse(
                    "config/pod-name",
                    "Not a name for objects",
                    detail,
                    storage.name_span,
                    "Give it a shorter `name`.",
                );
            }
            // `x` has the Services x and x-gitaly; a storage x-gitaly would want the second as its first.
            let other = name.strip_suffix("-gitaly").and_then(|base| StorageName::new(base).ok());
            if let Some(other) = other.and_then(|other| storages.get(&other)).filter(|other| other.pod.is_some()) {
                self.out.push(
                    Diagnostic::error("config/pod-name-clash", "Two storages with one object")
                        .detail(format!(
                            "{} and {} would both make the Service {name}.",
                            other.address, storage.address
                        ))
                        .at(storage.name_span)
                        .also(other.name_span, "the other one, whose Service for GitLab is its name with -gitaly")
                        .help("Give one of them another `name`."),
                );
            }
        }
    }

    /// What a storage says of its pod. `None` for a VM storage.
    pub(super) fn pod(
        &mut self,
        fields: &Fields,
        block: &Block,
        specs: &BTreeMap<String, Arc<PodSpec>>,
    ) -> (Option<Arc<PodSpec>>, Option<String>) {
        let zone = fields.text("zone").map(str::to_owned);
        let Some(reference) = fields.get("pod") else {
            for name in ["zone", "disk_size"] {
                if fields.get(name).is_some() && block.body.attribute("pod").is_none() {
                    let detail = format!("`{name}` is about a pod, and this storage has none.");
                    self.refuse(
                        "config/no-pod",
                        "No pod to say this of",
                        detail,
                        fields.span(name),
                        "Remove it, or add: pod = pod_spec.standard",
                    );
                }
            }
            return (None, None);
        };
        let address = super::shapes::address(&reference.value, "pod_spec").unwrap_or_default();
        if let Some(address) = fields.text("address").filter(|address| !address.starts_with("tcp://")) {
            let detail = format!("{address:?} is no address of a pod: that answers in plain on a port.");
            let help = "For example: address = \"tcp://gitaly-a.internal.example.com:8075\"";
            self.refuse("config/pod-address", "Not a pod's address", detail, fields.span("address"), help);
        }
        // What is wrong with the spec has been told.
        let Some(spec) = specs.get(address).cloned() else { return (None, None) };
        if let (Some(zone), Some(selected)) = (&zone, spec.node_selector.get("topology.kubernetes.io/zone"))
            && zone != selected
        {
            let detail = format!(
                "The zone is {zone:?} here, and {selected:?} in the `node_selector` of {address}: no node is in both."
            );
            self.refuse(
                "config/pod-zone",
                "Two zones",
                detail,
                fields.span("zone"),
                "Leave it out of the node_selector.",
            );
        }
        if let Some(zone) = zone.as_deref().filter(|zone| !is_label_value(zone)) {
            let detail = format!("{zone:?} is no value of a label: letters, digits, `-`, `_` and `.`, at most 63.");
            self.refuse(
                "config/pod-zone",
                "Not a zone",
                detail,
                fields.span("zone"),
                "Write it as the nodes carry it.",
            );
        }
        let spec = match bytes(fields, "disk_size") {
            None => spec,
            Some(size) => {
                self.disk_size(size, fields.span("disk_size"));
                Arc::new(PodSpec { disk: DiskSpec { size, ..spec.disk.clone() }, ..(*spec).clone() })
            }
        };
        (Some(spec), zone)
    }
}

fn is_label_value(text: &str) -> bool {
    let end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && end(text.chars().next())
        && end(text.chars().last())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects_are_dns_labels() {
        for good in ["a", "gitaly-01", "g1"] {
            assert!(is_label(good), "{good}");
        }
        for bad in ["", "1a", "A", "a.b", "a_b", "a-", "-a"] {
            assert!(!is_label(bad), "{bad}");
        }
    }
}
