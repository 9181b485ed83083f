//! The engine's actions on a cluster and the reading of it, against the real control plane: what they find, send, wait for
//! and leave alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tranship::apply::RunResult;
use tranship::apply::port::{Apply, Cluster, Delete, PortErrorKind};
use tranship::apply::rotate::{self, Asked};
use tranship::live::kubernetes::{Access, ClusterTarget, KubeCluster};
use tranship::live::{self, Request, SystemClock};
use tranship::model::cluster::{Answer, ClusterFacts, Counted, Manifest, ObjectKind, Why};
use tranship::model::{Bytes, Reading};
use tranship::plan::pods;
use tranship::plan::{Action, Change, Options, Plan};
use tranship::state::State;
use tranship::state::store::Store as _;

use super::common::cluster::{Target, bound, kubeconfig, on_cluster};
use super::common::pods::{Spec, Tool, action, apply_of, empty_plan, key, name, uid};

/// The adapter as the command line makes it.
fn kube_cluster(file: Option<String>, namespace: &str) -> KubeCluster {
    let access = Access::Kubeconfig { file, context: None };
    KubeCluster::new(ClusterTarget { access, namespace: namespace.to_owned() })
}

/// A kubeconfig's file, gone when dropped.
fn written(kubeconfig: &kube::config::Kubeconfig) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs_err::write(file.path(), serde_json::to_vec(kubeconfig).expect("JSON is YAML")).expect("written");
    file
}

fn path(file: &tempfile::NamedTempFile) -> Option<String> {
    file.path().to_str().map(ToOwned::to_owned)
}

/// tranship on the test's namespace, by the real clock.
async fn tool(target: &Target) -> Tool {
    tool_and_adapter(target).await.0
}

async fn tool_and_adapter(target: &Target) -> (Tool, Arc<KubeCluster>) {
    target.secret("gitaly-token", "token", "t0ken-canary").await;
    target.secret("shell-secret", "secret", "shell-canary").await;
    let cluster = Arc::new(kube_cluster(kubeconfig().map(String::from), &target.namespace));
    let mut tool = Tool::on(cluster.clone(), &target.namespace);
    tool.ports.clock = Arc::new(SystemClock);
    (tool, cluster)
}

#[test]
fn a_storage_comes_up_is_recorded_and_the_next_plan_has_nothing() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        let spec = Spec::new(&["gitaly-a"]);
        let result = tool.apply(&spec).await;
        assert_eq!((result.summary.failed, result.fatal), (0, None), "{}", tool.told());
        let pod = target.until_ready("gitaly-a-0", None).await;
        assert_eq!(pod.status.and_then(|status| status.qos_class).as_deref(), Some("Guaranteed"));
        let record = tool.state().storage(&name("gitaly-a")).cloned().expect("a record");
        let claim = tool.live(ObjectKind::PersistentVolumeClaim, "repo-data-gitaly-a-0").await.expect("a claim");
        assert_eq!(record.claim_uid, Some(uid(&claim)));
        assert_eq!(record.filesystem_id, Some(uid(&claim)));
        let set = tool.live(ObjectKind::StatefulSet, "gitaly-a").await.expect("a StatefulSet");
        assert_eq!(record.statefulset_uid, Some(uid(&set)));
        assert_eq!(record.objects.len(), 6, "{:?}", record.objects);
        let before = tool.state();
        let plan = tool.plan(&spec).await;
        assert!(plan.actions.is_empty(), "{:#?}", plan.actions);
        tool.run(&plan).await;
        assert_eq!(tool.state(), before);
        let told = format!("{:?} {}", tool.state(), tool.told());
        assert!(!told.contains("canary"), "a secret is told");
    });
}

/// The pod's uid and how often its containers restarted.
async fn pod_of(tool: &Tool, storage: &str) -> (String, i64) {
    let pod = tool.live(ObjectKind::Pod, &pods::pod_name(storage)).await.expect("a pod");
    let restarts = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    (uid(&pod), restarts.filter_map(|c| c["restartCount"].as_i64()).sum())
}

fn well(tool: &Tool, result: &RunResult) {
    let s = &result.summary;
    let bad = s.failed + s.skipped + s.stale + s.not_started + s.refused;
    assert_eq!((bad, &result.fatal), (0, &None), "{}", tool.told());
}

#[test]
fn another_image_rolls_the_pod_and_is_waited_for() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        let mut spec = Spec::new(&["gitaly-a"]);
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        let before = pod_of(&tool, "gitaly-a").await;
        spec.image = "example.com/gitaly:v18.3.1".into();
        let facts = tool.observe(&spec).await;
        assert!(matches!(facts.pods[&name("gitaly-a")], Reading::Known(Answer::Accepted(_))), "{:?}", facts.pods);
        assert!(matches!(facts.held[&name("gitaly-a")], Reading::Known(Counted::All(0))), "{:?}", facts.held);
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        let after = pod_of(&tool, "gitaly-a").await;
        assert_ne!(before.0, after.0, "the pod is another one");
        assert!(tool.told().contains("ready, Gitaly 18.3.1"), "{}", tool.told());
        let plan = tool.plan(&spec).await;
        assert!(plan.actions.is_empty(), "{:#?}", plan.actions);
        // What is not the template rolls nothing, and asks no pod.
        spec.more = "max_unavailable = 0".into();
        let facts = tool.observe(&spec).await;
        assert!(facts.pods.is_empty() && facts.held.is_empty());
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        assert_eq!(pod_of(&tool, "gitaly-a").await, after);
    });
}

const OTHER_SERVICE: &str = r#"extra = { spec = { serviceName = "other" } }"#;

#[test]
fn a_stateful_set_is_made_anew_around_its_running_pod() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        let mut spec = Spec::new(&["gitaly-a"]);
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        let pod = pod_of(&tool, "gitaly-a").await;
        let claim = tool.live(ObjectKind::PersistentVolumeClaim, "repo-data-gitaly-a-0").await.expect("a claim");
        let set = tool.live(ObjectKind::StatefulSet, "gitaly-a").await.expect("a set");
        spec.more = OTHER_SERVICE.into();
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        assert!(tool.told().contains("made anew; its pod was not restarted"), "{}", tool.told());
        let anew = tool.live(ObjectKind::StatefulSet, "gitaly-a").await.expect("a set");
        assert_ne!(uid(&set), uid(&anew));
        assert_eq!(anew["spec"]["serviceName"], "other");
        assert_eq!(pod_of(&tool, "gitaly-a").await, pod, "not restarted");
        let now = tool.live(ObjectKind::PersistentVolumeClaim, "repo-data-gitaly-a-0").await.expect("a claim");
        assert_eq!((uid(&now), &now["spec"]), (uid(&claim), &claim["spec"]), "the claim is untouched");
        let record = tool.state().storage(&name("gitaly-a")).cloned().expect("a record");
        assert_eq!(record.statefulset_uid, Some(uid(&anew)));
        assert!(tool.plan(&spec).await.actions.is_empty());
        // An earlier run ended in the gap: the pod runs without its StatefulSet.
        let orphan = Delete { orphan: true, uid: Some(uid(&anew)), ..Delete::default() };
        tool.cluster.delete(&key(ObjectKind::StatefulSet, "gitaly-a"), &orphan).await.expect("deleted");
        target.until_gone::<StatefulSet>("gitaly-a").await;
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        assert_eq!(pod_of(&tool, "gitaly-a").await, pod, "adopted, not restarted");
        let owner = tool.live(ObjectKind::Pod, "gitaly-a-0").await.expect("a pod");
        let set = tool.live(ObjectKind::StatefulSet, "gitaly-a").await.expect("a set");
        assert_eq!(owner["metadata"]["ownerReferences"][0]["uid"], set["metadata"]["uid"]);
    });
}

#[test]
fn a_volume_grows_where_its_class_can() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        let mut spec = Spec::new(&["gitaly-a"]);
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        let pod = pod_of(&tool, "gitaly-a").await;
        spec.size = "20Gi".into();
        let plan = tool.plan(&spec).await;
        assert!(matches!(plan.actions[0].change, Change::GrowDisk { .. }), "{:#?}", plan.actions);
        let result = tool.run(&plan).await;
        well(&tool, &result);
        let claim = tool.live(ObjectKind::PersistentVolumeClaim, "repo-data-gitaly-a-0").await.expect("a claim");
        assert_eq!(claim["status"]["capacity"]["storage"], "20Gi");
        assert_eq!(pod_of(&tool, "gitaly-a").await, pod, "nothing restarts");
        // The same plan once more finds it done; one that was made before is stale.
        let result = tool.run(&plan).await;
        well(&tool, &result);
        let mut old = plan.clone();
        if let Change::GrowDisk { from, to, .. } = &mut old.actions[0].change {
            (*from, *to) = (Bytes(15 << 30), Bytes(30 << 30));
        }
        let result = tool.run(&old).await;
        assert_eq!(result.summary.stale, 1, "{}", tool.told());
        assert!(tool.told().contains("asks for 20 GiB; the plan was made when it asked for 15 GiB"), "{}", tool.told());
        // Shrinking is the server's no.
        spec.size = "5Gi".into();
        let facts = tool.observe(&spec).await;
        let Reading::Known(Answer::Refused(refusal)) = &facts.growth[&name("gitaly-a")] else { panic!("{facts:?}") };
        assert!(refusal.message.contains("field can not be less than"), "{refusal:?}");
    });
}

#[test]
fn a_volume_made_by_hand_cannot_grow_and_the_reading_says_so() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        target.volume("repo-data-gitaly-a-0", "10Gi").await;
        let mut spec = Spec { class: "no-provisioner".into(), ..Spec::new(&["gitaly-a"]) };
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        spec.size = "20Gi".into();
        let facts = tool.observe(&spec).await;
        let Reading::Known(Answer::Refused(refusal)) = &facts.growth[&name("gitaly-a")] else { panic!("{facts:?}") };
        assert_eq!(refusal.why, Why::Forbidden);
        assert!(refusal.message.contains("only dynamically provisioned pvc can be resized"), "{refusal:?}");
        let classes = facts.surroundings.storage_classes.known().expect("readable").clone();
        assert!(!classes["no-provisioner"].expandable && classes["expandable"].expandable);
        assert_eq!(classes["expandable"].binding_mode, "WaitForFirstConsumer");
        assert!(facts.surroundings.priority_classes.known().expect("readable").contains("gitaly"));
        let nodes = facts.surroundings.nodes.known().expect("readable");
        assert!(nodes.len() >= 3 && nodes.iter().all(|node| node.ready && node.cpu_millis == 1_000_000), "{nodes:?}");
        assert_eq!(facts.surroundings.quotas, Reading::Known(Vec::new()));
        let keys = facts.surroundings.secrets["gitaly-token"].known().cloned().flatten();
        assert_eq!(keys, Some(BTreeSet::from(["token".to_owned()])));
        assert!(!format!("{facts:?}").contains("canary"));
    });
}

#[test]
fn a_pod_that_hangs_is_waited_for_in_words_and_replaced_when_its_template_is_mended() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        let nowhere = r#"node_selector = { pool = "nowhere" }"#;
        let mut spec = Spec { more: nowhere.into(), ..Spec::new(&["gitaly-a"]) };
        let mut plan = tool.plan(&spec).await;
        for action in &mut plan.actions {
            if let Change::AwaitReady { deadline_seconds, .. } = &mut action.change {
                *deadline_seconds = 3;
            }
        }
        let result = tool.run(&plan).await;
        assert_eq!(result.summary.failed, 1, "{}", tool.told());
        let told = tool.told();
        assert!(told.contains("not ready after 3 s: Pod/gitaly-a-0 finds no node: Unschedulable: 0/3 nodes"), "{told}");
        assert!(told.contains("PersistentVolumeClaim/repo-data-gitaly-a-0 is Pending"), "{told}");
        let stuck = pod_of(&tool, "gitaly-a").await.0;
        spec.more = String::new();
        let plan = tool.plan(&spec).await;
        let replaced = |action: &&Action| matches!(&action.change, Change::ReplacePod { uid, .. } if *uid == stuck);
        let replace = plan.actions.iter().find(replaced).cloned().expect("the pod is replaced");
        let result = tool.run(&plan).await;
        well(&tool, &result);
        let made = pod_of(&tool, "gitaly-a").await.0;
        assert_ne!(made, stuck);
        // A pod that is another one by now is left alone.
        let again = Plan { actions: vec![replace], ..empty_plan() };
        let result = tool.run(&again).await;
        well(&tool, &result);
        assert_eq!(pod_of(&tool, "gitaly-a").await.0, made);
    });
}

#[test]
fn an_image_that_is_not_there_is_told_and_the_wait_goes_on_with_the_next_apply() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        target.steer("fault", Some("image-pull")).await;
        let spec = Spec::new(&["gitaly-a"]);
        let mut plan = tool.plan(&spec).await;
        if let Some(Change::AwaitReady { deadline_seconds, .. }) = plan.actions.last_mut().map(|a| &mut a.change) {
            *deadline_seconds = 4;
        }
        let result = tool.run(&plan).await;
        assert_eq!(result.summary.failed, 1, "{}", tool.told());
        assert!(tool.told().contains("waits: ImagePullBackOff"), "{}", tool.told());
        let plan = tool.plan(&spec).await;
        assert_eq!(plan.actions.len(), 1, "only the wait is left: {:#?}", plan.actions);
        target.steer("fault", None).await;
        target.steer_pod("gitaly-a-0", "fault", None).await;
        let result = tool.run(&plan).await;
        well(&tool, &result);
        assert!(tool.state().storage(&name("gitaly-a")).is_some_and(|record| record.filesystem_id.is_some()));
    });
}

#[test]
fn another_manager_in_the_middle_is_named_and_nothing_is_fought() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        let mut spec = Spec::new(&["gitaly-a"]);
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        spec.image = "example.com/gitaly:v18.3.1".into();
        let plan = tool.plan(&spec).await;
        let theirs = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "gitaly-a" },
            "spec": { "template": { "spec": { "containers": [{ "name": "gitaly", "image": "example.com/gitaly:v18.2.9" }] } } },
        });
        let forced = PatchParams::apply("helm").force();
        target.api::<StatefulSet>().patch("gitaly-a", &forced, &Patch::Apply(&theirs)).await.expect("forced");
        let result = tool.run(&plan).await;
        assert_eq!((result.summary.failed, result.summary.skipped), (1, 1), "{}", tool.told());
        let told = tool.told();
        assert!(told.contains("other field managers own .spec.template.spec.containers"), "{told}");
        assert!(told.contains("(helm)"), "{told}");
        assert_eq!(tool.state().storage(&name("gitaly-a")).map(|r| r.objects.len()), Some(6), "the state is whole");
        // What it owns is told by the next reading too, with what taking it over would give.
        let facts = tool.observe(&spec).await;
        let set = key(ObjectKind::StatefulSet, "gitaly-a");
        let Reading::Known(Answer::Refused(refusal)) = &facts.dry_runs[&set] else { panic!("{facts:?}") };
        assert_eq!(refusal.conflicts[0].manager, "helm");
        assert!(matches!(facts.forced[&set], Reading::Known(Answer::Accepted(_))));
        // Taken over, as `import` or --adopt plans it.
        let mut plan = plan.clone();
        let live = facts.objects[&set].clone();
        let Reading::Known(Answer::Accepted(then)) = &facts.forced[&set] else { panic!("{facts:?}") };
        if let Change::ApplyObject { storage, manifest, .. } = plan.actions[0].change.clone() {
            plan.actions[0].change = apply_of(&storage, &manifest, Some(&live), then);
        }
        if let Change::ApplyObject { force, .. } = &mut plan.actions[0].change {
            *force = true;
        }
        let result = tool.run(&plan).await;
        well(&tool, &result);
        assert!(tool.told().contains("ready, Gitaly 18.3.1"), "{}", tool.told());
        assert!(tool.plan(&spec).await.actions.is_empty());
    });
}

#[test]
fn a_plan_holds_while_only_the_status_moves_and_is_stale_when_a_field_does() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        let mut spec = Spec::new(&["gitaly-a"]);
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        spec.more = "max_unavailable = 0\n priority_class_note = 1".replace("\n priority_class_note = 1", "");
        let plan = tool.plan(&spec).await;
        assert_eq!(plan.actions.len(), 1, "{:#?}", plan.actions);
        // Somebody's annotation moves the version, and none of our fields.
        let budgets = target.api::<k8s_openapi::api::policy::v1::PodDisruptionBudget>();
        let note = |text: &str| Patch::Merge(json!({ "metadata": { "annotations": { "note": text } } }));
        budgets.patch("gitaly-a", &PatchParams::default(), &note("a")).await.expect("patched");
        let mut stale = plan.clone();
        let result = tool.run(&plan).await;
        well(&tool, &result);
        // The same plan again: it is so already.
        let result = tool.run(&plan).await;
        well(&tool, &result);
        assert!(tool.told().contains("it was so already"), "{}", tool.told());
        // A plan that expects another change does not go on.
        if let Change::ApplyObject { manifest, .. } = &mut stale.actions[0].change {
            manifest.body["spec"]["maxUnavailable"] = json!(1);
        }
        let result = tool.run(&stale).await;
        assert_eq!(result.summary.stale, 1, "{}", tool.told());
        assert!(tool.told().contains("changed since the plan was made: .spec.maxUnavailable"), "{}", tool.told());
        // Deleted and made by somebody else.
        budgets.delete("gitaly-a", &DeleteParams::default()).await.expect("deleted");
        let result = tool.run(&stale).await;
        assert!(tool.told().contains("PodDisruptionBudget/gitaly-a is gone"), "{}", tool.told());
        assert_eq!(result.summary.stale, 1);
    });
}

#[test]
fn an_empty_disk_behind_a_known_storage_is_an_alarm() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        let spec = Spec::new(&["gitaly-a"]);
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        let mut plan = empty_plan();
        let wait = |id: Option<&str>| Change::AwaitReady {
            storage: name("gitaly-a"),
            version: Some("v18.2.0".into()),
            filesystem_id: id.map(ToOwned::to_owned),
            deadline_seconds: 30,
        };
        plan.actions = vec![action("ready", "gitaly-a", wait(Some("fs-before")))];
        let result = tool.run(&plan).await;
        assert_eq!(result.summary.failed, 1);
        assert!(tool.told().contains("another disk is behind gitaly-a"), "{}", tool.told());
        // The disk of another storage, seen for the first time.
        let mut state = tool.state();
        state.storage_mut(&name("vm-1")).filesystem_id = Some("fs-vm".into());
        state.storage_mut(&name("gitaly-a")).filesystem_id = None;
        tool.store.save(&state).expect("saved");
        tool.gitaly.ids.lock().expect("unpoisoned").insert(name("gitaly-a"), "fs-vm".into());
        plan.actions = vec![action("ready", "gitaly-a", wait(None))];
        let result = tool.run(&plan).await;
        assert_eq!(result.summary.failed, 1);
        assert!(tool.told().contains("gitaly-a and vm-1 have the same filesystem id"), "{}", tool.told());
        assert_eq!(tool.state(), state, "nothing of it is recorded");
        // An older Gitaly than is wanted is told after a few looks.
        tool.gitaly.ids.lock().expect("unpoisoned").clear();
        let mut old = wait(None);
        if let Change::AwaitReady { version, .. } = &mut old {
            *version = Some("v18.9.0".into());
        }
        plan.actions = vec![action("ready", "gitaly-a", old)];
        let result = tool.run(&plan).await;
        assert_eq!(result.summary.failed, 1);
        assert!(tool.told().contains("runs Gitaly 18.2.0, older than v18.9.0"), "{}", tool.told());
    });
}

#[test]
fn a_lost_claim_is_an_end_and_not_a_wait() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        let spec = Spec::new(&["gitaly-a"]);
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        let claim = target.until::<PersistentVolumeClaim>("repo-data-gitaly-a-0", "bound", bound).await;
        let volume = claim.spec.and_then(|spec| spec.volume_name).expect("a volume");
        let volumes: Api<k8s_openapi::api::core::v1::PersistentVolume> = Api::all(target.client.clone());
        volumes.delete(&volume, &DeleteParams::default()).await.expect("deleted");
        let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        let _ = volumes.patch(&volume, &PatchParams::default(), &free).await;
        let lost = |claim: &PersistentVolumeClaim| {
            claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Lost"))
        };
        target.until("repo-data-gitaly-a-0", "lost", lost).await;
        let wait =
            Change::AwaitReady { storage: name("gitaly-a"), version: None, filesystem_id: None, deadline_seconds: 600 };
        let plan = Plan { actions: vec![action("ready", "gitaly-a", wait)], ..empty_plan() };
        let result = tool.run(&plan).await;
        assert_eq!(result.summary.failed, 1);
        assert!(tool.told().contains("repo-data-gitaly-a-0 is Lost"), "{}", tool.told());
    });
}

/// Tells the claim of a storage to go, as a person would: its pod keeps it.
async fn delete_claim(target: &Target, claim: &str) {
    let claims = target.api::<PersistentVolumeClaim>();
    claims.delete(claim, &DeleteParams::default()).await.expect("deleted");
    target.until::<PersistentVolumeClaim>(claim, "going", |claim| claim.metadata.deletion_timestamp.is_some()).await;
}

#[test]
fn a_claim_that_is_being_deleted_keeps_its_pod_whatever_is_asked() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        let mut spec = Spec::new(&["gitaly-a"]);
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        let pod = pod_of(&tool, "gitaly-a").await;
        // Plans of before.
        spec.image = "example.com/gitaly:v18.3.1".into();
        let rolls = tool.plan(&spec).await;
        spec.image = "example.com/gitaly:v18.2.0".into();
        spec.more = OTHER_SERVICE.into();
        let anew = tool.plan(&spec).await;
        spec.more = String::new();
        delete_claim(target, "repo-data-gitaly-a-0").await;
        let (plan, errors) = tool.judged(&spec, &Options::default()).await;
        assert_eq!((errors, plan.is_empty()), (vec!["claim-terminating".to_owned()], true));
        let replace = Change::ReplacePod {
            storage: name("gitaly-a"),
            pod: "gitaly-a-0".into(),
            uid: pod.0.clone(),
            why: "it hangs".into(),
        };
        let wait =
            Change::AwaitReady { storage: name("gitaly-a"), version: None, filesystem_id: None, deadline_seconds: 60 };
        let set = tool.live(ObjectKind::StatefulSet, "gitaly-a").await.expect("a set");
        for change in [rolls.actions[0].change.clone(), anew.actions[0].change.clone(), replace, wait] {
            let plan = Plan { actions: vec![action("pod", "gitaly-a", change)], ..empty_plan() };
            let result = tool.run(&plan).await;
            assert_eq!(result.summary.failed, 1, "{}", tool.told());
        }
        assert_eq!(tool.told().matches("repo-data-gitaly-a-0 is being deleted").count(), 4, "{}", tool.told());
        let asked = Asked {
            storage: name("gitaly-a"),
            max_unavailable: 1,
            deadline_seconds: 60,
            filesystem_id: None,
            claim_uid: None,
        };
        let error = rotate::look(&tool.ports, &asked).await.expect_err("not begun");
        assert!(error.message.contains("is being deleted"), "{error}");
        assert_eq!(pod_of(&tool, "gitaly-a").await, pod, "the pod runs on");
        let now = tool.live(ObjectKind::StatefulSet, "gitaly-a").await.expect("a set");
        assert_eq!((uid(&now), &now["spec"]), (uid(&set), &set["spec"]));
    });
}

#[test]
fn a_recorded_claim_that_is_gone_is_not_made_anew() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        let spec = Spec::new(&["gitaly-a"]);
        let plan = tool.plan(&spec).await;
        let result = tool.run(&plan).await;
        well(&tool, &result);
        let record = tool.state().storage(&name("gitaly-a")).cloned().expect("a record");
        assert_eq!(record.namespace.as_ref(), Some(&target.namespace));
        assert_eq!(record.cluster_uid, tool.cluster.identity().await.expect("answered"));
        assert!(record.cluster_uid.is_some());
        // Somebody takes everything away, and the same plan again would make it on an empty disk.
        target.api::<StatefulSet>().delete("gitaly-a", &DeleteParams::default()).await.expect("deleted");
        target.until_gone::<StatefulSet>("gitaly-a").await;
        let at_once = DeleteParams::default().grace_period(0);
        let _ = target.api::<k8s_openapi::api::core::v1::Pod>().delete("gitaly-a-0", &at_once).await;
        target.until_gone::<k8s_openapi::api::core::v1::Pod>("gitaly-a-0").await;
        target
            .api::<PersistentVolumeClaim>()
            .delete("repo-data-gitaly-a-0", &DeleteParams::default())
            .await
            .expect("deleted");
        target.until_gone::<PersistentVolumeClaim>("repo-data-gitaly-a-0").await;
        let (again, errors) = tool.judged(&spec, &Options::default()).await;
        assert!(errors.contains(&"claim-gone".to_owned()) && again.is_empty(), "{errors:?}");
        let set = |action: &&Action| matches!(&action.change, Change::ApplyObject { manifest, .. } if manifest.key.kind == ObjectKind::StatefulSet);
        let create = plan.actions.iter().find(set).cloned().expect("it is made");
        let result = tool.run(&Plan { actions: vec![create], ..empty_plan() }).await;
        assert_eq!(result.summary.failed, 1, "{}", tool.told());
        assert!(tool.told().contains("would start on an empty disk"), "{}", tool.told());
        assert_eq!(tool.live(ObjectKind::StatefulSet, "gitaly-a").await, None);
    });
}

#[test]
fn a_disk_without_what_gitlab_lists_is_not_taken_for_the_storages() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        let spec = Spec::new(&["gitaly-a"]);
        // GitLab knows the name, and there is neither StatefulSet nor claim.
        tool.fleet.set_known(&name("gitaly-a"), true);
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        tool.fleet.add_project("web/shop", &name("gitaly-a"));
        // The record is lost, and the disk holds nothing.
        tool.store.save(&State::new("default")).expect("saved");
        tool.gitaly.empty.lock().expect("unpoisoned").insert(name("gitaly-a"));
        let result = tool.apply(&spec).await;
        assert_eq!((result.summary.failed, result.summary.alarms), (1, 1), "{}", tool.told());
        assert!(tool.told().contains("of the 1 that were asked for its disk lacks 1: web/shop"), "{}", tool.told());
        assert!(tool.state().storage(&name("gitaly-a")).is_none_or(|record| record.filesystem_id.is_none()));
        // What came since it was made is no proof of the rest.
        tool.fleet.add_project("web/blog", &name("gitaly-a"));
        let newest = tool.fleet.add_project("web/new", &name("gitaly-a"));
        tool.gitaly.newer.lock().expect("unpoisoned").push(newest);
        let result = tool.apply(&spec).await;
        assert_eq!((result.summary.failed, result.summary.alarms), (1, 1), "{}", tool.told());
        assert!(tool.told().contains("of the 3 that were asked for its disk lacks 2"), "{}", tool.told());
        tool.gitaly.empty.lock().expect("unpoisoned").clear();
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        assert!(tool.state().storage(&name("gitaly-a")).is_some_and(|record| record.filesystem_id.is_some()));
        // In another namespace the same name would be made anew.
        tool.store.save(&State::new("default")).expect("saved");
        let other = target.another().await;
        let there: Arc<dyn Cluster> = Arc::new(kube_cluster(kubeconfig().map(String::from), &other.namespace));
        tool.ports.cluster = Some(there);
        tool.namespace.clone_from(&other.namespace);
        let (_, errors) = tool.judged(&spec, &Options::default()).await;
        other.remove().await;
        assert!(errors.contains(&"storage-in-use".to_owned()), "{errors:?}");
    });
}

#[test]
fn a_set_that_is_made_anew_without_what_its_template_had_restarts_its_pod_and_says_so() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        let mut spec = Spec::new(&["gitaly-a"]);
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        let pod = pod_of(&tool, "gitaly-a").await;
        // As kubectl rollout restart does.
        let note = json!({ "spec": { "template": { "metadata": { "annotations": {
            "kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z" } } } } });
        let as_kubectl = PatchParams { field_manager: Some("kubectl-rollout".into()), ..PatchParams::default() };
        target.api::<StatefulSet>().patch("gitaly-a", &as_kubectl, &Patch::Strategic(&note)).await.expect("patched");
        target.until_ready("gitaly-a-0", Some(&pod.0)).await;
        let pod = pod_of(&tool, "gitaly-a").await;
        let settled = |set: &StatefulSet| {
            set.status.as_ref().is_some_and(|status| status.current_revision == status.update_revision)
        };
        target.until("gitaly-a", "settled", settled).await;
        spec.more = OTHER_SERVICE.into();
        let plan = tool.plan(&spec).await;
        let Change::RecreateStatefulSet { changes, .. } = &plan.actions[0].change else { panic!("{plan:#?}") };
        let paths: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(paths.len(), 2, "{paths:?}");
        assert!(paths.contains(&".spec.serviceName") && pods::touches_template(changes), "{paths:?}");
        let told = plan.findings.iter().find(|finding| finding.code == "statefulset-recreated").expect("told");
        assert!(told.message.contains("What only it has now goes with it"), "{told:?}");
        let result = tool.run(&plan).await;
        well(&tool, &result);
        assert!(tool.told().contains("made anew; its pod restarts"), "{}", tool.told());
        assert_ne!(pod_of(&tool, "gitaly-a").await, pod);
        assert!(tool.plan(&spec).await.actions.is_empty());
    });
}

#[test]
fn a_patch_of_the_claims_that_is_taken_back_makes_the_set_anew() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        let labels = r#"extra = { spec = { volumeClaimTemplates = [{ metadata = { name = "repo-data", labels = { team = "git" } } }] } }"#;
        let mut spec = Spec { more: labels.into(), ..Spec::new(&["gitaly-a"]) };
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        let pod = pod_of(&tool, "gitaly-a").await;
        spec.more = String::new();
        let plan = tool.plan(&spec).await;
        assert!(matches!(&plan.actions[0].change, Change::RecreateStatefulSet { .. }), "{:#?}", plan.actions);
        let result = tool.run(&plan).await;
        well(&tool, &result);
        assert_eq!(pod_of(&tool, "gitaly-a").await, pod, "not restarted");
        assert!(tool.plan(&spec).await.actions.is_empty());
    });
}

#[test]
fn a_set_whose_claims_would_go_with_it_is_told_to_retain_them_first() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        let mut spec = Spec::new(&["gitaly-a"]);
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        let pod = pod_of(&tool, "gitaly-a").await;
        let theirs = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "gitaly-a" },
            "spec": { "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Delete" } } });
        let forced = PatchParams::apply("helm").force();
        target.api::<StatefulSet>().patch("gitaly-a", &forced, &Patch::Apply(&theirs)).await.expect("forced");
        let owned = |claim: &PersistentVolumeClaim| {
            claim.metadata.owner_references.as_ref().is_some_and(|owners| !owners.is_empty())
        };
        let claim = target.until::<PersistentVolumeClaim>("repo-data-gitaly-a-0", "owned", owned).await;
        spec.more = OTHER_SERVICE.into();
        let adopt = Options { adopt: true, ..Options::default() };
        let (plan, errors) = tool.judged(&spec, &adopt).await;
        assert_eq!(errors, Vec::<String>::new());
        let codes: Vec<&str> = plan.findings.iter().map(|finding| finding.code.as_str()).collect();
        assert!(codes.contains(&"object-adopted") && codes.contains(&"statefulset-recreated"), "{codes:?}");
        let result = tool.run(&plan).await;
        well(&tool, &result);
        let now =
            target.until::<PersistentVolumeClaim>("repo-data-gitaly-a-0", "nobody's", |claim| !owned(claim)).await;
        assert_eq!((now.metadata.uid, now.metadata.deletion_timestamp), (claim.metadata.uid, None));
        assert_eq!(pod_of(&tool, "gitaly-a").await, pod, "not restarted");
        assert!(tool.plan(&spec).await.actions.is_empty());
    });
}

#[test]
fn who_lacks_a_right_is_told_which() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        let spec = Spec::new(&["gitaly-a"]);
        let all = json!(["get", "list", "create", "patch"]);
        let rules = json!([
            { "apiGroups": [""], "resources": ["configmaps", "services", "serviceaccounts", "pods", "persistentvolumeclaims", "secrets"], "verbs": all },
            { "apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": all },
            { "apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": ["get", "list"] },
        ]);
        let restricted = written(&target.restricted("partly", &rules).await);
        let cluster = Arc::new(kube_cluster(path(&restricted), &target.namespace));
        tool.ports.cluster = Some(cluster.clone());
        let facts = tool.observe(&spec).await;
        let Reading::Known(Answer::Refused(refusal)) = &facts.dry_runs[&key(ObjectKind::StatefulSet, "gitaly-a")]
        else {
            panic!("{facts:?}")
        };
        assert_eq!(refusal.why, Why::Forbidden);
        let right = format!(
            "lacks the verb `patch` on `statefulsets.apps` in namespace {}; `tranship render rbac` prints",
            target.namespace
        );
        assert!(refusal.message.contains(&right), "{refusal:?}");
        // What need not be read is unknown, with the reason.
        let Reading::Unknown(why) = &facts.surroundings.nodes else { panic!("{facts:?}") };
        assert!(why.contains("lacks the verb `list` on `nodes` in the whole cluster"), "{why}");
        let Reading::Unknown(why) = &facts.surroundings.volumes else { panic!("{facts:?}") };
        assert!(why.contains("lacks the verb `list` on `persistentvolumes` in the whole cluster"), "{why}");
        assert_eq!(cluster.may("patch", ObjectKind::StatefulSet).await.expect("answered"), Some(false));
        assert_eq!(cluster.may("patch", ObjectKind::Service).await.expect("answered"), Some(true));
        // What must be read ends the reading, with all rights that lack.
        let nobody = written(&target.restricted("nobody", &json!([])).await);
        tool.ports.cluster = Some(Arc::new(kube_cluster(path(&nobody), &target.namespace)));
        let desired = spec.desired(&tool.namespace);
        let pods = pods::wanted(&desired);
        let request = Request { declared: vec![name("gitaly-a")], pods, ..Request::default() };
        let observed = live::observe(&tool.ports, &request).await.expect("the rest is observed");
        let Some(Reading::Unknown(why)) = observed.cluster else { panic!("{:?}", observed.cluster) };
        assert!(why.contains("`list` on `statefulsets.apps`") && why.contains("`list` on `pods`"), "{why}");
    });
}

#[test]
fn what_only_a_pod_is_refused_for_is_seen_before() {
    on_cluster(async |target| {
        let tool = tool(target).await;
        target.quota(&json!({ "requests.cpu": "500m" })).await;
        let spec = Spec { more: "".into(), ..Spec::new(&["gitaly-a"]) };
        let facts = tool.observe(&spec).await;
        assert!(matches!(
            facts.dry_runs[&key(ObjectKind::StatefulSet, "gitaly-a")],
            Reading::Known(Answer::Accepted(_))
        ));
        let Reading::Known(Answer::Refused(refusal)) = &facts.pods[&name("gitaly-a")] else { panic!("{facts:?}") };
        assert!(refusal.message.contains("exceeded quota: quota"), "{refusal:?}");
        let Reading::Known(quotas) = &facts.surroundings.quotas else { panic!("{:?}", facts.surroundings) };
        assert_eq!(quotas[0].left.get("requests.cpu"), Some(&500));
    });
}

/// Whether the disruption controller has counted a budget's pod and lets it go.
fn allows_one(budget: &PodDisruptionBudget) -> bool {
    budget.status.as_ref().is_some_and(|status| status.disruptions_allowed == 1)
}

#[test]
fn the_port_deletes_nothing_that_holds_data() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        let result = tool.apply(&Spec::new(&["gitaly-a"])).await;
        well(&tool, &result);
        let cluster = &tool.cluster;
        for (kind, orphan) in [
            (ObjectKind::PersistentVolumeClaim, true),
            (ObjectKind::StatefulSet, false),
            (ObjectKind::ConfigMap, false),
            (ObjectKind::Service, true),
        ] {
            let how = Delete { orphan, dry_run: true, ..Delete::default() };
            let error = cluster.delete(&key(kind, "gitaly-a"), &how).await.expect_err("refused");
            assert_eq!(error.kind, PortErrorKind::Refused, "{error}");
        }
        // Another object of the same name is not deleted.
        let pod = key(ObjectKind::Pod, "gitaly-a-0");
        let other = Delete { uid: Some("00000000-0000-0000-0000-000000000000".into()), ..Delete::default() };
        let Answer::Refused(refusal) = cluster.delete(&pod, &other).await.expect("answered") else { panic!("deleted") };
        assert_eq!((refusal.why, refusal.conflicts.len()), (Why::Conflict, 0));
        // Nor evicted. The API server asks the budget before the uid, and a new budget has counted no pod yet.
        target.until("gitaly-a", "counted", allows_one).await;
        let other = "00000000-0000-0000-0000-000000000000";
        let Answer::Refused(refusal) = cluster.evict("gitaly-a-0", Some(other), false).await.expect("answered") else {
            panic!("evicted")
        };
        assert_eq!((refusal.why, refusal.conflicts.len()), (Why::Conflict, 0), "{refusal:?}");
        // Nor changed.
        let body = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "gitaly-a",
            "uid": "00000000-0000-0000-0000-000000000000" }, "data": { "x": "y" } });
        let manifest = Manifest { key: key(ObjectKind::ConfigMap, "gitaly-a"), body };
        let Answer::Refused(refusal) = cluster.apply(&manifest, Apply::default()).await.expect("answered") else {
            panic!("applied")
        };
        assert_eq!((refusal.why, refusal.conflicts.len()), (Why::Conflict, 0), "{refusal:?}");
        let mut gone = manifest.clone();
        gone.key.name = "not-there".into();
        gone.body["metadata"]["name"] = json!("not-there");
        let Answer::Refused(refusal) = cluster.apply(&gone, Apply::default()).await.expect("answered") else {
            panic!("made")
        };
        assert_eq!((refusal.why, refusal.conflicts.len()), (Why::Conflict, 0), "{refusal:?}");
        // A budget of none is its own kind of no.
        target.until_ready("gitaly-a-0", None).await;
        let mut spec = Spec::new(&["gitaly-a"]);
        spec.more = "max_unavailable = 0".into();
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        let counted = |budget: &PodDisruptionBudget| {
            budget.status.as_ref().and_then(|status| status.observed_generation) == budget.metadata.generation
        };
        target.until("gitaly-a", "counted", counted).await;
        let Answer::Refused(refusal) = tool.cluster.evict("gitaly-a-0", None, true).await.expect("answered") else {
            panic!("evicted")
        };
        assert_eq!(refusal.why, Why::Budget);
        assert!(refusal.message.contains("needs 1 healthy pods"), "{refusal:?}");
        // What an unknown kind or namespace is told as.
        assert!(tool.cluster.list(ObjectKind::ServiceMonitor).await.expect("none").is_empty());
        let body =
            json!({ "apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": { "name": "x" } });
        let manifest = Manifest { key: key(ObjectKind::ServiceMonitor, "x"), body };
        let Answer::Refused(refusal) =
            tool.cluster.apply(&manifest, Apply { dry_run: true, force: false }).await.expect("answered")
        else {
            panic!("accepted")
        };
        assert!(refusal.message.contains("does not know ServiceMonitor (monitoring.coreos.com/v1)"), "{refusal:?}");
        let nowhere = kube_cluster(kubeconfig().map(String::from), "no-such-namespace");
        let body = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x" } });
        let manifest = Manifest { key: key(ObjectKind::ConfigMap, "x"), body };
        let Answer::Refused(refusal) =
            nowhere.apply(&manifest, Apply { dry_run: true, force: false }).await.expect("answered")
        else {
            panic!("accepted")
        };
        assert_eq!(refusal.message, "namespaces \"no-such-namespace\" not found");
        // Strictly: a field that the server does not know is refused.
        let body = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x" }, "dta": {} });
        let manifest = Manifest { key: key(ObjectKind::ConfigMap, "x"), body };
        let Answer::Refused(refusal) =
            tool.cluster.apply(&manifest, Apply { dry_run: true, force: false }).await.expect("answered")
        else {
            panic!("accepted")
        };
        assert!(refusal.message.contains("field not declared in schema"), "{refusal:?}");
    });
}

#[test]
fn secrets_are_read_for_use_and_never_shown() {
    use secrecy::ExposeSecret as _;
    on_cluster(async |target| {
        let (_, cluster) = tool_and_adapter(target).await;
        let secret = cluster.secret("gitaly-token", "token").await.expect("read");
        assert_eq!(secret.expose_secret(), "t0ken-canary");
        let error = cluster.secret("gitaly-token", "tken").await.expect_err("no such key");
        assert!(error.message.contains("it has no key `tken`; it has token"), "{error}");
        let error = cluster.secret("nope", "token").await.expect_err("no such Secret");
        assert!(error.message.contains("there is no such Secret"), "{error}");
        assert!(!format!("{error:?} {cluster:?}").contains("canary"));
    });
}

#[test]
fn fifty_storages_are_asked_about_in_few_requests() {
    on_cluster(async |target| {
        let (mut tool, adapter) = tool_and_adapter(target).await;
        let names: Vec<String> = (0..50).map(|n| format!("gitaly-{n:02}")).collect();
        let spec = Spec::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let plan = tool.plan(&spec).await;
        let result = tool.run(&plan).await;
        well(&tool, &result);
        // What tranship wrote; controllers go on with theirs.
        let objects = |facts: &ClusterFacts| {
            let managers = |object: &Value| object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
            let ours = |entry: &Value| entry["manager"] == "tranship";
            let written = facts
                .objects
                .iter()
                .map(|(key, object)| (key.clone(), managers(object).into_iter().filter(ours).collect::<Vec<_>>()));
            written.collect::<BTreeMap<_, _>>()
        };
        let before = tool.observe(&spec).await;
        // What of it Gitaly's stand-in asks is not the reading's.
        let (began, sent) = (Instant::now(), adapter.requests());
        let desired = spec.desired(&tool.namespace);
        let request = Request { pods: pods::wanted(&desired), declared: vec![name("gitaly-00")], ..Request::default() };
        let observed = live::observe(&tool.ports, &request).await.expect("observed");
        let (took, requests) = (began.elapsed(), adapter.requests() - sent);
        let Some(Reading::Known(after)) = observed.cluster else { panic!("not read") };
        println!("50 storages: {requests} requests, {} ms", took.as_millis());
        // The version, a list of each of nine kinds, two Secrets, five of the surroundings, which cluster it is; six dry
        // runs a storage; and two of the stand-in.
        assert_eq!(requests, 1 + 9 + 2 + 5 + 1 + 50 * 6 + 2);
        assert!(objects(&before) == objects(&after), "nothing was written");
        assert!(tool.plan(&spec).await.is_empty());
    });
}

#[test]
fn what_another_environment_made_is_not_touched() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        let mut spec = Spec::new(&["gitaly-a"]);
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        let pod = pod_of(&tool, "gitaly-a").await;
        let claim = tool.live(ObjectKind::PersistentVolumeClaim, "repo-data-gitaly-a-0").await.expect("a claim");
        assert_eq!(claim["metadata"]["annotations"]["tranship/environment"], "default");
        // The state is lost: what it made is taken up again, and that is said.
        tool.store.save(&State::new("default")).expect("saved");
        let plan = tool.plan(&spec).await;
        assert!(plan.findings.iter().any(|finding| finding.code == "pod-not-recorded"), "{:?}", plan.findings);
        let result = tool.run(&plan).await;
        well(&tool, &result);
        assert_eq!(pod_of(&tool, "gitaly-a").await, pod);
        assert!(tool.plan(&spec).await.findings.is_empty());
        // Another environment, of another GitLab.
        spec.environment = "other-fleet".into();
        spec.image = "example.com/gitaly:v18.3.1".into();
        tool.store.save(&State::new("other-fleet")).expect("saved");
        let (plan, errors) = tool.judged(&spec, &Options::default()).await;
        assert_eq!((errors, plan.is_empty()), (vec!["environment-of-another".to_owned()], true));
        // Renamed on purpose: the claim keeps what it was made with.
        spec.image = "example.com/gitaly:v18.2.0".into();
        let (plan, errors) = tool.judged(&spec, &Options { adopt: true, ..Options::default() }).await;
        assert_eq!(errors, Vec::<String>::new());
        let result = tool.run(&plan).await;
        well(&tool, &result);
        assert_eq!(pod_of(&tool, "gitaly-a").await, pod, "an annotation restarts nothing");
        let set = tool.live(ObjectKind::StatefulSet, "gitaly-a").await.expect("a set");
        assert_eq!(set["metadata"]["annotations"]["tranship/environment"], "other-fleet");
        let plan = tool.plan(&spec).await;
        assert!(plan.is_empty() && plan.findings.is_empty(), "{:?} {:?}", plan.actions, plan.findings);
    });
}

/// What a plan does to StatefulSets.
fn classes(plan: &Plan) -> Vec<pods::ChangeClass> {
    let sets = plan.actions.iter().filter_map(|action| match &action.change {
        Change::ApplyObject { manifest, class, .. } if manifest.key.kind == ObjectKind::StatefulSet => Some(*class),
        _ => None,
    });
    sets.collect()
}

const ON_DELETE: &str = r#"extra = { spec = { updateStrategy = { type = "OnDelete" } } }"#;

#[test]
fn a_pod_that_is_older_than_its_set_restarts_only_where_that_is_planned() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        let mut spec = Spec { more: ON_DELETE.into(), ..Spec::new(&["gitaly-a", "gitaly-b"]) };
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        let before = [pod_of(&tool, "gitaly-a").await, pod_of(&tool, "gitaly-b").await];
        spec.image = "example.com/gitaly:v18.3.1".into();
        let plan = tool.plan(&spec).await;
        assert_eq!(classes(&plan), [pods::ChangeClass::InPlace; 2]);
        let result = tool.run(&plan).await;
        well(&tool, &result);
        assert_eq!([pod_of(&tool, "gitaly-a").await, pod_of(&tool, "gitaly-b").await], before);
        assert!(tool.plan(&spec).await.is_empty());
        // Made anew, it waits for a delete as before.
        spec.more = r#"extra = { spec = { serviceName = "other", updateStrategy = { type = "OnDelete" } } }"#.into();
        spec.image = "example.com/gitaly:v18.3.2".into();
        let plan = tool.plan(&spec).await;
        let result = tool.run(&plan).await;
        well(&tool, &result);
        assert!(tool.told().contains("made anew; its pod keeps its old template"), "{}", tool.told());
        assert_eq!([pod_of(&tool, "gitaly-a").await, pod_of(&tool, "gitaly-b").await], before);
        // Nothing holds them any more.
        spec.more = OTHER_SERVICE.into();
        let plan = tool.plan(&spec).await;
        assert_eq!(classes(&plan), [pods::ChangeClass::RollsPod; 2], "{:#?}", plan.actions);
        assert!(plan.edges.iter().any(|edge| edge.reason == "one storage restarts after the other"));
        let result = tool.run(&plan).await;
        well(&tool, &result);
        let after = [pod_of(&tool, "gitaly-a").await, pod_of(&tool, "gitaly-b").await];
        assert!(after[0].0 != before[0].0 && after[1].0 != before[1].0);
        let plan = tool.plan(&spec).await;
        assert!(plan.is_empty(), "{:#?}", plan.actions);
    });
}

#[test]
fn a_pod_that_lost_its_set_is_taken_over_or_restarts_as_planned() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        let mut spec = Spec::new(&["gitaly-a"]);
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        let pod = pod_of(&tool, "gitaly-a").await;
        for (image, class) in [("v18.2.0", pods::ChangeClass::Create), ("v18.3.1", pods::ChangeClass::RollsPod)] {
            let set = tool.live(ObjectKind::StatefulSet, "gitaly-a").await.expect("a set");
            let orphan = Delete { orphan: true, uid: Some(uid(&set)), ..Delete::default() };
            tool.cluster.delete(&key(ObjectKind::StatefulSet, "gitaly-a"), &orphan).await.expect("deleted");
            target.until_gone::<StatefulSet>("gitaly-a").await;
            spec.image = format!("example.com/gitaly:{image}");
            let plan = tool.plan(&spec).await;
            assert_eq!(classes(&plan), [class], "{:#?}", plan.actions);
            let result = tool.run(&plan).await;
            well(&tool, &result);
            assert_eq!(pod_of(&tool, "gitaly-a").await == pod, class == pods::ChangeClass::Create, "{image}");
            assert!(tool.plan(&spec).await.is_empty());
        }
    });
}

#[test]
fn a_set_that_somebody_changed_since_the_plan_is_not_made_anew() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        let mut spec = Spec::new(&["gitaly-a"]);
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        spec.more = OTHER_SERVICE.into();
        let plan = tool.plan(&spec).await;
        // As kubectl set image does, while the question waits for its answer.
        let pod = pod_of(&tool, "gitaly-a").await;
        let image = json!({ "spec": { "template": { "spec": { "containers": [
            { "name": "gitaly", "image": "example.com/gitaly:v18.2.9" },
        ] } } } });
        let as_kubectl = PatchParams { field_manager: Some("kubectl-set".into()), ..PatchParams::default() };
        target.api::<StatefulSet>().patch("gitaly-a", &as_kubectl, &Patch::Strategic(&image)).await.expect("patched");
        target.until_ready("gitaly-a-0", Some(&pod.0)).await;
        let pod = pod_of(&tool, "gitaly-a").await;
        let result = tool.run(&plan).await;
        assert_eq!(result.summary.stale, 1, "{}", tool.told());
        let told = tool.told();
        assert!(
            told.contains("changed since the plan was made: .spec.template.spec.containers[gitaly].image"),
            "{told}"
        );
        assert_eq!(pod_of(&tool, "gitaly-a").await, pod);
        let set = tool.live(ObjectKind::StatefulSet, "gitaly-a").await.expect("a set");
        assert_eq!(set["spec"]["template"]["spec"]["containers"][0]["image"], "example.com/gitaly:v18.2.9");
        // Not what was compared: the server itself refuses.
        let old = Delete { orphan: true, uid: Some(uid(&set)), resource_version: Some("1".into()), dry_run: false };
        let answer = tool.cluster.delete(&key(ObjectKind::StatefulSet, "gitaly-a"), &old).await.expect("answered");
        let Answer::Refused(refusal) = answer else { panic!("deleted") };
        assert_eq!((refusal.why, refusal.conflicts.len()), (Why::Conflict, 0));
    });
}

#[test]
fn who_may_not_delete_a_set_learns_it_from_the_plan() {
    on_cluster(async |target| {
        let mut tool = tool(target).await;
        let mut spec = Spec::new(&["gitaly-a"]);
        let result = tool.apply(&spec).await;
        well(&tool, &result);
        let all = json!(["get", "list", "create", "patch"]);
        let rules = json!([
            { "apiGroups": [""], "resources": ["configmaps", "services", "serviceaccounts", "pods", "persistentvolumeclaims", "secrets"], "verbs": all },
            { "apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": all },
            { "apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": all },
        ]);
        let restricted = written(&target.restricted("undeleting", &rules).await);
        tool.ports.cluster = Some(Arc::new(kube_cluster(path(&restricted), &target.namespace)));
        spec.more = OTHER_SERVICE.into();
        let (plan, errors) = tool.judged(&spec, &Options::default()).await;
        assert_eq!((errors, plan.is_empty()), (vec!["rights-missing".to_owned()], true));
        assert!(plan.findings[0].message.contains("may not delete statefulsets.apps"), "{:?}", plan.findings);
    });
}
