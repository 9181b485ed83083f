//! The sandbox's Kubernetes against the real one. Talks with a real control plane are recorded beside their questions in
//! `testdata/wire/kubernetes-1.34.json`; the sandbox must answer alike, and so must the control plane that the tests
//! have: with one, `UPDATE=1` records anew. The rows of `control_plane` are held against the sandbox as well.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use futures::StreamExt as _;
use http::Request;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::client::Body;
use kube::config::Kubeconfig;
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tranship::model::{Bytes, SandboxConnection, SandboxStorage, StorageName};
use tranship::sandbox::{self, Endpoints};

use super::common::cluster::{Target, on_cluster};
use super::common::project;
use super::control_plane;

/// What a comparison leaves out, and why: the sandbox does not model it, or it is another each time.
const LEFT_OUT: &[(&str, &str, &str)] = &[
    ("another each time", r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID"),
    ("another each time", r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    ("another each time", r"\(\d+\)", "(NUMBER)"),
    ("a digest of Kubernetes' own", r"gitaly-a-[a-z0-9]{7,12}", "REVISION"),
    ("whichever is free", r"10\.\d+\.\d+\.\d+", "ADDRESS"),
    ("whichever the scheduler takes", r"node-[abc]", "NODE"),
    ("who makes volumes here, and there", r"tranship\.test/disk|disk\.sandbox\.tranship", "PROVISIONER"),
    ("objects within texts are shown by Go's names", r"Invalid value: \{.*?\}: ", "Invalid value: {…}: "),
    ("the whole object, as the server holds it", r#"(?s)patch: Invalid value: ".*": "#, "patch: Invalid value: …: "),
    ("the whole object, as the server holds it", r#"(?s)^Invalid value: "\{.*\}": "#, "Invalid value: …: "),
    ("a difference as Go shows it", r"(?s)(for bound claims)\n@@.*", "$1"),
    ("a difference as Go shows it", r"(?s)(if it was previously negative\))\n@@.*", "$1"),
    ("the words of Go's YAML and JSON readers", r"(error decoding YAML|cannot be handled as a \w+: json): .*", "$1"),
];

/// Fields that a comparison leaves out, and why.
const FIELDS: &[(&str, &str)] = &[
    ("/metadata/resourceVersion", "another each time"),
    ("/spec/csi", "where the volume lies: here on the sandbox's own disk"),
    ("/spec/hostPath", "where the volume lies: there nowhere"),
    ("/spec/nodeAffinity", "the real one's volumes lie in no zone"),
    ("/status/containerStatuses", "kubelets are played: what they report is in `control_plane`'s rows"),
    ("/status/initContainerStatuses", "kubelets are played"),
    ("/status/conditions", "kubelets are played; budgets' are held by what evictions say"),
    ("/status/hostIP", "kubelets are played"),
    ("/status/hostIPs", "kubelets are played"),
    ("/status/podIP", "kubelets are played"),
    ("/status/podIPs", "kubelets are played"),
    ("/status/startTime", "kubelets are played"),
];

/// What the sandbox has and the tests' control plane has not, or the other way round. Nothing compares it.
#[expect(dead_code, reason = "said here, so that it is said in one place")]
const NOT_MODELLED: &[&str] = &[
    "watches: the adapter polls",
    "YAML in bodies: JSON only, which clients of the API send anyway",
    "pages of lists: all objects come at once",
    "CustomResourceDefinitions: ServiceMonitor is served, with anything in it",
    "managedFields of controllers and kubelets",
    "the volume of a pod's ServiceAccount token",
    "JSON patches (RFC 6902), and a strategic patch's $patch directives",
    "ClusterRoles: a Role in the namespace, or the administrator",
    "admission webhooks and policies, LimitRanges",
    "a CPU's or memory's fraction below a thousandth",
];

/// A conversation in a namespace of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Talk {
    what: String,
    say: Vec<Say>,
}

/// A question, and what the real server answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Say {
    #[serde(rename = "do")]
    verb: String,
    /// Of `objects`: the kind and the name come from there.
    object: String,
    /// What is other in this question, as a merge patch.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    with: Value,
    /// The name in the path, where it is not the object's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    /// The body as it is, where it is no object of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Value>,
    #[serde(default)]
    answer: Value,
}

#[derive(Debug, Serialize, Deserialize)]
struct Recorded {
    objects: BTreeMap<String, Value>,
    talks: Vec<Talk>,
}

fn file() -> Utf8PathBuf {
    project().join("testdata/wire/kubernetes-1.34.json")
}

fn recorded() -> Recorded {
    serde_json::from_str(&fs_err::read_to_string(file()).expect("recordings")).expect("recordings")
}

/// The recordings' file: a line an object, a line a question.
fn written(recorded: &Recorded) -> String {
    let line = |value: &Value| serde_json::to_string(value).expect("JSON");
    let objects = recorded.objects.iter().map(|(name, object)| format!("{name:?}: {}", line(object)));
    let talks = recorded.talks.iter().map(|talk| {
        let say = talk.say.iter().map(|say| line(&serde_json::to_value(say).expect("JSON")));
        format!("{{\n\"what\": {:?}, \"say\": [\n{}\n]}}", talk.what, say.collect::<Vec<_>>().join(",\n"))
    });
    let (objects, talks): (Vec<_>, Vec<_>) = (objects.collect(), talks.collect());
    format!("{{\"objects\": {{\n{}\n}},\n\"talks\": [\n{}\n]}}\n", objects.join(",\n"), talks.join(",\n"))
}

/// Where the objects of a kind are.
fn path(object: &Value, namespace: &str) -> String {
    let (kind, version) = (object["kind"].as_str().expect("a kind"), object["apiVersion"].as_str().expect("a version"));
    let plural = match kind {
        "NetworkPolicy" => "networkpolicies".to_owned(),
        kind => format!("{}s", kind.to_lowercase()),
    };
    let root = if version.contains('/') { "apis" } else { "api" };
    match kind {
        "Node" | "PersistentVolume" => format!("/{root}/{version}/{plural}"),
        _ => format!("/{root}/{version}/namespaces/{namespace}/{plural}"),
    }
}

fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    target.remove(key);
                } else {
                    merge(target.entry(key.as_str()).or_insert(Value::Null), value);
                }
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

/// Asks, and brings the answer into a form that can be compared.
async fn ask(client: &Client, method: &str, path: &str, media: &str, body: Option<&Value>) -> Value {
    let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
    let request = Request::builder().method(method).uri(path).header("content-type", media);
    let request = request.header("user-agent", "contract/1").body(Body::from(bytes)).expect("a request");
    let response = client.send(request).await.expect("an answer");
    let code = response.status().as_u16();
    let bytes = response.into_body().collect_bytes().await.expect("a body");
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    json!({ "code": code, "body": body })
}

/// Carries out one question. `until` asks again, until the answer holds the value in `body` at the pointer in `query`.
async fn carry_out(target: &Target, objects: &BTreeMap<String, Value>, say: &Say) -> Value {
    let mut object = objects.get(&say.object).unwrap_or_else(|| panic!("no object {}", say.object)).clone();
    if !say.with.is_null() {
        merge(&mut object, &say.with);
    }
    let list = path(&objects[&say.object], &target.namespace);
    let named = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let name = say.name.clone().unwrap_or_else(|| named(&object));
    let one = format!("{list}/{name}");
    let query = say.query.as_deref().map_or_else(String::new, |query| format!("?{query}"));
    let client = &target.client;
    let json = "application/json";
    let body = say.body.as_ref();
    match say.verb.as_str() {
        "apply" => {
            let query =
                if say.query.is_some() { query } else { "?fieldManager=tranship&fieldValidation=Strict".into() };
            let media = "application/apply-patch+yaml";
            ask(client, "PATCH", &format!("{one}{query}"), media, Some(body.unwrap_or(&object))).await
        }
        "create" => ask(client, "POST", &format!("{list}{query}"), json, Some(&object)).await,
        "merge" => ask(client, "PATCH", &format!("{one}{query}"), "application/merge-patch+json", body).await,
        "delete" => ask(client, "DELETE", &format!("{one}{query}"), json, body).await,
        "get" => ask(client, "GET", &one, json, None).await,
        "evict" => {
            let mut eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name } });
            if !say.with.is_null() {
                merge(&mut eviction, &say.with);
            }
            ask(client, "POST", &format!("{one}/eviction{query}"), json, Some(&eviction)).await
        }
        "until" => {
            let begun = Instant::now();
            loop {
                let answer = ask(client, "GET", &one, json, None).await;
                let found = answer["body"].pointer(say.query.as_deref().unwrap_or_default());
                if found == body {
                    return json!({});
                }
                assert!(
                    begun.elapsed() < Duration::from_secs(60),
                    "{} {name}: waited for {body:?} in vain: {answer}",
                    say.object
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        verb => panic!("no verb {verb}"),
    }
}

/// Takes out of an answer what cannot be compared.
fn comparable(verb: &str, answer: &Value, namespace: &str) -> Value {
    fn texts(value: &mut Value, f: &dyn Fn(&str) -> String) {
        match value {
            Value::String(text) => *text = f(text),
            Value::Array(items) => items.iter_mut().for_each(|item| texts(item, f)),
            Value::Object(map) => {
                // Whichever is free.
                map.remove("nodePort");
                let renamed: Map<String, Value> =
                    std::mem::take(map).into_iter().map(|(key, value)| (f(&key), value)).collect();
                *map = renamed;
                map.values_mut().for_each(|value| texts(value, f));
            }
            _ => {}
        }
    }
    let mut answer = answer.clone();
    let Some(body) = answer.get_mut("body") else { return answer };
    for (pointer, _) in FIELDS {
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        if let Some(Value::Object(parent)) = body.pointer_mut(parent) {
            parent.remove(field);
        }
    }
    // How far controllers have come by then is another matter each time.
    if verb != "get"
        && body["kind"] == "StatefulSet"
        && let Value::Object(set) = body
    {
        set.remove("status");
    }
    if let Some(Value::Array(managed)) = body.pointer_mut("/metadata/managedFields") {
        managed.retain(|m| !m["manager"].as_str().unwrap_or_default().starts_with("kube"));
        for entry in managed.iter_mut().filter_map(Value::as_object_mut) {
            entry.remove("time");
        }
        managed.sort_by_key(|m| (m["manager"].to_string(), m["operation"].to_string()));
    }
    let empty = body.pointer("/metadata/managedFields") == Some(&json!([]));
    if let Some(Value::Object(metadata)) = body.pointer_mut("/metadata") {
        if empty {
            metadata.remove("managedFields");
        }
        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
            annotations.retain(|key, _| !key.starts_with("sandbox/"));
        }
    }
    let rules: Vec<(Regex, &str)> =
        LEFT_OUT.iter().map(|(_, rule, to)| (Regex::new(rule).expect("a pattern"), *to)).collect();
    texts(body, &|text| {
        let text = text.replace(namespace, "NAMESPACE");
        rules.iter().fold(text, |text, (rule, to)| rule.replace_all(&text, *to).into_owned())
    });
    answer
}

/// Plays all talks, each in a namespace of its own; the talks with this target's answers.
async fn play(target: &Target, recorded: &Recorded) -> Vec<Talk> {
    let talks = recorded.talks.iter().map(|talk| async {
        let target = target.another().await;
        let mut played = talk.clone();
        for say in &mut played.say {
            let answer = carry_out(&target, &recorded.objects, say).await;
            assert!(answer["code"] != 504, "{}: {answer}", talk.what);
            say.answer = comparable(&say.verb, &answer, &target.namespace);
        }
        target.remove().await;
        played
    });
    // A real one on a busy machine takes its time with each.
    futures::stream::iter(talks).buffered(4).collect().await
}

/// Where two sets of answers differ.
fn differences(expected: &[Talk], found: &[Talk]) -> Vec<String> {
    fn walk(at: &str, expected: &Value, found: &Value, told: &mut Vec<String>) {
        match (expected, found) {
            (Value::Object(a), Value::Object(b)) => {
                for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                    let none = Value::Null;
                    walk(&format!("{at}.{key}"), a.get(key).unwrap_or(&none), b.get(key).unwrap_or(&none), told);
                }
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                for (index, (a, b)) in a.iter().zip(b).enumerate() {
                    walk(&format!("{at}[{index}]"), a, b, told);
                }
            }
            (a, b) if a != b => told.push(format!("{at}\n  the real one: {a}\n  this one:     {b}")),
            _ => {}
        }
    }
    let mut told = Vec::new();
    for (expected, found) in expected.iter().zip(found) {
        for (index, (a, b)) in expected.say.iter().zip(&found.say).enumerate() {
            let at = format!("{}: {}. {} {}", expected.what, index + 1, a.verb, a.object);
            walk(&at, &a.answer, &b.answer, &mut told);
        }
    }
    told
}

fn hold(expected: &Recorded, found: &[Talk]) {
    let told = differences(&expected.talks, found);
    assert!(told.is_empty(), "{} differences\n{}", told.len(), told.join("\n"));
}

#[test]
fn the_real_one_still_answers_as_recorded() {
    on_cluster(async |target| {
        let mut recorded = recorded();
        let found = play(target, &recorded).await;
        if std::env::var("UPDATE").as_deref() == Ok("1") {
            recorded.talks = found;
            fs_err::write(file(), written(&recorded)).expect("written");
        } else {
            hold(&recorded, &found);
        }
    });
}

#[test]
fn the_sandbox_answers_as_the_real_one_did() {
    on_sandbox(async |target| {
        let recorded = recorded();
        let found = play(target, &recorded).await;
        hold(&recorded, &found);
    });
}

#[test]
fn the_sandbox_holds_every_row() {
    on_sandbox(async |target| control_plane::hold(target).await);
}

/// The kinds that `types.txt` begins from; all types that they are made of follow.
const KINDS: &[&str] = &[
    "apps.v1.StatefulSet",
    "coordination.v1.Lease",
    "core.v1.ConfigMap",
    "core.v1.Event",
    "core.v1.Namespace",
    "core.v1.Node",
    "core.v1.PersistentVolume",
    "core.v1.PersistentVolumeClaim",
    "core.v1.Pod",
    "core.v1.ResourceQuota",
    "core.v1.Secret",
    "core.v1.Service",
    "core.v1.ServiceAccount",
    "networking.v1.NetworkPolicy",
    "policy.v1.PodDisruptionBudget",
    "rbac.v1.Role",
    "rbac.v1.RoleBinding",
    "scheduling.v1.PriorityClass",
    "storage.v1.StorageClass",
];

/// A type of the OpenAPI document as `types.txt` writes it; types that it names are added to `next`.
fn type_of(schema: &Value, next: &mut Vec<String>) -> String {
    let reference = schema["$ref"].as_str().map(|r| r.rsplit('/').next().expect("a name"));
    if let Some(full) = reference {
        let name = full.rsplit('.').next().expect("a name");
        return match name {
            "Time" | "MicroTime" => "t".to_owned(),
            "Quantity" => "q".to_owned(),
            "IntOrString" => "x".to_owned(),
            "FieldsV1" | "RawExtension" => "*".to_owned(),
            name => {
                next.push(full.to_owned());
                name.to_owned()
            }
        };
    }
    match schema["type"].as_str() {
        Some("array") => {
            let item = type_of(&schema["items"], next);
            let merge = match schema["x-kubernetes-list-type"].as_str() {
                Some("set") => "=".to_owned(),
                Some("map") => {
                    let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
                    keys.filter_map(Value::as_str).collect::<Vec<_>>().join(",")
                }
                _ => String::new(),
            };
            format!("[{item}]{merge}")
        }
        Some("object") if schema.get("additionalProperties").is_some() => {
            let whole = if schema["x-kubernetes-map-type"] == "atomic" { "!" } else { "" };
            format!("{{{}}}{whole}", type_of(&schema["additionalProperties"], next))
        }
        Some("string") => "s".to_owned(),
        Some("integer") => "i".to_owned(),
        Some("boolean") => "b".to_owned(),
        Some("number") => "n".to_owned(),
        _ => "*".to_owned(),
    }
}

#[test]
fn the_types_are_the_real_ones() {
    on_cluster(async |target| {
        let request = Request::get("/openapi/v2").body(Vec::new()).expect("a request");
        let text = target.client.request_text(request).await.expect("a document");
        let document: Value = serde_json::from_str(&text).expect("JSON");
        let mut next: Vec<String> = KINDS.iter().map(|kind| format!("io.k8s.api.{kind}")).collect();
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        while let Some(full) = next.pop() {
            let name = full.rsplit('.').next().expect("a name").to_owned();
            if found.contains_key(&name) {
                continue;
            }
            let definition = &document["definitions"][&full];
            let whole = if definition["x-kubernetes-map-type"] == "atomic" { "!" } else { "" };
            let properties = definition["properties"].as_object().into_iter().flatten();
            let fields: Vec<String> =
                properties.map(|(field, schema)| format!(" {field}:{}", type_of(schema, &mut next))).collect();
            found.insert(name.clone(), format!("{name}{whole}{}", fields.concat()));
        }
        let ours = fs_err::read_to_string(project().join("src/sandbox/kubernetes/types.txt")).expect("the table");
        // What the server does with zero values is in no document.
        let plain =
            |line: &str| line.split(' ').map(|word| word.trim_end_matches(['?', '+'])).collect::<Vec<_>>().join(" ");
        let ours: Vec<String> = ours.lines().map(plain).collect();
        let found: Vec<String> = found.into_values().map(|line| plain(&line)).collect();
        let differ =
            |a: &[String], b: &[String]| a.iter().filter(|line| !b.contains(line)).cloned().collect::<Vec<_>>();
        assert_eq!(
            (differ(&ours, &found), differ(&found, &ours)),
            (Vec::new(), Vec::new()),
            "ours only, the server's only"
        );
    });
}

#[test]
fn a_difference_is_found() {
    let talk = |body: Value| Talk {
        what: "t".into(),
        say: vec![Say {
            verb: "get".into(),
            object: "o".into(),
            with: Value::Null,
            name: None,
            query: None,
            body: None,
            answer: json!({ "code": 200, "body": body }),
        }],
    };
    let told = differences(&[talk(json!({ "a": [1, 2], "b": 1 }))], &[talk(json!({ "a": [1, 3], "c": 1 }))]);
    assert_eq!(told.len(), 3, "{told:?}");
}

/// Runs a test in a namespace of its own of a sandbox of its own.
fn on_sandbox(test: impl AsyncFnOnce(&Target)) {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = Utf8Path::from_path(folder.path()).expect("UTF-8").join("contract");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut tell = Some(tell);
        let mut announce = move |endpoints: &Endpoints| {
            if let Some(tell) = tell.take() {
                drop(tell.send(endpoints.clone()));
            }
        };
        let serve = async { sandbox::serve(&dir, Some(spec()), None, &mut announce).await.expect("served") };
        let asked = async {
            let endpoints = told.await.expect("endpoints");
            let target = Target::new(kubeconfig(&endpoints)).await;
            for (name, provisioner, expands) in [
                ("no-provisioner", "kubernetes.io/no-provisioner", false),
                ("expandable", "disk.sandbox.tranship", true),
            ] {
                let class = json!({
                    "metadata": { "name": name }, "provisioner": provisioner, "allowVolumeExpansion": expands,
                    "volumeBindingMode": "WaitForFirstConsumer",
                });
                let class: StorageClass = serde_json::from_value(class).expect("a class");
                let classes = Api::<StorageClass>::all(target.client.clone());
                classes.create(&PostParams::default(), &class).await.expect("a class");
            }
            test(&target).await;
        };
        tokio::select! {
            () = serve => panic!("the sandbox ended"),
            () = asked => {}
        }
    });
}

fn spec() -> SandboxConnection {
    let storage =
        SandboxStorage { name: StorageName::new("default").expect("valid"), disk: Bytes(1 << 30), weight: None };
    SandboxConnection {
        name: "contract".into(),
        repositories: 0,
        snippets: 0,
        group_wikis: 0,
        fork_networks: 0,
        real_limit: 200,
        seed: 7,
        speed: 60,
        workers: 1,
        gitlab_version: "18.2.0-ee".into(),
        gitaly_version: "18.2.0".into(),
        storages: vec![storage],
        pods: Default::default(),
        faults: Vec::new(),
    }
}

/// How a sandbox's cluster is reached.
fn kubeconfig(endpoints: &Endpoints) -> Kubeconfig {
    let name = "sandbox";
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Config", "current-context": name,
        "clusters": [{ "name": name, "cluster": { "server": endpoints.kubernetes_url } }],
        "users": [{ "name": name, "user": { "token": endpoints.kubernetes_token } }],
        "contexts": [{ "name": name, "context": { "cluster": name, "user": name } }],
    }))
    .expect("a kubeconfig")
}
