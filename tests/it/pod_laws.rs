//! The laws for pod storages, over the in-memory fleet and its embedded cluster: a VM is drained into pods that the same
//! apply brings up.

use std::collections::BTreeMap;

use camino::Utf8Path;
use tranship::apply::event::Summary;
use tranship::config::{self, VariableInputs};
use tranship::model::cluster::{ObjectKey, ObjectKind};
use tranship::model::{Connection, Desired, SandboxConnection, StorageName};
use tranship::plan::{Level, Plan};
use tranship::sandbox::PodNeeds;
use tranship::sandbox::memory::{KillPoint, Write};

use super::laws::{Tool, process};

const MAIN: &str = r#"
tranship {
  environment = "laws"
}
sandbox "laws" {
  repositories = 5
  real_limit   = 0
  speed        = 1
  pod_start    = "2s"
  FAULT
  storage "default" {
    disk = "1Ti"
  }
}
pod_spec "small" {
  image          = "cng/gitaly:v18.2.0"
  cpu            = 2
  memory         = "8Gi"
  priority_class = "gitaly"
  disk {
    size  = "100Gi"
    class = "premium-rwo"
  }
  cgroups {
    memory = "6Gi"
    count  = 100
  }
}
storage "default" {
  drain = true
}
storage "gitaly" {
  for_each = toset(["a", "b"])
  name     = "gitaly-${each.key}"
  pod      = pod_spec.small
  zone     = "europe-west1-${each.key}"
  weight   = 100
}
assignment "everything" {
  from = [storage.default]
  to   = values(storage.gitaly)
}
rollout {
  backup = "none"
}
"#;

/// The configuration with what is other.
fn read(fault: &str, edits: &[(&str, &str)]) -> Desired {
    let mut text = MAIN.replace("FAULT", fault);
    for (from, to) in edits {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("main.hcl"), text).expect("written");
    let loaded = config::load(Utf8Path::from_path(folder.path()).expect("UTF-8"), &VariableInputs::default());
    assert!(!loaded.diagnostics.has_errors(), "{:?}", loaded.diagnostics);
    loaded.desired.expect("a configuration")
}

fn spec(desired: &Desired) -> SandboxConnection {
    let Connection::Sandbox(spec) = &desired.connection else { panic!("a sandbox") };
    spec.clone()
}

pub(crate) fn tool(fault: &str, edits: &[(&str, &str)]) -> Tool {
    let desired = read(fault, edits);
    let tool = Tool::of(&spec(&desired), desired);
    let cluster = tool.desired.cluster.as_ref().expect("a cluster");
    let mut needs = PodNeeds { namespace: cluster.namespace.clone(), ..PodNeeds::default() };
    for secret in [&cluster.gitaly_token, &cluster.shell_secret].into_iter().flatten() {
        needs.secrets.entry(secret.name.clone()).or_default().insert(secret.key.clone());
    }
    tool.fleet.expect_pods(&needs);
    tool
}

pub(crate) fn done(summary: &Summary) -> bool {
    summary.failed == 0 && summary.refused == 0 && summary.unknown == 0
}

fn name(text: &str) -> StorageName {
    StorageName::new(text).expect("valid")
}

fn actions(plan: &Plan) -> Vec<String> {
    plan.actions.iter().map(|a| a.address.to_string()).collect()
}

#[tokio::test]
async fn pods_come_up_take_the_repositories_and_then_nothing_is_left_to_do() {
    let mut tool = tool("", &[]);
    let plan = tool.plan().await;
    assert_eq!(tool.fleet.writes(), [], "a plan changes nothing");
    assert!(actions(&plan).iter().any(|a| a == "pod.gitaly-a[\"StatefulSet\"]"), "{:?}", actions(&plan));
    let summary = tool.apply().await;
    assert!(done(&summary), "{summary:?}\n{:?}", tool.events());
    assert!(tool.fleet.projects().iter().all(|p| p.storage.as_str().starts_with("gitaly-")));
    let plan = tool.plan().await;
    assert!(plan.is_empty(), "{:?}", actions(&plan));
    // What an operator's namespace has besides stays, and no data is ever deleted.
    let deleted = |w: &Write| matches!(w, Write::Cluster("delete", _));
    assert!(!tool.fleet.writes().iter().any(deleted), "{:?}", tool.fleet.writes());
}

#[test]
fn killed_at_any_call_the_next_apply_ends_in_the_same_world() {
    let mut undisturbed = tool("", &[]);
    let summary = process().block_on(undisturbed.apply());
    assert!(done(&summary), "{summary:?}");
    // Whatever is left after a crash is placed anew: the same repositories whole, on either pod.
    let whole = |tool: &Tool| -> BTreeMap<_, _> {
        tool.fleet.fingerprint().into_iter().map(|((_, path), refs)| (path, refs)).collect()
    };
    let world = whole(&undisturbed);
    let calls = undisturbed.fleet.calls();
    let all = std::env::var_os("TRANSHIP_ALL_KILLS").is_some();
    let mut tried = 0;
    for call in (1..=calls).step_by(if all { 1 } else { 11 }) {
        let point = if call % 2 == 0 { KillPoint::Before } else { KillPoint::After };
        let mut tool = tool("", &[]);
        tool.fleet.kill_at(call, point);
        let fleet = tool.fleet.clone();
        let killed = process().block_on(async {
            tokio::select! {
                _ = tool.apply() => false,
                () = fleet.killed() => true,
            }
        });
        // Waits beside each other ask a little more or less often each time.
        assert!(killed || call > calls * 3 / 4, "call {call} of {calls} was never made");
        tool.fleet.revive();
        process().block_on(async {
            let summary = tool.apply().await;
            assert!(done(&summary), "killed {point:?} call {call}: {summary:?}");
            let plan = tool.plan().await;
            assert!(plan.is_empty(), "killed {point:?} call {call}: {:?}", actions(&plan));
        });
        assert_eq!(whole(&tool), world, "killed {point:?} call {call}");
        tried += 1;
    }
    println!("{tried} kills over {calls} calls");
}

#[tokio::test]
async fn a_pod_that_hangs_is_told_and_the_next_apply_brings_it_up() {
    for (fault, told) in
        [("pod_pending", "Insufficient memory"), ("image_pull", "ImagePullBackOff"), ("pod_crash", "CrashLoopBackOff")]
    {
        let mut tool = tool(&format!("fault \"{fault}\" {{}}"), &[]);
        let summary = tool.apply().await;
        assert!(!done(&summary), "{fault}: {summary:?}");
        let events = format!("{:?}", tool.events());
        assert!(events.contains(told), "{fault}: {events}");
        // Whoever looks at it deletes the pod; the next one is sound.
        for pod in ["gitaly-a-0", "gitaly-b-0"] {
            let key = ObjectKey { kind: ObjectKind::Pod, name: pod.to_owned() };
            tool.fleet.delete_object(&key);
        }
        tool.fleet.advance(std::time::Duration::from_secs(120));
        let summary = tool.apply().await;
        assert!(done(&summary), "{fault}: {summary:?}");
        assert!(tool.plan().await.is_empty(), "{fault}");
    }
}

#[tokio::test]
async fn a_lost_right_or_connection_leaves_what_the_next_apply_finishes() {
    for fault in ["rbac_forbidden", "api_away"] {
        for nth in [1, 3, 6] {
            let mut tool = tool(&format!("fault \"{fault}\" {{ nth = {nth} }}"), &[]);
            tool.apply().await;
            let summary = tool.apply().await;
            assert!(done(&summary), "{fault} {nth}: {summary:?}");
            assert!(tool.plan().await.is_empty(), "{fault} {nth}");
        }
    }
}

#[tokio::test]
async fn an_empty_disk_behind_a_known_storage_is_an_alarm() {
    let mut tool = tool("fault \"empty_disk\" {}", &[]);
    let summary = tool.apply().await;
    assert!(done(&summary), "{summary:?}");
    let key = ObjectKey { kind: ObjectKind::Pod, name: "gitaly-a-0".to_owned() };
    tool.fleet.delete_object(&key);
    tool.fleet.advance(std::time::Duration::from_secs(120));
    assert!(!tool.fleet.world(|w| w.is_down(&name("gitaly-a"), jiff::Timestamp::UNIX_EPOCH)), "it came back");
    let plan = tool.plan().await;
    let told = format!("{:?}", plan.findings);
    assert!(told.contains("filesystem") || told.contains("disk"), "{told}");
}

#[tokio::test]
async fn an_edit_rolls_grows_or_makes_anew_and_then_nothing_is_left_to_do() {
    for (edit, action) in [
        (("cng/gitaly:v18.2.0", "cng/gitaly:v18.3.0"), "pod.gitaly-a[\"StatefulSet\"]"),
        (("\"100Gi\"", "\"200Gi\""), "disk.gitaly-a"),
        (
            ("memory         = \"8Gi\"", "memory         = \"8Gi\"\n  extra = { spec = { serviceName = \"other\" } }"),
            "pod.gitaly-a[\"StatefulSet\"]",
        ),
    ] {
        let mut tool = tool("", &[]);
        assert!(done(&tool.apply().await));
        let before = tool.fleet.fingerprint();
        tool.desired = read("", &[edit]);
        let plan = tool.plan().await;
        assert!(actions(&plan).iter().any(|a| a.starts_with(action)), "{edit:?}: {:?}", actions(&plan));
        let summary = tool.apply().await;
        assert!(done(&summary), "{edit:?}: {summary:?}\n{:?}", tool.events());
        let plan = tool.plan().await;
        assert!(plan.is_empty(), "{edit:?}: {:?}", actions(&plan));
        assert_eq!(tool.fleet.fingerprint(), before, "{edit:?}: every repository is where it was");
    }
}

/// The codes of a plan's errors.
fn errors(plan: &Plan) -> Vec<&str> {
    let errors = plan.findings.iter().filter(|finding| finding.level == Level::Error);
    errors.map(|finding| finding.code.as_str()).collect()
}

fn claim() -> ObjectKey {
    ObjectKey { kind: ObjectKind::PersistentVolumeClaim, name: "repo-data-gitaly-a-0".to_owned() }
}

fn pod() -> ObjectKey {
    ObjectKey { kind: ObjectKind::Pod, name: "gitaly-a-0".to_owned() }
}

#[tokio::test]
async fn no_apply_stops_a_pod_that_keeps_a_claim_that_is_being_deleted() {
    for edit in [
        ("cng/gitaly:v18.2.0", "cng/gitaly:v18.3.0"),
        ("memory         = \"8Gi\"", "memory         = \"8Gi\"\n  extra = { spec = { serviceName = \"other\" } }"),
    ] {
        let mut tool = tool("", &[]);
        assert!(done(&tool.apply().await));
        let cluster = tool.ports.cluster.clone().expect("a cluster");
        let before = cluster.get(&pod()).await.expect("answered").expect("a pod");
        tool.desired = read("", &[edit]);
        let early = tool.plan().await;
        tool.fleet.delete_object(&claim());
        let plan = tool.plan().await;
        assert_eq!(errors(&plan), ["claim-terminating"], "{edit:?}");
        // The plan of before.
        let summary = tool.run(&early).await.summary;
        assert!(summary.failed >= 1, "{edit:?}: {summary:?}");
        let after = cluster.get(&pod()).await.expect("answered").expect("a pod");
        assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"], "{edit:?}");
        assert!(cluster.get(&claim()).await.expect("answered").is_some(), "{edit:?}");
    }
}

#[tokio::test]
async fn what_is_gone_with_its_repositories_is_not_made_anew() {
    let mut tool = tool("", &[]);
    assert!(done(&tool.apply().await));
    let set = ObjectKey { kind: ObjectKind::StatefulSet, name: "gitaly-a".to_owned() };
    let cluster = tool.ports.cluster.clone().expect("a cluster");
    for key in [set.clone(), pod(), claim()] {
        tool.fleet.delete_object(&key);
        tool.fleet.advance(std::time::Duration::from_secs(60));
    }
    for key in [&set, &pod(), &claim()] {
        assert_eq!(cluster.get(key).await.expect("answered"), None, "{key}");
    }
    assert!(errors(&tool.plan().await).contains(&"claim-gone"));
    // Without a record GitLab's lists tell.
    tool.lose_record(&name("gitaly-a"));
    assert!(errors(&tool.plan().await).contains(&"storage-in-use"));
}

#[tokio::test]
async fn an_empty_disk_is_not_recorded_where_gitlab_lists_repositories() {
    let mut tool = tool("fault \"empty_disk\" {}", &[]);
    assert!(done(&tool.apply().await));
    tool.fleet.delete_object(&pod());
    tool.fleet.advance(std::time::Duration::from_secs(120));
    tool.lose_record(&name("gitaly-a"));
    let plan = tool.plan().await;
    let summary = tool.run(&plan).await.summary;
    assert_eq!((summary.alarms, summary.failed), (1, 1), "{summary:?}\n{:?}", tool.events());
    assert!(tool.state().storage(&name("gitaly-a")).is_none_or(|record| record.filesystem_id.is_none()));
}

#[tokio::test]
async fn a_patch_of_the_claims_that_is_taken_back_makes_the_set_anew_around_its_pod() {
    let labels = "memory         = \"8Gi\"\n  extra = { spec = { volumeClaimTemplates = [{ metadata = { name = \"repo-data\", labels = { a = \"b\" } } }] } }";
    let mut tool = tool("", &[("memory         = \"8Gi\"", labels)]);
    assert!(done(&tool.apply().await));
    let cluster = tool.ports.cluster.clone().expect("a cluster");
    let before = cluster.get(&pod()).await.expect("answered").expect("a pod");
    tool.desired = read("", &[]);
    let plan = tool.plan().await;
    assert!(plan.findings.iter().any(|finding| finding.code == "statefulset-recreated"), "{:?}", plan.findings);
    let summary = tool.apply().await;
    assert!(done(&summary), "{summary:?}\n{:?}", tool.events());
    assert!(format!("{:?}", tool.events()).contains("made anew; its pod was not restarted"), "{:?}", tool.events());
    let after = cluster.get(&pod()).await.expect("answered").expect("a pod");
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert!(tool.plan().await.is_empty());
}

#[tokio::test]
async fn a_set_that_is_made_anew_without_what_its_template_had_restarts_its_pod_and_says_so() {
    let extra = |patch: &str| format!("memory         = \"8Gi\"\n  extra = {{ spec = {{ {patch} }} }}");
    let noted = extra("template = { metadata = { annotations = { note = \"x\" } } }");
    let mut tool = tool("", &[("memory         = \"8Gi\"", &noted)]);
    assert!(done(&tool.apply().await));
    let cluster = tool.ports.cluster.clone().expect("a cluster");
    let before = cluster.get(&pod()).await.expect("answered").expect("a pod");
    tool.desired = read("", &[("memory         = \"8Gi\"", &extra("serviceName = \"other\""))]);
    let plan = tool.plan().await;
    let codes: Vec<&str> = plan.findings.iter().map(|finding| finding.code.as_str()).collect();
    assert!(codes.contains(&"pod-restarts") && codes.contains(&"statefulset-recreated"), "{codes:?}");
    let summary = tool.apply().await;
    assert!(done(&summary), "{summary:?}\n{:?}", tool.events());
    assert!(format!("{:?}", tool.events()).contains("made anew; its pod restarts"), "{:?}", tool.events());
    let after = cluster.get(&pod()).await.expect("answered").expect("a pod");
    assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert!(tool.plan().await.is_empty());
}

#[tokio::test]
async fn a_set_whose_claims_would_go_with_it_is_told_to_retain_them_first() {
    let mut tool = tool("", &[]);
    assert!(done(&tool.apply().await));
    let cluster = tool.ports.cluster.clone().expect("a cluster");
    let wanted = tranship::plan::pods::wanted(&tool.desired);
    let set = |manifest: &&tranship::model::cluster::Manifest| manifest.key.kind == ObjectKind::StatefulSet;
    let mut manifest = wanted.storages[&name("gitaly-a")].manifests.iter().find(set).expect("a set").clone();
    manifest.body["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] = "Delete".into();
    cluster.apply(&manifest, tranship::apply::port::Apply::default()).await.expect("applied");
    tool.fleet.advance(std::time::Duration::from_secs(5));
    let before = cluster.get(&claim()).await.expect("answered").expect("a claim");
    assert!(before["metadata"]["ownerReferences"][0]["uid"].is_string(), "{before}");
    let extra = "memory         = \"8Gi\"\n  extra = { spec = { serviceName = \"other\" } }";
    tool.desired = read("", &[("memory         = \"8Gi\"", extra)]);
    let summary = tool.apply().await;
    assert!(done(&summary), "{summary:?}\n{:?}", tool.events());
    let after = cluster.get(&claim()).await.expect("answered").expect("a claim");
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert!(after["metadata"].get("deletionTimestamp").is_none() && after["metadata"].get("ownerReferences").is_none());
    assert!(tool.plan().await.is_empty());
}

#[tokio::test]
async fn a_zone_that_the_volume_cannot_follow_to_is_an_error() {
    let mut tool = tool("", &[]);
    assert!(done(&tool.apply().await));
    tool.desired = read("", &[("europe-west1-${each.key}", "europe-west1-b")]);
    let plan = tool.plan().await;
    assert_eq!(errors(&plan), ["pod-finds-no-node"], "{:?}", plan.findings);
    let told = plan.findings.iter().find(|finding| finding.code == "pod-finds-no-node").expect("told");
    assert!(told.subject == "gitaly-a" && told.message.contains("reaches its volume"), "{told:?}");
}

#[tokio::test]
async fn another_environment_takes_no_pod_over() {
    let mut tool = tool("", &[]);
    assert!(done(&tool.apply().await));
    let cluster = tool.ports.cluster.clone().expect("a cluster");
    let before = cluster.get(&pod()).await.expect("answered").expect("a pod");
    for storage in ["gitaly-a", "gitaly-b"] {
        tool.lose_record(&name(storage));
    }
    tool.desired = read("", &[("\"laws\"\n}", "\"other\"\n}"), ("cng/gitaly:v18.2.0", "cng/gitaly:v18.3.0")]);
    let plan = tool.plan().await;
    assert_eq!(errors(&plan), ["environment-of-another"; 2], "{:?}", plan.findings);
    assert!(actions(&plan).iter().all(|action| !action.contains("gitaly-")), "{:?}", actions(&plan));
    let after = cluster.get(&pod()).await.expect("answered").expect("a pod");
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
}
