//! What Kubernetes answers, row by row: whatever stands in for a cluster must answer alike, and the adapter is written
//! for these answers. Only the last tests are of the real control plane alone: they hold what its kubelets can be made
//! to do.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Status;
use serde_json::{Value, json};

use super::common::cluster::{self, Target, bound, on_cluster};

/// A row: what was seen, held against a target.
type Row = for<'a> fn(&'a Target) -> BoxFuture<'a, ()>;

/// Names the functions of rows, each with its name.
macro_rules! rows {
    ($($row:ident),* $(,)?) => { &[$((stringify!($row), |target| Box::pin($row(target)))),*] };
}

/// What every target answers.
const ROWS: &[(&str, Row)] = rows![
    a_stateful_set_becomes_ready_and_guaranteed,
    what_cannot_be_updated_is_named,
    an_orphaned_pod_stays_and_keeps_its_subdomain,
    a_delete_heeds_its_preconditions,
    another_manager_is_told_the_owner,
    an_applied_field_that_is_left_out_goes,
    an_unknown_field_is_refused,
    an_unknown_priority_class_shows_on_a_pod_only,
    a_quota_shows_on_a_pod_only,
    a_stuck_pod_keeps_its_template_until_it_is_deleted,
    a_volume_made_by_hand_does_not_grow,
    a_claim_grows_and_never_shrinks,
    an_eviction_heeds_the_disruption_budget,
    a_deleted_pod_comes_back_with_its_claim,
    who_has_no_right_is_told_which,
];

/// Holds all rows at once against a target, each in a namespace of its own; tells all that do not hold.
async fn hold(target: &Target) {
    let rows = ROWS.iter().map(|(name, row)| async move {
        let target = target.another().await;
        let ended = AssertUnwindSafe(row(&target)).catch_unwind().await;
        target.remove().await;
        ended.err().map(|_| *name)
    });
    let broken: Vec<&str> = futures::future::join_all(rows).await.into_iter().flatten().collect();
    assert!(broken.is_empty(), "what does not hold, with its reason above: {}", broken.join(", "));
}

#[test]
fn a_real_control_plane_holds_every_row() {
    on_cluster(async |target| hold(target).await);
}

/// The StatefulSet of a Gitaly as tranship makes it, in what matters here: one replica, requests that equal limits.
fn stateful_set() -> Value {
    let resources = json!({"cpu": "100m", "memory": "64Mi"});
    let container = |name: &str| {
        json!({
            "name": name,
            "image": "gitaly:v18.5.1",
            "resources": {"requests": resources, "limits": resources},
            "volumeMounts": [{"name": "repo", "mountPath": "/home/git/repositories"}],
        })
    };
    json!({
        "metadata": {"name": "gitaly-a"},
        "spec": {
            "replicas": 1,
            "serviceName": "gitaly-a",
            "selector": {"matchLabels": {"app": "gitaly-a"}},
            "template": {
                "metadata": {"labels": {"app": "gitaly-a"}},
                "spec": {
                    "priorityClassName": "gitaly",
                    "initContainers": [container("init")],
                    "containers": [container("gitaly")],
                },
            },
            "volumeClaimTemplates": [{
                "metadata": {"name": "repo"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": "no-provisioner",
                    "resources": {"requests": {"storage": "10Gi"}},
                },
            }],
        },
    })
}

/// The same without a volume, for what has nothing to do with one.
fn diskless() -> Value {
    let mut set = stateful_set();
    set["spec"]["volumeClaimTemplates"].take();
    for kind in ["initContainers", "containers"] {
        set["spec"]["template"]["spec"][kind][0]["volumeMounts"].take();
    }
    set
}

/// A Pod made from the template.
fn pod_of(set: &Value) -> Value {
    let mut pod = set["spec"]["template"].clone();
    pod["metadata"]["name"] = "dry-run".into();
    pod
}

/// The name of the pod.
const POD: &str = "gitaly-a-0";
/// The name of the claim.
const CLAIM: &str = "repo-gitaly-a-0";

/// Applies and waits for the pod.
async fn running(target: &Target, set: &Value) -> Pod {
    target.apply::<StatefulSet>(set).await.expect("applied");
    target.until_ready(POD, None).await
}

/// What the server said no with.
fn refused<T: std::fmt::Debug>(answer: kube::Result<T>) -> Status {
    match answer {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("should have been refused: {other:?}"),
    }
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().expect("a uid")
}

fn subdomain(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.subdomain.as_deref()
}

async fn a_stateful_set_becomes_ready_and_guaranteed(target: &Target) {
    target.volume(CLAIM, "10Gi").await;
    let pod = running(target, &stateful_set()).await;
    let status = pod.status.expect("a status");
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(status.qos_class.as_deref(), Some("Guaranteed"));
    assert_eq!(pod.spec.expect("a spec").priority, Some(1_000_000));
    target.until::<PersistentVolumeClaim>(CLAIM, "bound", bound).await;
    target
        .until::<StatefulSet>("gitaly-a", "rolled out", |set| {
            let Some(status) = &set.status else { return false };
            status.observed_generation >= set.metadata.generation
                && status.ready_replicas == Some(1)
                && status.updated_replicas == Some(1)
                && status.current_revision == status.update_revision
        })
        .await;
}

async fn what_cannot_be_updated_is_named(target: &Target) {
    target.apply::<StatefulSet>(&stateful_set()).await.expect("applied");
    for (path, value) in [
        ("/spec/serviceName", json!("another")),
        ("/spec/volumeClaimTemplates/0/spec/resources/requests/storage", json!("20Gi")),
        ("/spec/podManagementPolicy", json!("Parallel")),
    ] {
        let mut set = stateful_set();
        match set.pointer_mut(path) {
            Some(field) => *field = value,
            None => set["spec"]["podManagementPolicy"] = value,
        }
        let status = refused(target.dry_run::<StatefulSet>(&set).await);
        assert_eq!(status.code, 422, "{path}");
        assert_eq!(
            status.message,
            "StatefulSet.apps \"gitaly-a\" is invalid: spec: Forbidden: updates to statefulset spec for fields other than \
             'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', \
             'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
            "{path}"
        );
    }
}

async fn an_orphaned_pod_stays_and_keeps_its_subdomain(target: &Target) {
    let before = running(target, &diskless()).await;
    assert_eq!(subdomain(&before), Some("gitaly-a"));
    let sets = target.api::<StatefulSet>();
    sets.delete("gitaly-a", &DeleteParams::orphan()).await.expect("deleted");
    target.until_gone::<StatefulSet>("gitaly-a").await;
    let mut set = diskless();
    set["spec"]["serviceName"] = "another".into();
    target.apply::<StatefulSet>(&set).await.expect("applied");
    let owner = target.until::<StatefulSet>("gitaly-a", "whole", |set| {
        set.status.as_ref().is_some_and(|status| status.ready_replicas == Some(1))
    });
    let owner = owner.await;
    let adopted = target.api::<Pod>().get(POD).await.expect("a pod");
    assert_eq!(uid(&adopted), uid(&before), "it was not made again");
    assert_eq!(
        adopted.metadata.owner_references.as_ref().expect("an owner")[0].uid,
        owner.metadata.uid.expect("a uid")
    );
    assert_eq!(subdomain(&adopted), Some("gitaly-a"));
    target.api::<Pod>().delete(POD, &DeleteParams::default()).await.expect("deleted");
    let after = target.until_ready(POD, Some(uid(&before))).await;
    assert_eq!(subdomain(&after), Some("another"));
}

async fn a_delete_heeds_its_preconditions(target: &Target) {
    let set = target.apply::<StatefulSet>(&diskless()).await.expect("applied");
    let sets = target.api::<StatefulSet>();
    let wrong = Preconditions { uid: Some("another".to_owned()), resource_version: None };
    let status = refused(sets.delete("gitaly-a", &DeleteParams::orphan().preconditions(wrong)).await);
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert!(status.message.contains("Precondition failed: UID in precondition: another"), "{}", status.message);
    let right = Preconditions { uid: set.metadata.uid, resource_version: None };
    sets.delete("gitaly-a", &DeleteParams::orphan().preconditions(right)).await.expect("deleted");
}

async fn another_manager_is_told_the_owner(target: &Target) {
    target.apply::<StatefulSet>(&diskless()).await.expect("applied");
    let mut other = json!({"metadata": {"name": "gitaly-a"}, "spec": {"replicas": 0}});
    let status = refused(target.apply_as::<StatefulSet>("another", true, &other).await);
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert!(status.message.contains("conflict with \"tranship\": .spec.replicas"), "{}", status.message);
    let cause = &status.details.expect("details").causes[0];
    assert_eq!((cause.reason.as_str(), cause.field.as_str()), ("FieldManagerConflict", ".spec.replicas"));
    // An equal value is owned by both.
    other["spec"]["replicas"] = 1.into();
    target.apply_as::<StatefulSet>("another", false, &other).await.expect("no conflict");
}

async fn an_applied_field_that_is_left_out_goes(target: &Target) {
    let labels = |labels: Value| {
        let ports = json!([{"name": "grpc", "port": 8075}]);
        json!({"metadata": {"name": "gitaly-a", "labels": labels}, "spec": {"ports": ports, "clusterIP": "None"}})
    };
    let both = target.apply::<Service>(&labels(json!({"a": "1", "b": "2"}))).await.expect("applied");
    assert_eq!(both.metadata.labels.expect("labels").len(), 2);
    let one = target.apply::<Service>(&labels(json!({"a": "1"}))).await.expect("applied");
    assert_eq!(one.metadata.labels.expect("labels").into_keys().collect::<Vec<_>>(), ["a"]);
    let again = target.apply::<Service>(&labels(json!({"a": "1"}))).await.expect("applied");
    assert_eq!(again.metadata.resource_version, one.metadata.resource_version, "nothing changed");
}

async fn an_unknown_field_is_refused(target: &Target) {
    let mut set = diskless();
    set["spec"]["replicaz"] = 1.into();
    let status = refused(target.dry_run::<StatefulSet>(&set).await);
    assert!(status.message.contains(".spec.replicaz: field not declared in schema"), "{status:?}");
}

/// The StatefulSet is accepted, an event of it tells, and a Pod made from its template is refused with the same words.
async fn shows_on_a_pod_only(target: &Target, set: &Value, why: &str) {
    target.dry_run::<StatefulSet>(set).await.expect("accepted");
    target.apply::<StatefulSet>(set).await.expect("accepted");
    let status = refused(target.dry_run::<Pod>(&pod_of(set)).await);
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
    assert!(status.message.contains(why), "{}", status.message);
    let fields = "involvedObject.kind=StatefulSet,reason=FailedCreate";
    for _ in 0..600 {
        let events = target.api::<Event>().list(&ListParams::default().fields(fields)).await.expect("events");
        if let Some(event) = events.items.first() {
            let message = event.message.as_deref().unwrap_or_default();
            assert!(message.contains("is forbidden") && message.contains(why), "{message}");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("no event");
}

async fn an_unknown_priority_class_shows_on_a_pod_only(target: &Target) {
    let mut set = diskless();
    set["spec"]["template"]["spec"]["priorityClassName"] = "nope".into();
    shows_on_a_pod_only(target, &set, "no PriorityClass with name nope was found").await;
}

async fn a_quota_shows_on_a_pod_only(target: &Target) {
    target.quota(&json!({"requests.cpu": "50m"})).await;
    let why = "exceeded quota: quota, requested: requests.cpu=100m, used: requests.cpu=0, limited: requests.cpu=50m";
    shows_on_a_pod_only(target, &diskless(), why).await;
}

async fn a_stuck_pod_keeps_its_template_until_it_is_deleted(target: &Target) {
    let mut set = diskless();
    set["spec"]["template"]["spec"]["nodeSelector"] = json!({"topology.kubernetes.io/zone": "nowhere"});
    target.apply::<StatefulSet>(&set).await.expect("applied");
    let unschedulable = |pod: &Pod| {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|condition| condition.reason.as_deref() == Some("Unschedulable"))
    };
    let stuck = target.until::<Pod>(POD, "unschedulable", unschedulable).await;
    assert_eq!(stuck.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Pending"));
    let fixed = target.apply::<StatefulSet>(&diskless()).await.expect("applied");
    let seen = |set: &StatefulSet| {
        set.status.as_ref().is_some_and(|status| {
            status.observed_generation >= fixed.metadata.generation && status.current_revision != status.update_revision
        })
    };
    target.until::<StatefulSet>("gitaly-a", "seen by its controller", seen).await;
    let still = target.api::<Pod>().get(POD).await.expect("a pod");
    assert_eq!(uid(&still), uid(&stuck), "the controller left it alone");
    assert!(still.spec.expect("a spec").node_selector.is_some(), "with the old template");
    target.api::<Pod>().delete(POD, &DeleteParams::default()).await.expect("deleted");
    let made = target.until_ready(POD, Some(uid(&stuck))).await;
    assert_eq!(made.spec.expect("a spec").node_selector, None);
}

/// Asks for a claim of another size.
async fn resize(target: &Target, size: &str) -> kube::Result<PersistentVolumeClaim> {
    let patch = json!({"spec": {"resources": {"requests": {"storage": size}}}});
    target.api::<PersistentVolumeClaim>().patch(CLAIM, &PatchParams::default(), &Patch::Merge(patch)).await
}

async fn a_volume_made_by_hand_does_not_grow(target: &Target) {
    target.volume(CLAIM, "10Gi").await;
    running(target, &stateful_set()).await;
    let status = refused(resize(target, "20Gi").await);
    assert_eq!(status.code, 403);
    let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support \
               resize";
    assert!(status.message.contains(why), "{}", status.message);
}

async fn a_claim_grows_and_never_shrinks(target: &Target) {
    let mut set = stateful_set();
    set["spec"]["volumeClaimTemplates"][0]["spec"]["storageClassName"] = "expandable".into();
    let pod = running(target, &set).await;
    resize(target, "20Gi").await.expect("accepted");
    let capacity = |claim: &PersistentVolumeClaim| {
        let capacity = claim.status.as_ref().and_then(|status| status.capacity.as_ref());
        capacity.and_then(|capacity| capacity.get("storage")).is_some_and(|size| size.0 == "20Gi")
    };
    target.until::<PersistentVolumeClaim>(CLAIM, "grown", capacity).await;
    let status = refused(resize(target, "5Gi").await);
    assert_eq!(status.code, 422);
    let why = "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity";
    assert!(status.message.contains(why), "{}", status.message);
    let still = target.api::<Pod>().get(POD).await.expect("a pod");
    assert_eq!(uid(&still), uid(&pod), "the pod was left alone");
}

async fn an_eviction_heeds_the_disruption_budget(target: &Target) {
    let before = running(target, &diskless()).await;
    let selector = json!({"matchLabels": {"app": "gitaly-a"}});
    let budget = json!({"metadata": {"name": "g"}, "spec": {"maxUnavailable": 0, "selector": selector}});
    target.apply::<PodDisruptionBudget>(&budget).await.expect("applied");
    let counted =
        |budget: &PodDisruptionBudget| budget.status.as_ref().is_some_and(|status| status.current_healthy == 1);
    target.until::<PodDisruptionBudget>("g", "counted", counted).await;
    let status = refused(target.api::<Pod>().evict(POD, &EvictParams::default()).await);
    assert_eq!((status.code, status.reason.as_str()), (429, "TooManyRequests"));
    let cause = &status.details.expect("details").causes[0];
    assert_eq!(cause.reason, "DisruptionBudget");
    assert_eq!(cause.message, "The disruption budget g needs 1 healthy pods and has 1 currently");
    // What is not an eviction does not ask.
    target.api::<Pod>().delete(POD, &DeleteParams::default()).await.expect("deleted");
    target.until_ready(POD, Some(uid(&before))).await;
}

async fn a_deleted_pod_comes_back_with_its_claim(target: &Target) {
    target.volume(CLAIM, "10Gi").await;
    let before = running(target, &stateful_set()).await;
    let claim = target.api::<PersistentVolumeClaim>().get(CLAIM).await.expect("a claim");
    target.api::<Pod>().delete(POD, &DeleteParams::default()).await.expect("deleted");
    let after = target.until_ready(POD, Some(uid(&before))).await;
    let volumes = after.spec.expect("a spec").volumes.expect("volumes");
    let names: Vec<_> = volumes.iter().filter_map(|volume| volume.persistent_volume_claim.as_ref()).collect();
    assert_eq!(names.iter().map(|source| source.claim_name.as_str()).collect::<Vec<_>>(), [CLAIM]);
    let same = target.api::<PersistentVolumeClaim>().get(CLAIM).await.expect("a claim");
    assert_eq!(same.metadata.uid, claim.metadata.uid);
    assert_eq!(same.spec.expect("a spec").volume_name, claim.spec.expect("a spec").volume_name);
}

async fn who_has_no_right_is_told_which(target: &Target) {
    target.secret("gitaly-token", "token", "sesame").await;
    let rules = json!([{"apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": ["get", "list"]}]);
    let kubeconfig = target.restricted("reader", &rules).await;
    let client = cluster::client(kubeconfig, &target.namespace).await;
    Api::<StatefulSet>::default_namespaced(client.clone()).list(&ListParams::default()).await.expect("allowed");
    let status = refused(Api::<Secret>::default_namespaced(client.clone()).get("gitaly-token").await);
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
    let namespace = &target.namespace;
    assert_eq!(
        status.message,
        format!(
            "secrets \"gitaly-token\" is forbidden: User \"system:serviceaccount:{namespace}:reader\" cannot get resource \
             \"secrets\" in API group \"\" in the namespace \"{namespace}\""
        )
    );
    // A dry run needs the right as well.
    let set = serde_json::from_value(diskless()).expect("a StatefulSet");
    let dry = PostParams { dry_run: true, field_manager: None };
    let status = refused(Api::<StatefulSet>::default_namespaced(client).create(&dry, &set).await);
    assert!(status.message.contains("cannot create resource \"statefulsets\""), "{}", status.message);
}

/// Why a pod's first container waits, and how often it has restarted.
fn trouble(pod: &Pod) -> (Option<&str>, i32) {
    let status = pod.status.as_ref();
    let Some(first) = status.and_then(|status| status.container_statuses.as_ref()?.first()) else { return (None, 0) };
    let waiting = first.state.as_ref().and_then(|state| state.waiting.as_ref()?.reason.as_deref());
    (waiting, first.restart_count)
}

#[test]
fn kubelets_crash_and_recover_as_told() {
    on_cluster(async |target| {
        target.steer("fault", Some("crash-loop")).await;
        target.steer("exit-reason", Some("OOMKilled")).await;
        target.apply::<StatefulSet>(&diskless()).await.expect("applied");
        let crashing = |pod: &Pod| trouble(pod).0 == Some("CrashLoopBackOff") && trouble(pod).1 >= 2;
        let pod = target.until::<Pod>(POD, "crashing again and again", crashing).await;
        assert!(!cluster::ready(&pod));
        let last = pod.status.and_then(|mut status| status.container_statuses.take()?.remove(0).last_state);
        let ended = last.and_then(|state| state.terminated).expect("how it ended");
        assert_eq!((ended.reason.as_deref(), ended.exit_code), (Some("OOMKilled"), 137));
        target.steer_pod(POD, "fault", None).await;
        target.until_ready(POD, None).await;
    });
}

#[test]
fn kubelets_restart_a_container_as_often_as_told() {
    on_cluster(async |target| {
        let before = running(target, &diskless()).await;
        target.steer_pod(POD, "restarts", Some("1")).await;
        let restarted = |pod: &Pod| trouble(pod).1 == 1 && cluster::ready(pod);
        let after = target.until::<Pod>(POD, "restarted and ready", restarted).await;
        assert_eq!(uid(&after), uid(&before));
    });
}

#[test]
fn kubelets_hang_in_an_image_pull_as_told() {
    on_cluster(async |target| {
        target.steer("fault", Some("image-pull")).await;
        let mut set = diskless();
        set["spec"]["template"]["spec"]["initContainers"].take();
        target.apply::<StatefulSet>(&set).await.expect("applied");
        target.until::<Pod>(POD, "hanging", |pod| trouble(pod).0 == Some("ImagePullBackOff")).await;
        target.steer_pod(POD, "fault", None).await;
        target.until_ready(POD, None).await;
    });
}

#[test]
fn kubelets_keep_a_pod_unready_as_told() {
    on_cluster(async |target| {
        running(target, &diskless()).await;
        target.steer_pod(POD, "fault", Some("never-ready")).await;
        let unready = |pod: &Pod| !cluster::ready(pod) && trouble(pod) == (None, 0);
        target.until::<Pod>(POD, "running and not ready", unready).await;
        // Deleted, it stays as long as on a node that is lost.
        target.steer_pod(POD, "gone-after", Some("1h")).await;
        let deleted = target.api::<Pod>().delete(POD, &DeleteParams::default()).await.expect("deleted");
        assert!(deleted.left().expect("still there").metadata.deletion_timestamp.is_some());
    });
}
