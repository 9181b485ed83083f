//! `rotate`: a pod restarts under its budget while its Gitaly is asked all the time. In memory by a virtual clock, where
//! each second is known; on the real control plane, where evictions and budgets are; and from the command line.

use std::sync::{Arc, Mutex};

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tranship::apply::port::{PortErrorKind, Ports};
use tranship::apply::rotate::{Asked, Before, How, Rotation, Trouble, look, rotate};
use tranship::live::SystemClock;
use tranship::live::kubernetes::{Access, ClusterTarget, KubeCluster};
use tranship::model::cluster::{Answer, ObjectKind, Why};
use tranship::sandbox::memory::Write;

use super::common::cluster::{Target, kubeconfig, on_cluster};
use super::common::home::Home;
use super::common::pods::{Spec, Tool as OnCluster, key, name, uid};
use super::laws::Tool;
use super::pod_laws;

fn asked(storage: &str) -> Asked {
    Asked { storage: name(storage), max_unavailable: 1, deadline_seconds: 120, filesystem_id: None, claim_uid: None }
}

/// What `tranship rotate` does, and what it says.
async fn rotated(ports: &Ports, asked: &Asked) -> (Result<Rotation, Trouble>, String) {
    let before = match look(ports, asked).await {
        Ok(before) => before,
        Err(trouble) => return (Err(trouble), String::new()),
    };
    turned(ports, asked, &before, &CancellationToken::new()).await
}

async fn turned(
    ports: &Ports,
    asked: &Asked,
    before: &Before,
    stop: &CancellationToken,
) -> (Result<Rotation, Trouble>, String) {
    let said = Mutex::new(before.remarks.join("\n"));
    let say = |text: &str| {
        let mut said = said.lock().expect("unpoisoned");
        said.push('\n');
        said.push_str(text);
    };
    let result = rotate(ports, asked, before, stop, &say).await;
    (result, said.into_inner().expect("unpoisoned"))
}

fn no(result: Result<Rotation, Trouble>) -> String {
    let trouble = result.expect_err("it should not have gone well");
    format!("{trouble} / {}", trouble.help)
}

/// A fleet in memory whose pods are up.
async fn fleet(fault: &str, edits: &[(&str, &str)]) -> Tool {
    let mut tool = pod_laws::tool(fault, edits);
    let summary = tool.apply().await;
    assert!(pod_laws::done(&summary), "{summary:?}");
    tool.fleet.clear_writes();
    tool
}

async fn pod_uid(tool: &Tool) -> Option<String> {
    let cluster = tool.ports.cluster.as_ref().expect("a cluster");
    let pod = cluster.get(&key(ObjectKind::Pod, "gitaly-a-0")).await.expect("answered")?;
    Some(uid(&pod))
}

#[tokio::test]
async fn a_restart_is_measured_to_the_tenth_of_a_second() {
    let tool = fleet("", &[]).await;
    let before = pod_uid(&tool).await;
    let (result, said) = rotated(&tool.ports, &asked("gitaly-a")).await;
    let rotation = result.expect("rotated");
    assert_ne!(pod_uid(&tool).await, before, "the pod is another one");
    let evicted = Write::Cluster("evict", key(ObjectKind::Pod, "gitaly-a-0"));
    assert_eq!(tool.fleet.writes(), [evicted], "nothing else was changed");
    // The embedded cluster's pod stops for two seconds and starts for two; a tick of a fifth at either end.
    assert!((40..=46).contains(&rotation.outage_seconds.0), "{rotation:?}");
    let phases = rotation.phases.named().map(|(_, tenths, _)| tenths.0);
    let [terminating, detach, attach, start, ready] = phases;
    assert!((20..=24).contains(&terminating) && detach <= 2 && attach <= 2, "{phases:?}");
    assert!((8..=12).contains(&start) && (8..=12).contains(&ready), "{phases:?}");
    assert_eq!(phases.iter().sum::<u32>(), rotation.total_seconds.0, "nothing between the phases");
    assert!(said.contains("told to stop") && said.contains("waiting until"), "{said}");
    assert!(rotation.missed && rotation.how == How::Evicted);
    assert!(tool.plan().await.is_empty(), "the restart left nothing to do");
}

#[tokio::test]
async fn a_budget_of_none_is_passed_by_and_said_so_and_another_ones_budget_is_not() {
    let tool = fleet("", &[("cpu            = 2", "cpu            = 2\n  max_unavailable = 0")]).await;
    let mut asked = asked("gitaly-a");
    let told = no(rotated(&tool.ports, &asked).await.0);
    assert!(told.contains("may not be evicted") && told.contains("kubectl get pdb"), "{told}");
    asked.max_unavailable = 0;
    let (result, said) = rotated(&tool.ports, &asked).await;
    assert_eq!(result.expect("rotated").how, How::Deleted);
    assert!(said.contains("it is deleted instead") && said.contains("needs 1 healthy pods"), "{said}");
    assert!(matches!(tool.fleet.writes().as_slice(), [Write::Cluster("delete", _)]));
}

#[tokio::test]
async fn what_could_not_be_measured_or_would_not_come_back_is_not_begun() {
    let tool = fleet("", &[]).await;
    let told = async |asked: &Asked| match look(&tool.ports, asked).await {
        Ok(_) => panic!("it was found in order"),
        Err(trouble) => format!("{trouble} / {}", trouble.help),
    };
    assert!(told(&asked("gitaly-x")).await.contains("has no StatefulSet yet / Make it first: tranship apply"));
    tool.fleet.set_reachable(&name("gitaly-a"), false);
    assert!(told(&asked("gitaly-a")).await.contains("does not answer now"));
    tool.fleet.set_reachable(&name("gitaly-a"), true);
    let other = Asked { filesystem_id: Some("another".to_owned()), ..asked("gitaly-a") };
    assert!(told(&other).await.contains("another disk is behind gitaly-a"));
    assert_eq!(tool.fleet.writes(), [], "a look changes nothing");
}

#[tokio::test]
async fn a_pod_is_not_stopped_while_its_claim_is_being_deleted() {
    let tool = fleet("", &[]).await;
    let asked = asked("gitaly-a");
    let before = look(&tool.ports, &asked).await.expect("in order");
    let pod = pod_uid(&tool).await;
    tool.fleet.delete_object(&key(ObjectKind::PersistentVolumeClaim, "repo-data-gitaly-a-0"));
    // Between the look and the call, and before either.
    let told = no(turned(&tool.ports, &asked, &before, &CancellationToken::new()).await.0);
    assert!(told.contains("is being deleted") && told.contains("Nothing was done"), "{told}");
    let told = no(rotated(&tool.ports, &asked).await.0);
    assert!(told.contains("is being deleted") && told.contains("kubectl patch pv"), "{told}");
    assert_eq!((pod_uid(&tool).await, tool.fleet.writes()), (pod, Vec::new()));
}

#[tokio::test]
async fn a_pod_that_is_another_one_by_now_is_not_evicted() {
    let tool = fleet("", &[]).await;
    let cluster = tool.ports.cluster.as_ref().expect("a cluster");
    let Answer::Refused(refusal) = cluster.evict("gitaly-a-0", Some("another"), false).await.expect("answered") else {
        panic!("evicted")
    };
    assert_eq!(refusal.why, Why::Conflict, "{refusal:?}");
    let uid = pod_uid(&tool).await;
    let accepted = cluster.evict("gitaly-a-0", uid.as_deref(), true).await.expect("answered");
    assert!(matches!(accepted, Answer::Accepted(_)), "{accepted:?}");
}

#[tokio::test]
async fn a_lost_answer_restarts_no_pod_twice_and_a_server_that_is_away_is_waited_for() {
    for kind in [PortErrorKind::Transient, PortErrorKind::Ambiguous] {
        let tool = fleet("", &[]).await;
        let asked = asked("gitaly-a");
        let before = look(&tool.ports, &asked).await.expect("in order");
        tool.fleet.fail_next("evict", 2, kind);
        let (result, said) = turned(&tool.ports, &asked, &before, &CancellationToken::new()).await;
        assert_eq!(result.expect("rotated").how, How::Evicted, "{said}");
        assert!(tool.plan().await.is_empty());
    }
}

#[tokio::test]
async fn a_pod_that_does_not_come_back_is_told_with_the_reason() {
    // The third pod that is made is the restarted one.
    let tool = fleet("fault \"pod_pending\" { nth = 3 }", &[]).await;
    let (result, said) = rotated(&tool.ports, &asked("gitaly-a")).await;
    let told = no(result);
    assert!(told.contains("gitaly-a is not back 120 s after its pod was told to stop"), "{told}");
    assert!(told.contains("Insufficient memory") && told.contains("tranship plan"), "{told}");
    assert!(said.contains("finds no node"), "{said}");
}

#[tokio::test]
async fn an_empty_disk_after_the_restart_is_an_alarm() {
    let tool = fleet("fault \"empty_disk\" {}", &[]).await;
    let (result, _) = rotated(&tool.ports, &asked("gitaly-a")).await;
    let told = no(result);
    assert!(told.contains("another disk is behind gitaly-a since it restarted"), "{told}");
}

#[tokio::test]
async fn a_signal_before_the_pod_is_told_to_stop_ends_it_and_a_later_one_is_explained() {
    let tool = fleet("", &[]).await;
    let asked = asked("gitaly-a");
    let before = look(&tool.ports, &asked).await.expect("in order");
    let stop = CancellationToken::new();
    stop.cancel();
    let (result, _) = turned(&tool.ports, &asked, &before, &stop).await;
    assert!(result.expect_err("stopped").interrupted);
    assert_eq!(tool.fleet.writes(), []);
    let stop = CancellationToken::new();
    let said = Mutex::new(String::new());
    let say = |text: &str| {
        if text.contains("was told to stop") {
            stop.cancel();
        }
        said.lock().expect("unpoisoned").push_str(text);
    };
    rotate(&tool.ports, &asked, &before, &stop, &say).await.expect("watched to its end");
    assert!(said.into_inner().expect("unpoisoned").contains("comes back by itself"));
}

/// tranship on the test's namespace of the real control plane.
async fn on(target: &Target) -> OnCluster {
    target.secret("gitaly-token", "token", "t0ken-canary").await;
    target.secret("shell-secret", "secret", "shell-canary").await;
    let access = Access::Kubeconfig { file: kubeconfig().map(String::from), context: None };
    let cluster = KubeCluster::new(ClusterTarget { access, namespace: target.namespace.clone() });
    let mut tool = OnCluster::on(Arc::new(cluster), &target.namespace);
    tool.ports.clock = Arc::new(SystemClock);
    tool
}

#[test]
fn a_real_pod_restarts_under_its_real_budget() {
    on_cluster(async |target| {
        let mut tool = on(target).await;
        let mut spec = Spec::new(&["gitaly-a"]);
        assert_eq!(tool.apply(&spec).await.summary.failed, 0, "{}", tool.told());
        let pod = async |tool: &OnCluster| uid(&tool.live(ObjectKind::Pod, "gitaly-a-0").await.expect("a pod"));
        let recorded = tool.state().storage(&name("gitaly-a")).and_then(|record| record.filesystem_id.clone());
        let asked = Asked { filesystem_id: recorded, ..asked("gitaly-a") };
        let first = pod(&tool).await;
        let (result, said) = rotated(&tool.ports, &asked).await;
        let rotation = result.unwrap_or_else(|trouble| panic!("{trouble} {}\n{said}", trouble.help));
        assert_ne!(pod(&tool).await, first);
        assert!(rotation.missed && rotation.how == How::Evicted && rotation.outage_seconds.0 > 0, "{rotation:?}");
        assert!(rotation.total_seconds >= rotation.outage_seconds, "{rotation:?}");
        assert!(tool.plan(&spec).await.is_empty());
        // A budget of none.
        spec.more = "max_unavailable = 0".into();
        assert_eq!(tool.apply(&spec).await.summary.failed, 0, "{}", tool.told());
        let counted = |budget: &PodDisruptionBudget| {
            budget.status.as_ref().and_then(|status| status.observed_generation) == budget.metadata.generation
        };
        target.until("gitaly-a", "counted", counted).await;
        let told = look(&tool.ports, &asked).await.expect_err("the budget forbids it").to_string();
        assert!(told.contains("needs 1 healthy pods and has 1 currently"), "{told}");
        let asked = Asked { max_unavailable: 0, ..asked };
        let (result, said) = rotated(&tool.ports, &asked).await;
        assert_eq!(result.expect("rotated").how, How::Deleted);
        assert!(said.contains("it is deleted instead"), "{said}");
    });
}

#[test]
fn a_pod_that_admission_would_not_let_in_again_is_not_restarted() {
    on_cluster(async |target| {
        let mut tool = on(target).await;
        let classes: kube::Api<k8s_openapi::api::scheduling::v1::PriorityClass> = kube::Api::all(target.client.clone());
        let class = format!("of-{}", target.namespace);
        let body = json!({ "metadata": { "name": class }, "value": 10 });
        let made = classes.create(&Default::default(), &serde_json::from_value(body).expect("a class")).await;
        made.expect("made");
        let spec = Spec { priority: class.clone(), ..Spec::new(&["gitaly-a"]) };
        assert_eq!(tool.apply(&spec).await.summary.failed, 0, "{}", tool.told());
        look(&tool.ports, &asked("gitaly-a")).await.expect("in order");
        classes.delete(&class, &Default::default()).await.expect("deleted");
        let told = look(&tool.ports, &asked("gitaly-a")).await.expect_err("it would not come back").to_string();
        assert!(told.contains("would not come back") && told.contains("no PriorityClass with name"), "{told}");
        // A quota that has room for the running pod alone is no reason.
        let mut tool = on(target).await;
        let spec = Spec::new(&["gitaly-b"]);
        assert_eq!(tool.apply(&spec).await.summary.failed, 0, "{}", tool.told());
        target.quota(&json!({ "requests.cpu": "2500m" })).await;
        let told = async || look(&tool.ports, &asked("gitaly-b")).await.expect("in order").remarks.join(" ");
        let mut remarks = told().await;
        // The quota's controller counts what is there first.
        for _ in 0..50 {
            if !remarks.is_empty() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            remarks = told().await;
        }
        assert!(remarks.contains("exceeded quota") && remarks.contains("the old one's room"), "{remarks}");
    });
}

#[test]
fn a_volumes_attachment_is_seen_where_its_driver_makes_one() {
    on_cluster(async |target| {
        let tool = on(target).await;
        let namespace = &target.namespace;
        let volume = format!("csi-of-{namespace}");
        let client = target.client.clone();
        let volumes: kube::Api<k8s_openapi::api::core::v1::PersistentVolume> = kube::Api::all(client.clone());
        let attachments: kube::Api<k8s_openapi::api::storage::v1::VolumeAttachment> = kube::Api::all(client);
        let body = json!({
            "metadata": { "name": volume },
            "spec": { "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Gi" },
                "csi": { "driver": "disk.example.com", "volumeHandle": format!("handle-{namespace}") } },
        });
        let made = volumes.create(&Default::default(), &serde_json::from_value(body).expect("a volume")).await;
        made.expect("made");
        assert_eq!(tool.cluster.attached(&volume, "node-0").await, Ok(Some(false)));
        assert_eq!(tool.cluster.attached("no-such-volume", "node-0").await, Ok(None));
        // As the attach controller names it: csi-, and SHA-256 of handle, driver and node.
        let name = {
            use sha2::Digest as _;
            let text = format!("handle-{namespace}disk.example.comnode-0");
            format!("csi-{}", hex::encode(sha2::Sha256::digest(text)))
        };
        let body = json!({
            "metadata": { "name": name },
            "spec": { "attacher": "disk.example.com", "nodeName": "node-0", "source": { "persistentVolumeName": volume } },
        });
        let made = attachments.create(&Default::default(), &serde_json::from_value(body).expect("one")).await;
        made.expect("made");
        assert_eq!(tool.cluster.attached(&volume, "node-0").await, Ok(Some(true)));
        assert_eq!(tool.cluster.attached(&volume, "node-1").await, Ok(Some(false)));
        attachments.delete(&name, &Default::default()).await.expect("deleted");
        volumes.delete(&volume, &Default::default()).await.expect("deleted");
    });
}

#[test]
fn from_the_command_line_it_is_recorded_shown_by_plans_and_held_against_the_budget() {
    let home = Home::of_example("vm-to-pods");
    let ended = |arguments: &[&str], code: i32| {
        let ended = home.tranship(arguments);
        assert_eq!(ended.code, code, "{arguments:?}\n{}\n{}", ended.out, ended.err);
        ended
    };
    ended(&["apply", "--auto-approve"], 0);
    // Somebody must say yes.
    let unasked = ended(&["rotate", "gitaly-a"], 1);
    assert!(unasked.err.contains("nobody was asked") && unasked.err.contains("--auto-approve"), "{unasked:?}");
    ended(&["rotate", "gitaly-a", "--json"], 3);
    let near = ended(&["rotate", "gitaly-d", "--auto-approve"], 1);
    assert!(near.err.contains("declares no such storage") && near.err.contains("Did you mean gitaly-"), "{near:?}");
    let vm = ended(&["rotate", "default", "--auto-approve"], 1);
    assert!(vm.err.contains("storage.default has no pod"), "{vm:?}");
    let measured = ended(&["rotate", "storage.gitaly[\"a\"]", "--auto-approve", "--json"], 0);
    let measured: Value = serde_json::from_str(&measured.out).expect("JSON");
    assert_eq!((&measured["storage"], &measured["within_budget"]), (&json!("gitaly-a"), &json!(true)));
    let seconds = measured["outage_seconds"].as_f64().expect("seconds");
    assert!(seconds > 0.0, "{measured}");
    let state: Value = serde_json::from_str(&home.read("tranship.state.json")).expect("JSON");
    assert_eq!(state["records"]["storage.gitaly-a"]["rotation_seconds"].as_f64(), Some(seconds));
    let plan = ended(&["plan", "--var", "gitaly_version=v18.3.0"], 0);
    assert!(plan.out.contains(&format!("for about {seconds:.1} s, as its last measured restart")), "{}", plan.out);
    assert!(plan.out.contains("not measured yet") && plan.out.contains("tranship rotate gitaly-b"), "{}", plan.out);
    ended(&["plan", "--detailed-exitcode"], 0);
    // Above the budget: measured and recorded all the same.
    let text = home.read("main.hcl").replace("rotation_budget = \"60s\"", "rotation_budget = \"1s\"");
    home.write("main.hcl", &text);
    let over = ended(&["rotate", "gitaly-b", "--auto-approve"], 1);
    assert!(over.out.contains("above its rotation_budget of 1 s") && over.out.contains("terminating"), "{over:?}");
    assert!(over.err.contains("above its rotation_budget of 1 s"), "{over:?}");
    assert!(home.read("tranship.state.json").contains("rotation_seconds"));
    let shown = ended(&["show"], 0);
    assert!(shown.out.contains("last restart"), "{}", shown.out);
}
