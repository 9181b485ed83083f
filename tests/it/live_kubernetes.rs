//! What the adapter to a cluster makes of kubeconfigs that cannot be used, of servers that are away, in trouble or no API
//! servers at all: clear errors with what to do, reads repeated within bounds, writes never, no secret in any message.

use std::time::Duration;

use serde_json::{Value, json};
use tranship::apply::port::{Apply, Cluster as _, PortError, PortErrorKind};
use tranship::live::kubernetes::{Access, ClusterTarget, KubeCluster, Patience};
use tranship::model::cluster::{Answer, Manifest, ObjectKey, ObjectKind, Why};

use super::live_fake::{Http, Reply, json as answer, status};

const PATIENCE: Patience = Patience { first: Duration::from_millis(5), total: Duration::from_millis(400) };

fn cluster(access: Access) -> KubeCluster {
    KubeCluster::new(ClusterTarget { access, namespace: "gitaly".into() }).with_patience(PATIENCE)
}

fn at(http: &Http) -> KubeCluster {
    cluster(Access::Server { url: http.url.clone(), token: Some("canary".to_owned().into()) })
}

/// A kubeconfig in a folder of its own.
struct Kubeconfig {
    folder: tempfile::TempDir,
}

impl Kubeconfig {
    fn new(server: &str, user: &Value) -> Self {
        Self::of(&json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "staging",
            "contexts": [
                { "name": "staging", "context": { "cluster": "c", "user": "u" } },
                { "name": "odd", "context": { "cluster": "nowhere", "user": "u" } },
            ],
            "clusters": [{ "name": "c", "cluster": { "server": server } }],
            "users": [{ "name": "u", "user": user }],
        }))
    }

    fn of(config: &Value) -> Self {
        let made = Self { folder: tempfile::tempdir().expect("a folder") };
        fs_err::write(made.path(), config.to_string()).expect("written");
        made
    }

    fn path(&self) -> String {
        self.folder.path().join("config").to_str().expect("UTF-8").to_owned()
    }

    fn cluster(&self, context: Option<&str>) -> KubeCluster {
        cluster(Access::Kubeconfig { file: Some(self.path()), context: context.map(ToOwned::to_owned) })
    }
}

async fn error(cluster: &KubeCluster) -> PortError {
    let error = cluster.version().await.expect_err("an error");
    let told = format!("{error} {error:?} {cluster:?}");
    assert!(!told.contains("canary"), "{told}");
    assert!(!told.contains('\n'), "{told}");
    error
}

fn help(error: &PortError) -> &str {
    error.help.as_deref().expect("what to do")
}

fn says(error: &PortError, parts: &[&str]) {
    let told = format!("{error}. {}", error.help.as_deref().unwrap_or_default());
    for part in parts {
        assert!(told.contains(part), "{part:?} in {told:?}");
    }
}

const HERE: &str = "http://127.0.0.1:9";

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_used_says_why_and_what_to_do() {
    let user = json!({ "token": "canary" });
    let good = Kubeconfig::new(HERE, &user);
    let absent = cluster(Access::Kubeconfig { file: Some("/no/such/kubeconfig".into()), context: None });
    says(&error(&absent).await, &["there is no file /no/such/kubeconfig", "`kubernetes.kubeconfig` or KUBECONFIG"]);
    says(
        &error(&good.cluster(Some("prod"))).await,
        &["has no context named `prod`; it has staging, odd", "kubectl config use-context"],
    );
    says(&error(&good.cluster(Some("odd"))).await, &["has no cluster named `nowhere`"]);
    let none = Kubeconfig::of(&json!({ "contexts": [], "clusters": [], "users": [] }));
    says(&error(&none.cluster(None)).await, &["chooses no context (`current-context`); it has none"]);
    let broken = Kubeconfig::of(&json!({}));
    fs_err::write(broken.path(), "users:\n- name: u\n  user: { token: canary\n").expect("written");
    says(&error(&broken.cluster(None)).await, &["is not the YAML of a kubeconfig"]);
    let odd = Kubeconfig::new("::not a url::", &user);
    says(&error(&odd.cluster(None)).await, &["no usable `server`"]);
    let key = json!({ "client-certificate-data": "canary!", "client-key-data": "canary!" });
    let key = Kubeconfig::new("https://127.0.0.1:9", &key);
    says(&error(&key.cluster(None)).await, &["its client certificate cannot be read: it is not base64"]);
    let file = Kubeconfig::new(HERE, &json!({ "tokenFile": "/no/such/token" }));
    says(&error(&file.cluster(None)).await, &["token file /no/such/token cannot be read"]);
}

#[tokio::test]
async fn a_credential_plugin_that_is_missing_or_fails_is_named_and_its_output_is_not() {
    let exec = |command: &str, args: &[&str]| {
        json!({ "exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": command, "args": args,
            "interactiveMode": "Never", "installHint": "Get it from example.com.",
        }})
    };
    let missing = Kubeconfig::new(HERE, &exec("no-such-plugin", &[]));
    let told = error(&missing.cluster(None)).await;
    says(&told, &["`no-such-plugin` cannot be started: there is no such program", "Get it from example.com."]);
    assert_eq!(told.kind, PortErrorKind::Unauthenticated);
    let failing = exec("sh", &["-c", "echo canary; echo the session has ended >&2; exit 7"]);
    let failing = Kubeconfig::new(HERE, &failing);
    let told = error(&failing.cluster(None)).await;
    says(&told, &["plugin `sh` failed (exit status: 7): the session has ended", "log in again"]);
    let odd = exec("sh", &["-c", "echo '{\"canary\": '"]);
    let odd = Kubeconfig::new(HERE, &odd);
    says(&error(&odd.cluster(None)).await, &["gave no usable credentials"]);
}

#[tokio::test]
async fn credentials_that_expired_are_fetched_anew_once_and_then_told() {
    let unauthorized = r#"{"kind":"Status","code":401,"reason":"Unauthorized","message":"Unauthorized"}"#;
    let http = Http::start(move |_, _| status(401, unauthorized)).await;
    let fixed = Kubeconfig::new(&http.url, &json!({ "token": "canary" }));
    let told = error(&fixed.cluster(None)).await;
    says(
        &told,
        &["does not accept the kubeconfig's credentials (401)", "have expired or were revoked", "log in again"],
    );
    assert_eq!((told.kind, http.seen().len()), (PortErrorKind::Unauthenticated, 2));
    // A plugin's next token is the good one.
    let http = Http::start(move |_, before| match before {
        0 => status(401, unauthorized),
        _ => answer(r#"{"gitVersion":"v1.34.4"}"#),
    })
    .await;
    let counter = tempfile::tempdir().expect("a folder");
    let script = format!(
        "echo x >> {0}/n; n=$(wc -l < {0}/n); echo '{{\"apiVersion\":\"client.authentication.k8s.io/v1\",\
         \"kind\":\"ExecCredential\",\"status\":{{\"token\":\"token-'$n'\"}}}}'",
        counter.path().display()
    );
    let exec = json!({ "exec": { "apiVersion": "client.authentication.k8s.io/v1", "command": "sh",
        "args": ["-c", script], "interactiveMode": "Never" } });
    let plugged = Kubeconfig::new(&http.url, &exec);
    assert_eq!(plugged.cluster(None).version().await.expect("logged in again"), "v1.34.4");
    let tokens: Vec<_> = http.seen().iter().map(|seen| seen.headers["authorization"].clone()).collect();
    assert_ne!(tokens[0], tokens[1]);
    let forbidden = Http::start(move |_, _| status(401, unauthorized)).await;
    let plugged = Kubeconfig::new(&forbidden.url, &exec);
    let told = error(&plugged.cluster(None)).await;
    assert_eq!(help(&told), "Log in again with sh; then run the command again.");
}

#[tokio::test]
async fn a_server_that_is_away_or_is_none_is_told_as_such() {
    let away = Kubeconfig::new(HERE, &json!({ "token": "canary" }));
    let told = error(&away.cluster(Some("staging"))).await;
    says(&told, &["http://127.0.0.1:9: the connection was refused", "--context staging version"]);
    assert!(told.is_transient());
    let named = Kubeconfig::new("http://no-such-host.invalid", &json!({}));
    says(&error(&named.cluster(None)).await, &["its host name is not known"]);
    let page = Http::start(|_, _| Reply::Full(200, "", "<html>canary</html>".into())).await;
    let told = error(&at(&page)).await;
    says(&told, &["the answer is not JSON; is this the API server?"]);
    assert_eq!(told.kind, PortErrorKind::Protocol);
    let other = Http::start(|_, _| answer("{}")).await;
    says(&error(&at(&other)).await, &["no `gitVersion`"]);
    let html = Http::start(|_, _| status(403, "<html>\n<b>no</b>")).await;
    let told = error(&at(&html)).await;
    assert_eq!(told.kind, PortErrorKind::Forbidden, "{told}");
}

#[tokio::test]
async fn a_server_that_restarts_is_waited_for_by_reads_and_never_written_to_twice() {
    let trouble = r#"{"kind":"Status","code":503,"reason":"ServiceUnavailable","message":"etcd is away"}"#;
    // Away for three requests, each in its own way.
    let http = Http::start(move |_, before| match before {
        0 => Reply::Nothing,
        1 => status(503, trouble),
        2 => Reply::Cut(r#"{"gitVersion":"v1.34.4"}"#.into()),
        _ => answer(r#"{"gitVersion":"v1.34.4"}"#),
    })
    .await;
    assert_eq!(at(&http).version().await.expect("it came back"), "v1.34.4");
    assert_eq!(http.seen().len(), 4);

    let body = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x" } });
    let manifest = Manifest { key: ObjectKey { kind: ObjectKind::ConfigMap, name: "x".into() }, body };
    for reply in [|| Reply::Nothing, || status(500, "boom"), || status(504, "late")] {
        let http = Http::start(move |_, _| reply()).await;
        let told = at(&http).apply(&manifest, Apply::default()).await.expect_err("lost");
        assert_eq!((told.kind, http.seen().len()), (PortErrorKind::Ambiguous, 1), "{told}");
        let dry = Apply { dry_run: true, force: false };
        let told = at(&http).apply(&manifest, dry).await.expect_err("in trouble");
        assert!(told.is_transient() && http.seen().len() > 2, "a dry run is repeated: {told}");
    }
    // Busy with others: it was not carried out.
    let busy = r#"{"kind":"Status","code":429,"reason":"TooManyRequests","message":"too many requests","details":{"retryAfterSeconds":1}}"#;
    let http = Http::start(move |_, _| status(429, busy)).await;
    let told = at(&http).apply(&manifest, Apply::default()).await.expect_err("busy");
    assert_eq!((told.kind, told.retry_after), (PortErrorKind::Transient, Some(Duration::from_secs(1))), "{told}");
    let told = cluster(Access::Server { url: HERE.into(), token: None }).apply(&manifest, Apply::default()).await;
    assert_eq!(told.expect_err("refused").kind, PortErrorKind::Transient, "it surely never arrived");
}

#[tokio::test]
async fn what_is_sent_is_what_the_port_says() {
    let http = Http::start(|seen, _| match seen.path() {
        "/api/v1/namespaces/gitaly/pods/p/eviction" => status(
            429,
            r#"{"kind":"Status","code":429,"message":"Cannot evict pod","details":{"causes":[{"reason":"DisruptionBudget","message":"The disruption budget p needs 1 healthy pods and has 1 currently"}]}}"#,
        ),
        _ => answer(r#"{"kind":"X"}"#),
    })
    .await;
    let cluster = at(&http);
    let body = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "a" } });
    let manifest = Manifest { key: ObjectKey { kind: ObjectKind::StatefulSet, name: "a".into() }, body: body.clone() };
    cluster.apply(&manifest, Apply { dry_run: true, force: true }).await.expect("answered");
    let Answer::Refused(refusal) = cluster.evict("p", None, false).await.expect("answered") else { panic!("evicted") };
    assert_eq!(refusal.why, Why::Budget);
    assert!(refusal.message.ends_with("The disruption budget p needs 1 healthy pods and has 1 currently"));
    cluster.grow("c", tranship::model::Bytes(5 << 40), false).await.expect("answered");
    let seen = http.seen();
    let apply = &seen[0];
    assert_eq!((apply.method.as_str(), apply.path()), ("PATCH", "/apis/apps/v1/namespaces/gitaly/statefulsets/a"));
    for (name, value) in
        [("dryRun", "All"), ("force", "true"), ("fieldManager", "tranship"), ("fieldValidation", "Strict")]
    {
        assert_eq!(apply.query(name).as_deref(), Some(value));
    }
    assert_eq!(apply.headers["content-type"], "application/apply-patch+yaml");
    assert_eq!(apply.headers["authorization"], "Bearer canary");
    assert_eq!(serde_json::from_str::<Value>(&apply.body).expect("JSON"), body);
    assert_eq!(seen[2].query("dryRun"), None);
    assert_eq!(seen[2].headers["content-type"], "application/merge-patch+json");
    assert!(seen[2].body.contains(r#""storage":"5Ti""#), "{}", seen[2].body);
    assert_eq!(cluster.requests(), 3);
}

#[tokio::test]
async fn a_list_has_all_pages_and_begins_anew_when_they_ran_out_of_time() {
    let item = |name: &str| format!(r#"{{"metadata":{{"name":"{name}"}}}}"#);
    let http = Http::start(move |seen, before| match (seen.query("continue").as_deref(), before) {
        (None, _) => answer(format!(r#"{{"metadata":{{"continue":"2"}},"items":[{}]}}"#, item("a"))),
        (Some("2"), 1) => status(410, r#"{"kind":"Status","code":410,"reason":"Expired","message":"too old"}"#),
        _ => answer(format!(r#"{{"metadata":{{}},"items":[{}]}}"#, item("b"))),
    })
    .await;
    let items = at(&http).list(ObjectKind::StatefulSet).await.expect("listed");
    let names: Vec<&str> = items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!((&items[0]["kind"], &items[0]["apiVersion"]), (&json!("StatefulSet"), &json!("apps/v1")));
    assert_eq!(http.seen().len(), 4);
    let none = Http::start(|_, _| status(404, "404 page not found\n")).await;
    assert_eq!(at(&none).list(ObjectKind::ServiceMonitor).await.expect("none"), Vec::<Value>::new());
}
