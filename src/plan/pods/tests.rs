//! Pod storages from configuration to plan, on a cluster that is a value.

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::world::{key, refusal};
use super::{ChangeClass, wanted};
use crate::model::cluster::{Answer, Counted, ENVIRONMENT, Manifest, ObjectKind, QuotaFacts, VolumeFacts, Why};
use crate::model::quantity::Quantity;
use crate::model::{Bytes, MonitorSpec, NetworkPolicySpec, Reading, ServiceKind, ServiceSpec};
use crate::plan::fixture::{GIB, World, away, name, server, weight};
use crate::plan::{Change, Level, Options, Plan, WaitingOn, check, saved};
use crate::state::{Record, State};

fn addresses(plan: &Plan) -> Vec<String> {
    plan.actions.iter().map(|action| action.address.to_string()).collect()
}

fn codes(plan: &Plan) -> Vec<(Level, &str)> {
    plan.findings.iter().map(|f| (f.level, f.code.as_str())).collect()
}

fn said<'p>(plan: &'p Plan, code: &str) -> &'p str {
    let found = plan.findings.iter().find(|finding| finding.code == code);
    found.map(|finding| finding.message.as_str()).unwrap_or_else(|| panic!("{code} in {:?}", codes(plan)))
}

/// What GitLab lists: projects, or nothing of any kind.
fn counted(number: u64) -> Counted {
    if number == 0 { Counted::All(0) } else { Counted::Projects(number) }
}

/// The volume of gitaly-a.
fn volume(world: &mut World, policy: &str, terms: Value) {
    let node_terms = terms.as_array().cloned().expect("terms");
    let facts = VolumeFacts { reclaim_policy: policy.to_owned(), node_terms };
    world.cluster.surroundings.volumes = Reading::Known([("pv-gitaly-a".to_owned(), facts)].into());
}

const IMAGE: &str = "registry.example.com/cng/gitaly:v18.3.0";

fn class_of(plan: &Plan, wanted: ObjectKind) -> Option<ChangeClass> {
    plan.actions.iter().find_map(|action| match &action.change {
        Change::ApplyObject { manifest, class, .. } if manifest.key.kind == wanted => Some(*class),
        _ => None,
    })
}

/// A world whose pods were made and are as wanted.
fn settled(pods: &[&str]) -> World {
    let mut world = World::to_pods(pods, &[GIB, 2 * GIB]);
    let plan = world.plan();
    world.apply(&plan);
    let again = world.plan();
    assert!(
        again.is_empty() && again.findings.is_empty() && again.drift.is_empty(),
        "{:?} {:?}",
        again.actions,
        again.findings
    );
    world
}

fn manifests(world: &World, storage: &str) -> Vec<Manifest> {
    wanted(&world.desired).storages[&name(storage)].manifests.clone()
}

fn set(world: &World) -> Value {
    manifests(world, "gitaly-a").into_iter().find(|m| m.key.kind == ObjectKind::StatefulSet).expect("made").body
}

#[test]
fn all_objects_of_one_storage() {
    let mut world = World::to_pods(&["gitaly-a"], &[]);
    world.desired("gitaly-a").zone = Some("europe-west1-b".to_owned());
    world.spec("gitaly-a", |spec| {
        spec.tolerations = vec![json!({ "key": "gitaly", "operator": "Exists", "effect": "NoSchedule" })];
        spec.service = ServiceSpec {
            kind: ServiceKind::LoadBalancer,
            annotations: [("example.com/internal".to_owned(), "true".to_owned())].into(),
        };
        spec.network_policy = Some(NetworkPolicySpec {
            namespaces: vec!["gitlab".to_owned()],
            cidrs: vec!["10.0.0.0/8".to_owned()],
            metrics: vec!["monitoring".to_owned()],
        });
        spec.service_monitor = Some(MonitorSpec {
            labels: [("release".to_owned(), "prometheus".to_owned())].into(),
            interval_seconds: Some(30),
        });
        spec.config = json!({
            "auth": { "transitioning": true },
            "concurrency": [{ "rpc": "/gitaly.SSHService/SSHUploadPackWithSidechannel", "max_per_repo": 20 }],
            "hooks": null,
        });
        spec.extra = json!({ "spec": { "template": { "spec": { "containers": [
            { "name": "gitaly", "env": [{ "name": "TZ", "value": "UTC" }] },
        ] } } } });
    });
    let wanted = wanted(&world.desired);
    let storage = &wanted.storages[&name("gitaly-a")];
    let mut bodies: Vec<&Value> = storage.manifests.iter().map(|manifest| &manifest.body).collect();
    bodies.push(&storage.pod.body);
    assert_snapshot!(serde_saphyr::to_string_multiple(&bodies).expect("YAML"));
    assert_eq!(wanted.secrets.len(), 2);
    assert_eq!(super::wanted(&world.desired), wanted, "the same bytes each time");
}

#[test]
fn every_container_leaves_the_pod_guaranteed() {
    let mut world = World::to_pods(&["gitaly-a"], &[]);
    world.spec("gitaly-a", |spec| spec.cpu_millis = 1500);
    let set = set(&world);
    let pod = &set["spec"]["template"]["spec"];
    let containers = [&pod["containers"], &pod["initContainers"]].map(|list| list.as_array().expect("a list").clone());
    assert_eq!(containers.each_ref().map(Vec::len), [1, 1]);
    for container in containers.iter().flatten() {
        let resources = &container["resources"];
        assert_eq!(resources["requests"], resources["limits"]);
        for amount in ["cpu", "memory"] {
            assert!(Quantity::parse(resources["limits"][amount].as_str().expect(amount)).is_ok());
        }
    }
    assert_eq!(containers[0][0]["resources"]["limits"]["cpu"], "1500m");
}

#[test]
fn no_secret_stands_in_an_object_and_a_change_of_configuration_rolls() {
    let mut world = World::to_pods(&["gitaly-a"], &[]);
    let text = |world: &World| {
        let objects = manifests(world, "gitaly-a");
        objects[1].body["data"]["config.toml.tpl"].as_str().expect("a text").to_owned()
    };
    let before = (text(&world), set(&world)["spec"]["template"]["metadata"]["annotations"]["checksum/config"].clone());
    assert!(before.0.contains("token = {% file.Read \"/etc/gitlab-secrets/gitaly/gitaly_token\""), "{}", before.0);
    assert!(before.0.contains("mountpoint = {% file.Read \"/etc/gitaly-cgroup/gitaly-pod-cgroup\""));
    world.spec("gitaly-a", |spec| spec.config = json!({ "git": { "catfile_cache_size": 5 } }));
    let after = (text(&world), set(&world)["spec"]["template"]["metadata"]["annotations"]["checksum/config"].clone());
    assert!(after.0.contains("[git]\ncatfile_cache_size = 5"), "{}", after.0);
    assert_ne!(before.1, after.1);
}

#[test]
fn pods_are_made_before_anything_goes_there() {
    let mut world = World::to_pods(&["gitaly-a"], &[GIB]);
    let plan = world.plan();
    assert_eq!(
        addresses(&plan),
        [
            "pod.gitaly-a[\"ServiceAccount\"]",
            "pod.gitaly-a[\"ConfigMap\"]",
            "pod.gitaly-a[\"Service\"]",
            "pod.gitaly-a[\"Service/gitaly-a-gitaly\"]",
            "pod.gitaly-a[\"PodDisruptionBudget\"]",
            "pod.gitaly-a[\"StatefulSet\"]",
            "ready.gitaly-a",
            "known.gitaly-a",
            "weight.gitaly-a",
            "weight.old",
            "moves.old[\"rest\"]",
            "drain.old",
        ]
    );
    assert_eq!(codes(&plan), [], "a sound cluster says nothing");
    let room = &plan.storages[&name("gitaly-a")];
    assert_eq!((room.used, room.capacity), (Some(Bytes(0)), Some(Bytes(100 * GIB))));
    assert!(!plan.basis.filesystem_ids.contains_key(&name("gitaly-a")));
    assert_eq!(saved::decode(&saved::encode(&plan)), Ok(plan.clone()));
    world.apply(&plan);
    let again = world.plan();
    assert!(again.is_empty() && again.findings.is_empty(), "{:?}", again.findings);
}

#[test]
fn a_plan_that_was_cut_short_goes_on() {
    // Everything was applied, and the process ended before the pod was seen ready.
    let mut world = World::to_pods(&["gitaly-a"], &[GIB]);
    let mut plan = world.plan();
    plan.actions.retain(|action| matches!(action.change, Change::ApplyObject { .. }));
    world.apply(&Plan {
        moves: Vec::new(),
        basis: crate::plan::Basis { filesystem_ids: Default::default(), ..plan.basis.clone() },
        ..plan
    });
    let plan = world.plan();
    assert_eq!(addresses(&plan)[..3], ["ready.gitaly-a", "known.gitaly-a", "weight.gitaly-a"]);
    world.apply(&plan);
    assert!(world.plan().is_empty());
}

#[test]
fn where_gitlab_does_not_learn_the_plan_stops_before_weights_and_moves() {
    let mut world = World::to_pods(&["gitaly-a"], &[GIB]);
    world.desired.gitlab_learns = false;
    world.desired("gitaly-a").endpoint = Some(crate::model::Endpoint {
        scheme: crate::model::Scheme::Tcp,
        authority: "gitaly-a-gitaly.gitaly.svc:8075".to_owned(),
    });
    let plan = world.plan();
    assert_eq!(addresses(&plan).last().map(String::as_str), Some("ready.gitaly-a"));
    let address = Some("tcp://gitaly-a-gitaly.gitaly.svc:8075".to_owned());
    let waits = WaitingOn::GitlabToKnow { storage: name("gitaly-a"), address };
    assert!(plan.report.iter().all(|row| row.reason == waits) && plan.drain_is_stuck());
    // Without a weight it is told as well.
    world.desired("gitaly-a").weight = None;
    world.desired.assignments.clear();
    assert!(world.plan().report.iter().any(|row| row.reason == waits && row.subject == "storage.gitaly-a"));
    // And it goes on when somebody has told GitLab.
    let plan = world.plan();
    world.apply(&plan);
    world.observed.gitlab.weights.insert(name("gitaly-a"), weight(0));
    assert!(world.plan().is_empty());
}

/// A quota that has so much left, in thousandths.
fn left(world: &mut World, resource: &str, amount: u128) {
    let left = [(resource.to_owned(), amount)].into();
    world.cluster.surroundings.quotas = Reading::Known(vec![QuotaFacts { name: "q".to_owned(), left }]);
}

#[test]
fn pods_that_fit_one_by_one_may_be_too_many_together() {
    let mut world = World::to_pods(&["gitaly-a", "gitaly-b", "gitaly-c"], &[]);
    let cores: u64 = world.desired.storages.values().filter_map(|s| s.pod.as_ref()).map(|spec| spec.cpu_millis).sum();
    left(&mut world, "requests.cpu", u128::from(cores));
    assert!(codes(&world.plan()).is_empty());
    left(&mut world, "requests.cpu", u128::from(cores) - 1);
    let plan = world.plan();
    assert_eq!(codes(&plan), [(Level::Error, "quota-exceeded")]);
    let message = &plan.findings[0].message;
    assert!(
        message.starts_with("The quota q has ") && message.contains("gitaly-a, gitaly-b, gitaly-c ask for"),
        "{message}"
    );
    // Another resource, or pods that are there already: nothing.
    left(&mut world, "services", 0);
    assert!(codes(&world.plan()).is_empty());
    let mut world = settled(&["gitaly-a"]);
    world.spec("gitaly-a", |spec| spec.image = "registry.example.com/cng/gitaly:v18.3.0".to_owned());
    left(&mut world, "requests.cpu", 0);
    assert!(codes(&world.plan()).iter().all(|(_, code)| *code != "quota-exceeded"), "it takes the old one's room");
}

#[test]
fn another_image_restarts_one_storage_after_the_other_and_says_what_that_means() {
    let mut world = settled(&["gitaly-a", "gitaly-b", "gitaly-c"]);
    for (storage, held) in [("gitaly-a", 3), ("gitaly-b", 0), ("gitaly-c", 1)] {
        world.spec(storage, |spec| spec.image = "registry.example.com/cng/gitaly:v18.3.0".to_owned());
        world.cluster.held.insert(name(storage), Reading::Known(counted(held)));
        // Nothing moves off them: they are not listed.
        world.observed.lists.remove(&name(storage));
    }
    world.state.storage_mut(&name("gitaly-a")).rotation_seconds = Some(crate::state::Tenths(74));
    world.observed.gitlab.weights.insert(name("gitaly-b"), weight(0));
    world.desired("gitaly-b").weight = Some(weight(0));
    let plan = world.plan();
    assert_eq!(class_of(&plan, ObjectKind::StatefulSet), Some(ChangeClass::RollsPod));
    let order: Vec<String> = addresses(&plan).into_iter().filter(|a| !a.contains("ConfigMap")).collect();
    assert_eq!(
        order,
        [
            "pod.gitaly-a[\"StatefulSet\"]",
            "ready.gitaly-a",
            "pod.gitaly-b[\"StatefulSet\"]",
            "ready.gitaly-b",
            "pod.gitaly-c[\"StatefulSet\"]",
            "ready.gitaly-c",
        ]
    );
    let messages: Vec<&str> = plan.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "The pod of gitaly-a restarts: the repositories of 3 projects on it cannot be reached for about 7.4 s, as its last measured restart.",
            "The pod of gitaly-c restarts: the repositories of 1 project on it cannot be reached for as long as it takes: not measured yet.",
        ]
    );
    let Some(Change::ApplyObject { changes, uid, resource_version, .. }) = plan.actions.first().map(|a| &a.change)
    else {
        panic!("an object")
    };
    let paths: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
    assert_eq!(paths, [".spec.template.spec.containers[gitaly].image"]);
    assert!(uid.is_some() && resource_version.is_some());
    world.apply(&plan);
    assert!(world.plan().is_empty());
    // The linter sees restarts that are not in a row.
    let mut broken = plan;
    broken.edges.retain(|edge| edge.reason != "one storage restarts after the other");
    assert!(check::faults(&broken).iter().any(|fault| fault.contains("restart at once")));
}

#[test]
fn an_older_image_is_a_danger() {
    let mut world = settled(&["gitaly-a"]);
    world.spec("gitaly-a", |spec| spec.image = "registry.example.com/cng/gitaly:v18.1.3-ubi".to_owned());
    assert!(said(&world.plan(), "gitaly-older").contains("runs Gitaly 18.2.0 and would get 18.1.3"));
    // And so it is for a storage that is to be made.
    let mut world = World::to_pods(&["gitaly-a"], &[GIB]);
    world.spec("gitaly-a", |spec| spec.image = "registry.example.com/cng/gitaly:v18.1.3".to_owned());
    assert!(said(&world.plan(), "destination-older").contains("gitaly-a runs Gitaly 18.1.3"));
}

#[test]
fn what_does_not_touch_the_template_is_changed_in_place() {
    let mut world = settled(&["gitaly-a"]);
    world.spec("gitaly-a", |spec| spec.max_unavailable = 0);
    let plan = world.plan();
    assert_eq!(addresses(&plan), ["pod.gitaly-a[\"PodDisruptionBudget\"]"]);
    assert_eq!((class_of(&plan, ObjectKind::PodDisruptionBudget), codes(&plan)), (Some(ChangeClass::InPlace), vec![]));
    world.apply(&plan);
    assert!(world.plan().is_empty());
}

#[test]
fn a_disk_grows_by_its_claim_and_never_shrinks() {
    let mut world = settled(&["gitaly-a"]);
    world.spec("gitaly-a", |spec| spec.disk.size = Bytes(200 * GIB));
    world.desired("old").drain = false;
    world.repositories("old", &[120 * GIB]);
    let plan = world.plan();
    assert_eq!(addresses(&plan), ["disk.gitaly-a", "moves.old[\"rest\"]"]);
    assert!(matches!(&plan.actions[0].change, Change::GrowDisk { claim, from, to, .. }
        if claim == "repo-data-gitaly-a-0" && (from.0, to.0) == (100 * GIB, 200 * GIB)));
    assert_eq!(plan.edges.len(), 1, "what goes there waits for the room");
    world.apply(&plan);
    assert!(world.plan().is_empty());

    world.spec("gitaly-a", |spec| spec.disk.size = Bytes(100 * GIB));
    assert!(said(&world.plan(), "disk-shrinks").contains("has 200 GiB, and the configuration says 100 GiB"));

    world.spec("gitaly-a", |spec| spec.disk.size = Bytes(300 * GIB));
    if let Reading::Known(classes) = &mut world.cluster.surroundings.storage_classes {
        classes.values_mut().for_each(|class| class.expandable = false);
    }
    let plan = world.plan();
    assert!(plan.is_blocked() && plan.is_empty());
    assert!(said(&plan, "disk-cannot-grow").contains("only dynamically provisioned pvc can be resized"));
}

#[test]
fn what_cannot_be_changed_is_made_anew_around_its_pod() {
    let mut world = settled(&["gitaly-a"]);
    world.spec("gitaly-a", |spec| spec.extra = json!({ "spec": { "serviceName": "other" } }));
    let plan = world.plan();
    assert_eq!(addresses(&plan), ["pod.gitaly-a[\"StatefulSet\"]", "ready.gitaly-a"]);
    assert!(matches!(&plan.actions[0].change, Change::RecreateStatefulSet { uid, changes, .. }
        if !uid.is_empty() && changes.len() == 1));
    assert_eq!(codes(&plan), [(Level::Danger, "statefulset-recreated"), (Level::Notice, "dns-after-rotation")]);
    world.apply(&plan);
    assert!(world.plan().is_empty());
    // Another class is no matter of the StatefulSet: the claim keeps its own.
    world.spec("gitaly-a", |spec| spec.disk.class = Some("slow".to_owned()));
    let plan = world.plan();
    assert!(said(&plan, "disk-class").contains("has the class \"fast\"") && plan.is_empty());
}

#[test]
fn what_others_made_or_own_is_named_and_taken_over_only_when_asked() {
    let mut world = settled(&["gitaly-a"]);
    world.cluster.get(ObjectKind::PodDisruptionBudget, "gitaly-a")["metadata"]["managedFields"] =
        json!([{ "manager": "tranship" }, { "manager": "kubectl-edit", "owns": "/spec/maxUnavailable" }]);
    world.cluster.get(ObjectKind::PodDisruptionBudget, "gitaly-a")["spec"]["maxUnavailable"] = json!(0);
    let plan = world.plan();
    assert_eq!((codes(&plan), plan.is_empty()), (vec![(Level::Error, "field-owned")], true));
    assert!(said(&plan, "field-owned").contains(".spec.maxUnavailable (kubectl-edit)"));
    assert!(
        plan.findings[0].help.contains("--adopt") && plan.findings[0].help.contains("import { to = storage.gitaly-a }")
    );
    let adopt = Options { adopt: true, ..Options::default() };
    let plan = world.plan_with(&adopt);
    assert!(matches!(&plan.actions[0].change, Change::ApplyObject { force: true, changes, .. } if changes.len() == 1));
    assert_eq!(codes(&plan), [(Level::Danger, "object-adopted")]);
    // It was applied, and somebody changed it since.
    assert_eq!(plan.drift[0].observed, "changed: .spec.maxUnavailable");
    world.apply(&plan);
    assert!(world.plan().is_empty());

    // An object that is there before tranship comes.
    let mut world = World::to_pods(&["gitaly-a"], &[]);
    let theirs = json!({ "metadata": { "name": "gitaly-a", "uid": "u", "resourceVersion": "1", "managedFields": [{ "manager": "helm" }] } });
    world.cluster.objects.insert(key(ObjectKind::ConfigMap, "gitaly-a"), theirs);
    let plan = world.plan();
    assert!(said(&plan, "object-foreign").ends_with("it was written by helm."));
    assert_eq!(plan.actions.len(), 0);
    world.desired("gitaly-a").adopt = true;
    let plan = world.plan();
    assert_eq!(codes(&plan), [(Level::Danger, "object-adopted")]);
    world.apply(&plan);
    assert!(world.plan().is_empty());
}

#[test]
fn the_servers_own_words_are_told() {
    let refused = |kind: ObjectKind, why: Why, message: &str| {
        let mut world = World::to_pods(&["gitaly-a"], &[GIB]);
        world.cluster.refusals.insert(key(kind, "gitaly-a"), refusal(why, message));
        let plan = world.plan();
        assert!(plan.is_blocked() && !plan.actions.iter().any(|a| matches!(a.change, Change::ApplyObject { .. })));
        (plan.findings[0].code.clone(), plan.findings[0].message.clone())
    };
    let (code, message) =
        refused(ObjectKind::StatefulSet, Why::Forbidden, "admission webhook \"p\" denied the request: no");
    assert_eq!(code, "object-refused");
    assert!(message.contains("denied the request: no"));
    let rights = "services is forbidden: User \"ci\" cannot create resource \"services\" in API group \"\" in the namespace \"gitaly\"";
    assert_eq!(refused(ObjectKind::Service, Why::Forbidden, rights).0, "rights-missing");
    assert_eq!(refused(ObjectKind::Service, Why::NotFound, "namespaces \"gitaly\" not found").0, "namespace-missing");

    let mut world = World::to_pods(&["gitaly-a"], &[GIB]);
    let said_of_pod = "pods \"gitaly-a-dry-run\" is forbidden: no PriorityClass with name nope was found";
    world.cluster.refused_pods.insert(name("gitaly-a"), refusal(Why::Forbidden, said_of_pod));
    let plan = world.plan();
    assert_eq!((said(&plan, "pod-refused").contains("no PriorityClass"), plan.is_blocked()), (true, true));
}

#[test]
fn a_cluster_that_cannot_be_read_is_one_error() {
    let mut world = World::to_pods(&["gitaly-a", "gitaly-b"], &[GIB]);
    world.observed.cluster = Some(Reading::Unknown("connection refused".to_owned()));
    let plan = world.plan();
    assert_eq!(codes(&plan), [(Level::Error, "cluster-unknown")]);
    // Where GitLab learns of it by itself, there is nothing to declare.
    let to_declare =
        |world: &World| world.plan().report.iter().any(|row| matches!(row.reason, WaitingOn::GitlabToKnow { .. }));
    assert!(world.desired.gitlab_learns && !to_declare(&world));
    world.desired.gitlab_learns = false;
    assert!(to_declare(&world));
    world.desired.gitlab_learns = true;
    // An answer that lacks a part is not taken for a yes.
    let mut facts = world.cluster.facts(&world.desired);
    facts.dry_runs.remove(&key(ObjectKind::Service, "gitaly-a"));
    world.observed.cluster = Some(Reading::Known(facts));
    let plan = world.plan();
    assert_eq!(codes(&plan), [(Level::Error, "not-tried")]);
    assert!(plan.actions.iter().all(|action| action.change.storage().is_none_or(|name| name.as_str() != "gitaly-a")));
}

#[test]
fn a_pod_that_hangs_with_an_old_template_is_replaced() {
    let mut world = World::to_pods(&["gitaly-a"], &[GIB]);
    let plan = world.plan();
    world.apply(&plan);
    let pod = world.cluster.get(ObjectKind::Pod, "gitaly-a-0");
    pod["status"] = json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False", "message": "0/3 nodes are available." }] });
    let plan = world.plan();
    assert_eq!(addresses(&plan), ["ready.gitaly-a"], "its template is the right one: nothing to do but wait");
    assert_eq!(plan.actions[0].reason, "its pod is not ready (0/3 nodes are available)");
    world.cluster.get(ObjectKind::Pod, "gitaly-a-0")["status"]["containerStatuses"] = json!([
        { "state": { "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } } },
    ]);
    assert_eq!(world.plan().actions[0].reason, "its pod is not ready (ImagePullBackOff: no such image)");
    let pod = world.cluster.get(ObjectKind::Pod, "gitaly-a-0");
    pod["status"].as_object_mut().expect("a status").remove("containerStatuses");
    world.spec("gitaly-a", |spec| spec.cpu_millis = 4000);
    let plan = world.plan();
    assert_eq!(addresses(&plan), ["pod.gitaly-a[\"StatefulSet\"]", "pod.gitaly-a[\"restart\"]", "ready.gitaly-a"]);
    assert!(
        matches!(&plan.actions[1].change, Change::ReplacePod { why, .. } if why.contains("0/3 nodes are available"))
    );
    // The template was changed, and the process ended before the pod was replaced.
    let mut half = plan.clone();
    half.actions.truncate(1);
    world.apply(&half);
    let rest = world.plan();
    assert_eq!(addresses(&rest), ["pod.gitaly-a[\"restart\"]", "ready.gitaly-a"]);
    world.apply(&rest);
    assert!(world.plan().is_empty());
}

#[test]
fn a_storage_that_is_away_may_be_repaired_while_the_rest_waits() {
    let mut world = settled(&["gitaly-a"]);
    world.repositories("old", &[GIB]);
    *world.facts("gitaly-a") = away();
    assert!(world.plan().is_blocked(), "nothing in the plan would bring it back");
    world.spec("gitaly-a", |spec| spec.cpu_millis = 4000);
    let plan = world.plan();
    assert!(!plan.is_blocked() && plan.moves.is_empty());
    assert!(codes(&plan).contains(&(Level::Notice, "storage-away")));
    assert_eq!(addresses(&plan), ["pod.gitaly-a[\"StatefulSet\"]", "ready.gitaly-a"]);
    assert!(
        matches!(&plan.actions[1].change, Change::AwaitReady { filesystem_id: Some(id), .. } if id == "fs-gitaly-a")
    );
}

#[test]
fn an_empty_disk_behind_a_known_storage_is_an_error() {
    let mut world = settled(&["gitaly-a"]);
    world.facts("gitaly-a").server = Reading::Known(server("fs-new"));
    let plan = world.plan();
    assert!(codes(&plan).contains(&(Level::Error, "filesystem-id-changed")) && plan.is_blocked());
    // Two names of one disk.
    let mut world = settled(&["gitaly-a"]);
    world.facts("old").server = Reading::Known(server("fs-gitaly-a"));
    assert!(codes(&world.plan()).contains(&(Level::Error, "equal-filesystem-ids")));
}

#[test]
fn claims_must_be_the_storages_own() {
    let claim = |label: Option<&str>| {
        let mut claim = json!({ "metadata": { "name": "repo-data-gitaly-a-0", "uid": "old", "labels": {} },
            "spec": { "resources": { "requests": { "storage": "100Gi" } }, "storageClassName": "fast" } });
        if let Some(label) = label {
            claim["metadata"]["labels"]["tranship/storage"] = json!(label);
        }
        claim
    };
    let planned = |label: Option<&str>, adopt: bool| {
        let mut world = World::to_pods(&["gitaly-a"], &[]);
        world.cluster.objects.insert(key(ObjectKind::PersistentVolumeClaim, "repo-data-gitaly-a-0"), claim(label));
        world.plan_with(&Options { adopt, ..Options::default() })
    };
    for label in [None, Some("gitaly-b")] {
        let plan = planned(label, false);
        assert_eq!((codes(&plan), plan.actions.len()), (vec![(Level::Error, "claim-of-another")], 0), "{label:?}");
        assert_eq!(codes(&planned(label, true)), [(Level::Danger, "claim-exists")]);
    }
    assert_eq!(codes(&planned(Some("gitaly-a"), false)), [(Level::Danger, "claim-exists")]);

    let mut world = settled(&["gitaly-a"]);
    world.cluster.get(ObjectKind::PersistentVolumeClaim, "repo-data-gitaly-a-0")["metadata"]["uid"] = json!("another");
    assert!(said(&world.plan(), "claim-of-another").contains("now another"));
    world.state.storage_mut(&name("gitaly-a")).claim_uid = Some("another".to_owned());
    world.cluster.get(ObjectKind::PersistentVolumeClaim, "repo-data-gitaly-a-0")["status"]["phase"] = json!("Lost");
    assert_eq!(codes(&world.plan()), [(Level::Error, "claim-lost")]);
}

const CLAIM: &str = "repo-data-gitaly-a-0";

fn claim(world: &mut World) -> &mut Value {
    world.cluster.get(ObjectKind::PersistentVolumeClaim, CLAIM)
}

#[test]
fn a_claim_that_is_being_deleted_is_an_error_also_when_nothing_else_is_to_do() {
    let mut world = settled(&["gitaly-a"]);
    claim(&mut world)["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let plan = world.plan();
    assert_eq!((codes(&plan), plan.is_blocked()), (vec![(Level::Error, "claim-terminating")], true));
    assert!(
        plan.findings[0].help.starts_with("Keep it: kubectl patch pv pv-gitaly-a -p '{\"spec\""),
        "{:?}",
        plan.findings
    );
    // And nothing that would restart the pod is planned.
    world.spec("gitaly-a", |spec| spec.cpu_millis = 4000);
    let plan = world.plan();
    assert!(plan.is_empty() && codes(&plan).contains(&(Level::Error, "claim-terminating")), "{:?}", addresses(&plan));
}

#[test]
fn a_stateful_set_that_somebody_deletes_is_told() {
    let mut world = settled(&["gitaly-a"]);
    world.cluster.get(ObjectKind::StatefulSet, "gitaly-a")["metadata"]["deletionTimestamp"] = json!("now");
    assert_eq!(codes(&world.plan()), [(Level::Error, "statefulset-going")]);
}

#[test]
fn a_recorded_disk_that_is_gone_is_never_made_anew() {
    let gone = |change: fn(&mut World)| {
        let mut world = settled(&["gitaly-a"]);
        world.cluster.objects.clear();
        change(&mut world);
        let plan = world.plan();
        assert!(plan.is_blocked() && plan.is_empty(), "{:?}", addresses(&plan));
        assert!(codes(&plan).contains(&(Level::Error, "claim-gone")), "{:?}", codes(&plan));
        (said(&plan, "claim-gone").to_owned(), plan)
    };
    let (message, plan) = gone(|_| {});
    assert!(message.contains("would start on an empty disk") && !message.contains("The cause"), "{message}");
    let help = plan.findings.iter().find(|finding| finding.code == "claim-gone").map(|finding| finding.help.clone());
    assert!(help.is_some_and(|help| help.contains("tranship state rm storage.gitaly-a")));
    // A VM had the name before.
    let (message, _) = gone(|world| {
        let record = world.state.storage_mut(&name("gitaly-a"));
        *record = crate::state::StorageRecord { filesystem_id: record.filesystem_id.take(), ..Default::default() };
    });
    assert!(message.contains("was no pod's when it was recorded"), "{message}");
    // Only the disk was recorded.
    let (_, _) = gone(|world| world.state.storage_mut(&name("gitaly-a")).claim_uid = None);
    let (message, _) = gone(|world| world.state.storage_mut(&name("gitaly-a")).namespace = Some("before".to_owned()));
    assert!(message.contains("its objects were in the namespace \"before\""), "{message}");
    // Another cluster.
    let mut world = settled(&["gitaly-a"]);
    world.cluster.objects.clear();
    world.state.storage_mut(&name("gitaly-a")).cluster_uid = Some("one".to_owned());
    let mut facts = world.cluster.facts(&world.desired);
    facts.identity = Some("another".to_owned());
    world.observed.cluster = Some(Reading::Known(facts));
    assert!(said(&world.plan(), "claim-gone").contains("this is another cluster"));
    // The StatefulSet alone is made again around its claim.
    let mut world = settled(&["gitaly-a"]);
    world.cluster.objects.remove(&key(ObjectKind::StatefulSet, "gitaly-a"));
    let plan = world.plan();
    assert!(!plan.is_blocked() && addresses(&plan)[0] == "pod.gitaly-a[\"StatefulSet\"]", "{:?}", codes(&plan));
}

#[test]
fn a_storage_with_repositories_is_not_made_with_an_empty_disk() {
    let mut world = World::to_pods(&["gitaly-a"], &[GIB]);
    world.cluster.held.insert(name("gitaly-a"), Reading::Known(counted(2)));
    world.observed.lists.remove(&name("gitaly-a"));
    let plan = world.plan();
    assert!(said(&plan, "storage-in-use").contains("GitLab lists 2 projects on gitaly-a"), "{:?}", codes(&plan));
    assert!(plan.is_blocked());
    world.cluster.held.insert(name("gitaly-a"), Reading::Known(counted(0)));
    assert_eq!(codes(&world.plan()), []);
}

#[test]
fn a_volume_that_is_not_where_gitaly_looks_is_an_error_whoever_patched_it() {
    let over = json!({ "name": "scratch", "mountPath": "/home/git/repositories/@hashed" });
    let mut world = World::to_pods(&["gitaly-a"], &[]);
    world.spec("gitaly-a", |spec| {
        spec.extra = json!({ "spec": { "template": { "spec": { "containers": [
            { "name": "gitaly", "volumeMounts": [over] },
        ] } } } });
    });
    let plan = world.plan();
    assert_eq!((codes(&plan), plan.is_empty()), (vec![(Level::Error, "volume-not-mounted")], true));
    // A webhook's work shows in the dry run alone.
    let mut world = World::to_pods(&["gitaly-a"], &[]);
    let mut facts = world.cluster.facts(&world.desired);
    let Some(Reading::Known(Answer::Accepted(then))) =
        facts.dry_runs.get_mut(&key(ObjectKind::StatefulSet, "gitaly-a"))
    else {
        panic!("accepted")
    };
    then["spec"]["template"]["spec"]["containers"][0]["volumeMounts"][0]["subPath"] = json!("part");
    world.observed.cluster = Some(Reading::Known(facts));
    assert!(said(&world.plan(), "volume-not-mounted").contains("only a part of repo-data is mounted"));
}

#[test]
fn what_only_the_old_set_has_restarts_the_pod_and_is_told() {
    let mut world = settled(&["gitaly-a", "gitaly-b"]);
    for storage in ["gitaly-a", "gitaly-b"] {
        let set = world.cluster.get(ObjectKind::StatefulSet, storage);
        set["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = json!("yesterday");
        world.spec(storage, |spec| spec.extra = json!({ "spec": { "serviceName": "other" } }));
        world.cluster.held.insert(name(storage), Reading::Known(counted(2)));
        world.observed.lists.remove(&name(storage));
    }
    let plan = world.plan();
    let restarts =
        codes(&plan).iter().filter(|(level, code)| (*level, *code) == (Level::Danger, "pod-restarts")).count();
    assert_eq!(restarts, 2, "{:?}", codes(&plan));
    let message = said(&plan, "statefulset-recreated");
    assert!(message.contains("as .spec.serviceName cannot be changed"), "{message}");
    assert!(message.contains("restarts with its new template"), "{message}");
    assert!(message.contains("What only it has now goes with it: .spec.template.metadata.annotations"), "{message}");
    assert_eq!(
        addresses(&plan),
        ["pod.gitaly-a[\"StatefulSet\"]", "ready.gitaly-a", "pod.gitaly-b[\"StatefulSet\"]", "ready.gitaly-b"]
    );
    assert_eq!(plan.actions[1].reason, "its pod starts anew");
    world.apply(&plan);
    assert!(world.plan().is_empty());
}

#[test]
fn a_patch_of_the_claims_that_is_taken_back_makes_the_set_anew() {
    let mut world = World::to_pods(&["gitaly-a"], &[]);
    let labelled = json!({ "spec": { "volumeClaimTemplates": [
        { "metadata": { "name": "repo-data", "labels": { "team": "git" } } },
    ] } });
    world.spec("gitaly-a", |spec| spec.extra = labelled.clone());
    let plan = world.plan();
    world.apply(&plan);
    world.spec("gitaly-a", |spec| spec.extra = json!({}));
    let plan = world.plan();
    assert!(matches!(&plan.actions[0].change, Change::RecreateStatefulSet { .. }), "{:?}", codes(&plan));
    assert_eq!(codes(&plan), [(Level::Danger, "statefulset-recreated")]);
    assert_eq!(plan.actions[1].reason, "its StatefulSet is made anew, and takes over its pod");
    world.apply(&plan);
    assert!(world.plan().is_empty());
}

#[test]
fn what_is_made_anew_and_was_somebody_elses_is_told_as_taken_over() {
    let mut world = settled(&["gitaly-a"]);
    world.state.records.clear();
    world.cluster.get(ObjectKind::StatefulSet, "gitaly-a")["metadata"]["managedFields"] =
        json!([{ "manager": "helm" }]);
    world.spec("gitaly-a", |spec| spec.extra = json!({ "spec": { "serviceName": "other" } }));
    assert!(codes(&world.plan()).contains(&(Level::Error, "object-foreign")));
    let plan = world.plan_with(&Options { adopt: true, ..Options::default() });
    assert!(codes(&plan).contains(&(Level::Danger, "object-adopted")), "{:?}", codes(&plan));
    assert!(codes(&plan).contains(&(Level::Danger, "statefulset-recreated")), "{:?}", codes(&plan));
}

#[test]
fn a_volume_that_goes_with_its_claim_is_a_danger_and_an_error_before_the_set_is_made_anew() {
    let mut world = settled(&["gitaly-a"]);
    volume(&mut world, "Retain", json!([]));
    assert_eq!(codes(&world.plan()), []);
    volume(&mut world, "Delete", json!([]));
    let plan = world.plan();
    assert_eq!((codes(&plan), plan.is_blocked()), (vec![(Level::Danger, "volume-deletes")], false));
    assert!(
        plan.findings[0]
            .help
            .contains("kubectl patch pv pv-gitaly-a -p '{\"spec\":{\"persistentVolumeReclaimPolicy\":\"Retain\"}}'")
    );
    world.spec("gitaly-a", |spec| spec.extra = json!({ "spec": { "serviceName": "other" } }));
    let plan = world.plan();
    assert!(plan.is_blocked() && codes(&plan).contains(&(Level::Error, "volume-deletes")), "{:?}", codes(&plan));
    // Accepted by name.
    world.spec("gitaly-a", |spec| spec.disk.retain = false);
    assert!(!codes(&world.plan()).iter().any(|(_, code)| *code == "volume-deletes"));
}

#[test]
fn a_claim_that_never_got_a_volume_may_be_deleted() {
    let mut world = settled(&["gitaly-a"]);
    world.state.storage_mut(&name("gitaly-a")).claim_uid = None;
    let claim = claim(&mut world);
    claim["status"]["phase"] = json!("Pending");
    claim["spec"].as_object_mut().expect("a spec").remove("volumeName");
    world.spec("gitaly-a", |spec| spec.disk.class = Some("slow".to_owned()));
    let plan = world.plan();
    let found = plan.findings.iter().find(|finding| finding.code == "claim-never-bound").expect("told");
    assert!(found.help.contains("Nothing is on it") && found.help.contains("pvc/repo-data-gitaly-a-0"), "{found:?}");
}

#[test]
fn a_saved_plan_is_stale_when_what_it_decided_about_a_cluster_changed() {
    let mut world = settled(&["gitaly-a"]);
    world.spec("gitaly-a", |spec| spec.image = "registry.example.com/cng/gitaly:v18.3.0".to_owned());
    let plan = world.plan();
    let reasons = |world: &World| {
        let mut observed = world.observed.clone();
        observed.cluster = Some(Reading::Known(world.cluster.facts(&world.desired)));
        crate::plan::stale(&plan, &world.desired.digest, &world.state, &observed)
    };
    assert_eq!(reasons(&world), Vec::<String>::new());
    let mut done = world.clone();
    done.apply(&plan);
    done.state = world.state.clone();
    assert_eq!(reasons(&done), Vec::<String>::new(), "what is so already is no reason");
    type Break = fn(&mut World);
    let cases: [(Break, &str); 6] = [
        (|w| claim(w)["metadata"]["uid"] = json!("x"), "PersistentVolumeClaim/repo-data-gitaly-a-0 is another one"),
        (|w| claim(w)["metadata"]["deletionTimestamp"] = json!("now"), "repo-data-gitaly-a-0 is being deleted"),
        (
            |w| drop(w.cluster.objects.remove(&key(ObjectKind::PersistentVolumeClaim, CLAIM))),
            "PersistentVolumeClaim/repo-data-gitaly-a-0 is gone",
        ),
        (
            |w| w.cluster.get(ObjectKind::StatefulSet, "gitaly-a")["metadata"]["uid"] = json!("x"),
            "StatefulSet/gitaly-a is another one",
        ),
        (|w| drop(w.cluster.objects.remove(&key(ObjectKind::StatefulSet, "gitaly-a"))), "StatefulSet/gitaly-a is gone"),
        (
            |w| w.cluster.get(ObjectKind::StatefulSet, "gitaly-a")["spec"]["replicas"] = json!(0),
            "StatefulSet/gitaly-a changed: .spec.replicas",
        ),
    ];
    for (change, expected) in cases {
        let mut world = world.clone();
        change(&mut world);
        let found = reasons(&world);
        assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
    }
}

#[test]
fn one_cause_is_told_once_whatever_it_keeps_from_being_done() {
    // A class that no pod can be made without.
    let mut world = World::to_pods(&["gitaly-a", "gitaly-b", "gitaly-c"], &[]);
    world.cluster.surroundings.priority_classes = Reading::Known(Default::default());
    for storage in ["gitaly-a", "gitaly-b", "gitaly-c"] {
        let words = format!("pods \"{storage}-dry-run\" is forbidden: no PriorityClass with name gitaly was found");
        world.cluster.refused_pods.insert(name(storage), refusal(Why::Forbidden, &words));
    }
    let plan = world.plan();
    assert_eq!((codes(&plan), plan.is_empty()), (vec![(Level::Error, "priority-class-missing")], true));
    // A namespace that is not there holds no Secret either.
    let mut world = World::to_pods(&["gitaly-a"], &[]);
    let missing = refusal(Why::NotFound, "namespaces \"gitaly\" not found");
    for manifest in manifests(&world, "gitaly-a") {
        world.cluster.refusals.insert(manifest.key, missing.clone());
    }
    world.cluster.surroundings.secrets.values_mut().for_each(|secret| *secret = Reading::Known(None));
    world.cluster.surroundings.quotas = Reading::Known(Vec::new());
    assert_eq!(codes(&world.plan()), [(Level::Error, "namespace-missing")]);
    // Rights, by what they are for.
    let mut world = World::to_pods(&["gitaly-a"], &[]);
    let lacks = |resource: &str| {
        format!(
            "list of {resource}: {resource} is forbidden: User \"ci\" cannot list resource \"{resource}\" in API group \"\" in the namespace \"gitaly\""
        )
    };
    world.observed.cluster = Some(Reading::Unknown(format!("{}\n{}", lacks("pods"), lacks("services"))));
    let plan = world.plan();
    assert_eq!(codes(&plan), [(Level::Error, "rights-missing"), (Level::Error, "rights-missing")]);
    assert!(plan.findings.iter().all(|finding| finding.help.contains("tranship render rbac")));
    // Several ask for one class.
    let mut world = World::to_pods(&["gitaly-a", "gitaly-b"], &[]);
    world.cluster.surroundings.storage_classes = Reading::Known(Default::default());
    assert!(said(&world.plan(), "class-missing").ends_with("which gitaly-a, gitaly-b ask for."));
}

#[test]
fn a_storage_that_is_let_go_is_forgotten_and_keeps_everything() {
    let mut world = settled(&["gitaly-a", "gitaly-b"]);
    world.desired.storages.remove(&name("gitaly-b"));
    world.observed.storages.remove(&name("gitaly-b"));
    world.observed.lists.remove(&name("gitaly-b"));
    world.desired.assignments.clear();
    world.desired("old").drain = false;
    let plan = world.plan();
    assert_eq!(
        (addresses(&plan), codes(&plan)),
        (vec!["forget.gitaly-b".to_owned()], vec![(Level::Danger, "storage-forgotten")])
    );
    assert!(said(&plan, "storage-forgotten").contains("is not known, and its weight is 100"), "{:?}", plan.findings);
    world.cluster.held.insert(name("gitaly-b"), Reading::Known(counted(3)));
    assert!(said(&world.plan(), "storage-forgotten").contains("3 projects are on it, and its weight is 100"));
    // Nothing is on it, and nothing will be.
    world.cluster.held.insert(name("gitaly-b"), Reading::Known(counted(0)));
    world.observed.gitlab.weights.insert(name("gitaly-b"), weight(0));
    assert_eq!(codes(&world.plan()), [(Level::Notice, "storage-forgotten")]);
    let objects = world.cluster.objects.len();
    world.apply(&plan);
    assert!(world.plan().is_empty() && world.cluster.objects.len() == objects);
    assert!(world.state.storage(&name("gitaly-b")).is_none());
    // A VM's record is of another kind.
    world.state.records.insert(State::storage_address(&name("vm")), Record::Storage(Default::default()));
    assert!(world.plan().is_empty());
    // A storage that lost its pod by the configuration is told of, and nothing is done.
    world.desired("gitaly-a").pod = None;
    assert_eq!(codes(&world.plan()), [(Level::Notice, "pod-let-go")]);
}

#[test]
fn what_must_be_there_is_looked_for() {
    type Break = fn(&mut World);
    let cases: &[(Break, Level, &str)] = &[
        (|w| w.cluster.version = "v1.28.9".to_owned(), Level::Error, "kubernetes-version"),
        (
            |w| drop(w.cluster.surroundings.secrets.insert("gitaly-token".to_owned(), Reading::Known(None))),
            Level::Error,
            "secret-missing",
        ),
        (
            |w| {
                drop(
                    w.cluster
                        .surroundings
                        .secrets
                        .insert("gitaly-token".to_owned(), Reading::Known(Some(["x".to_owned()].into()))),
                );
            },
            Level::Error,
            "secret-key-missing",
        ),
        (|w| _ = w.cluster.surroundings.secrets.remove("gitaly-token"), Level::Danger, "secret-unknown"),
        (
            |w| w.cluster.surroundings.priority_classes = Reading::Known(Default::default()),
            Level::Error,
            "priority-class-missing",
        ),
        (
            |w| w.cluster.surroundings.storage_classes = Reading::Known(Default::default()),
            Level::Error,
            "class-missing",
        ),
        (|w| w.spec("gitaly-a", |s| s.disk.class = Some("none".to_owned())), Level::Error, "class-missing"),
        (|w| class(w).reclaim_policy = "Delete".to_owned(), Level::Error, "class-deletes"),
        (|w| class(w).binding_mode = "Immediate".to_owned(), Level::Danger, "class-binds-early"),
        (|w| class(w).expandable = false, Level::Notice, "class-cannot-expand"),
        (|w| w.cluster.surroundings.quotas = Reading::Known(Vec::new()), Level::Notice, "no-quota"),
        (|w| left(w, "pods", 0), Level::Error, "quota-exceeded"),
        (|w| left(w, "requests.storage", 1), Level::Error, "quota-exceeded"),
        (|w| w.desired("gitaly-a").zone = Some("z".to_owned()), Level::Danger, "no-node"),
        (|w| nodes(w).clear(), Level::Danger, "no-node"),
        (|w| nodes(w).iter_mut().for_each(|n| n.unschedulable = true), Level::Danger, "no-node"),
        (|w| w.spec("gitaly-a", |s| s.memory = Bytes(65 * GIB)), Level::Danger, "node-too-small"),
        (
            |w| nodes(w).iter_mut().for_each(|n| n.kubelet_version = "v1.28.1".to_owned()),
            Level::Danger,
            "kubelet-version",
        ),
        (|w| w.cluster.surroundings.nodes = Reading::Unknown("no right".to_owned()), Level::Notice, "nodes-unknown"),
        (
            |w| w.cluster.surroundings.storage_classes = Reading::Unknown("no right".to_owned()),
            Level::Notice,
            "class-unknown",
        ),
    ];
    for (change, level, code) in cases {
        let mut world = World::to_pods(&["gitaly-a"], &[]);
        change(&mut world);
        assert_eq!(codes(&world.plan()), [(*level, *code)]);
        // Nothing starts: then only what is wrong with what runs is told.
        let mut world = settled(&["gitaly-a"]);
        change(&mut world);
        if world.plan().is_empty() {
            let expected: &[_] = match *code {
                "kubernetes-version" => &[(Level::Error, *code)],
                "secret-missing" | "secret-key-missing" | "priority-class-missing" => &[(Level::Danger, *code)],
                // Another zone: a pod that runs would restart.
                "no-node" if world.desired("gitaly-a").zone.is_some() => {
                    &[(Level::Error, "pod-finds-no-node"), (Level::Danger, *code)]
                }
                _ => &[],
            };
            let found: Vec<_> = codes(&world.plan())
                .into_iter()
                .filter(|(_, code)| *code != "disk-class")
                .map(|(l, c)| (l, c.to_owned()))
                .collect();
            let expected: Vec<_> = expected.iter().map(|(l, c)| (*l, (*c).to_owned())).collect();
            assert_eq!(found, expected);
        }
    }
    let mut world = World::to_pods(&["gitaly-a", "gitaly-b", "gitaly-c"], &[]);
    nodes(&mut world).truncate(2);
    assert!(said(&world.plan(), "too-few-nodes").starts_with("3 pods (gitaly-a, gitaly-b, gitaly-c) want a node each"));
    for storage in ["gitaly-a", "gitaly-b", "gitaly-c"] {
        world.spec(storage, |spec| spec.node_for_itself = false);
    }
    assert!(codes(&world.plan()).is_empty());
    // What is wished for and accepted.
    class(&mut world).reclaim_policy = "Delete".to_owned();
    for storage in ["gitaly-a", "gitaly-b", "gitaly-c"] {
        world.spec(storage, |spec| spec.disk.retain = false);
    }
    assert!(codes(&world.plan()).is_empty());
}

fn class(world: &mut World) -> &mut crate::model::cluster::StorageClassFacts {
    match &mut world.cluster.surroundings.storage_classes {
        Reading::Known(classes) => classes.get_mut("fast").expect("there"),
        Reading::Unknown(_) => panic!("known"),
    }
}

fn nodes(world: &mut World) -> &mut Vec<crate::model::cluster::NodeFacts> {
    match &mut world.cluster.surroundings.nodes {
        Reading::Known(nodes) => nodes,
        Reading::Unknown(_) => panic!("known"),
    }
}

#[test]
fn what_pods_must_not_share_is_found() {
    let mut world = settled(&["gitaly-a", "gitaly-b"]);
    for pod in ["gitaly-a-0", "gitaly-b-0"] {
        world.cluster.get(ObjectKind::Pod, pod)["spec"]["nodeName"] = json!("node-1");
    }
    assert_eq!(codes(&world.plan()), [(Level::Danger, "pods-share-node")]);
    let mut world = settled(&["gitaly-a", "gitaly-b"]);
    for claim in ["repo-data-gitaly-a-0", "repo-data-gitaly-b-0"] {
        world.cluster.get(ObjectKind::PersistentVolumeClaim, claim)["spec"]["volumeName"] = json!("pv");
    }
    assert_eq!(codes(&world.plan()), [(Level::Error, "volume-shared")]);
}

#[test]
fn a_pod_that_would_not_be_guaranteed_is_an_error() {
    let mut world = World::to_pods(&["gitaly-a"], &[]);
    let mut facts = world.cluster.facts(&world.desired);
    facts
        .pods
        .insert(name("gitaly-a"), Reading::Known(Answer::Accepted(json!({ "status": { "qosClass": "Burstable" } }))));
    world.observed.cluster = Some(Reading::Known(facts));
    assert_eq!(codes(&world.plan()), [(Level::Error, "pod-not-guaranteed")]);
}

#[test]
fn an_object_that_is_not_wanted_any_more_is_told_of() {
    let mut world = World::to_pods(&["gitaly-a"], &[]);
    world.spec("gitaly-a", |spec| spec.service_monitor = Some(MonitorSpec::default()));
    let plan = world.plan();
    world.apply(&plan);
    world.spec("gitaly-a", |spec| spec.service_monitor = None);
    let plan = world.plan();
    assert!(said(&plan, "object-left").starts_with("ServiceMonitor/gitaly-a was made for gitaly-a"));
}

#[test]
fn fifty_storages_as_wanted_are_nothing_to_do() {
    let names: Vec<String> = (0..50).map(|n| format!("gitaly-{n:02}")).collect();
    let pods: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = settled(&pods);
    assert_eq!(world.plan().report, []);
}

#[test]
fn parts_of_pods_can_be_selected() {
    let world = World::to_pods(&["gitaly-a", "gitaly-b"], &[GIB, GIB]);
    let lines = |target: &[&str], exclude: &[&str]| {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        addresses(&world.plan_with(&Options { target: own(target), exclude: own(exclude), ..Options::default() }))
    };
    assert_eq!(
        lines(&["pod.gitaly-b"], &[]).last().map(String::as_str),
        Some("ready.gitaly-b"),
        "a start is waited for"
    );
    assert!(lines(&[], &["ready.gitaly-b"]).iter().all(|a| *a != "pod.gitaly-b[\"StatefulSet\"]"), "or not begun");
    assert_eq!(lines(&["weight.gitaly-b"], &[]).len(), 9, "what it needs comes along");
    assert_eq!(lines(&["pod.gitaly-b[\"ConfigMap\"]"], &[]), ["pod.gitaly-b[\"ConfigMap\"]"]);
    // Without its objects neither weight nor moves go there.
    let without = lines(&[], &["pod.gitaly-b"]);
    assert!(!without.iter().any(|a| a.contains("gitaly-b") || a.starts_with("moves")), "{without:?}");
    assert!(without.contains(&"weight.gitaly-a".to_owned()));
}

#[test]
fn the_linter_finds_what_is_out_of_order() {
    let plan = World::to_pods(&["gitaly-a"], &[GIB]).plan();
    for (from, to) in [
        ("ready.gitaly-a", "known.gitaly-a"),
        ("known.gitaly-a", "weight.gitaly-a"),
        ("known.gitaly-a", "moves.old[\"rest\"]"),
    ] {
        let mut broken = plan.clone();
        let at = |id: crate::plan::ActionId| plan.actions[id.0 as usize].address.to_string();
        let behind = |edge: &crate::plan::Edge| {
            at(edge.to) == to || (from.starts_with("known") && at(edge.to).starts_with("moves"))
        };
        broken.edges.retain(|edge| !behind(edge));
        let expected = format!("{to} does not wait for");
        assert!(
            check::faults(&broken).iter().any(|f| f.starts_with(&expected) && f.ends_with("gitaly-a")),
            "{from} -> {to}: {:?}",
            check::faults(&broken)
        );
    }
    let mut broken = plan.clone();
    broken.edges.retain(|edge| plan.actions[edge.to.0 as usize].address.to_string() != "ready.gitaly-a");
    assert!(check::faults(&broken).iter().any(|f| f.starts_with("ready.gitaly-a does not wait for pod.gitaly-a")));
    type Break = fn(&mut Change);
    let cases: [(usize, Break, &str); 5] = [
        (
            5,
            |c| {
                if let Change::ApplyObject { uid, .. } = c {
                    *uid = Some("u".to_owned());
                }
            },
            "whether its object exists",
        ),
        (
            5,
            |c| {
                if let Change::ApplyObject { manifest, .. } = c {
                    manifest.key.kind = ObjectKind::PersistentVolumeClaim;
                }
            },
            "never applied",
        ),
        (
            5,
            |c| {
                if let Change::ApplyObject { manifest, .. } = c {
                    manifest.key.name = "x".to_owned();
                }
            },
            "another name",
        ),
        (
            1,
            |c| {
                if let Change::ApplyObject { manifest, .. } = c {
                    manifest.key.kind = ObjectKind::ServiceAccount;
                }
            },
            "two actions apply",
        ),
        (6, |c| *c = Change::Forget { storage: name("gitaly-a") }, "forgotten and worked on"),
    ];
    for (at, change, expected) in cases {
        let mut broken = plan.clone();
        change(&mut broken.actions[at].change);
        assert!(
            check::faults(&broken).iter().any(|f| f.contains(expected)),
            "{expected}: {:?}",
            check::faults(&broken)
        );
    }
}

/// Settled storages whose pods hold repositories of a number that GitLab tells.
fn holding(pods: &[&str]) -> World {
    let mut world = settled(pods);
    for pod in pods {
        world.cluster.held.insert(name(pod), Reading::Known(Counted::Projects(2)));
        world.observed.lists.remove(&name(pod));
    }
    world
}

fn restarts(plan: &Plan) -> Vec<&str> {
    let told = plan.findings.iter().filter(|f| (f.level, f.code.as_str()) == (Level::Danger, "pod-restarts"));
    told.map(|finding| finding.subject.as_str()).collect()
}

#[test]
fn what_another_environment_made_is_named_and_left_alone() {
    let mut world = holding(&["gitaly-a"]);
    world.desired.environment = "other".to_owned();
    world.state = State::new("other");
    let plan = world.plan();
    assert_eq!((codes(&plan), plan.is_blocked()), (vec![(Level::Error, "environment-of-another")], true));
    let message = said(&plan, "environment-of-another");
    assert!(
        message.contains("this one is \"other\", and its objects are of \"test\" (ServiceAccount/gitaly-a"),
        "{message}"
    );
    assert!(
        plan.actions.iter().all(|action| action.change.storage().is_none_or(|storage| storage.as_str() != "gitaly-a"))
    );
    // Its claim alone tells as well.
    let mut claim_only = world.clone();
    claim_only.cluster.objects.retain(|key, _| key.kind == ObjectKind::PersistentVolumeClaim);
    assert!(codes(&claim_only.plan()).contains(&(Level::Error, "environment-of-another")));
    // Renamed, and said so.
    let plan = world.plan_with(&Options { adopt: true, ..Options::default() });
    assert!(codes(&plan).contains(&(Level::Danger, "environment-taken-over")), "{:?}", codes(&plan));
    assert_eq!(class_of(&plan, ObjectKind::StatefulSet), Some(ChangeClass::InPlace));
    world.apply(&plan);
    let plan = world.plan();
    assert!(plan.is_empty() && plan.findings.is_empty(), "{:?} {:?}", addresses(&plan), plan.findings);
}

#[test]
fn a_pod_that_the_state_does_not_know_is_a_danger_and_what_it_holds_is_not_known() {
    let mut world = holding(&["gitaly-a"]);
    world.state = State::new("test");
    world.spec("gitaly-a", |spec| spec.image = IMAGE.to_owned());
    // GitLab is another one, and lists nothing there.
    world.cluster.held.insert(name("gitaly-a"), Reading::Known(Counted::All(0)));
    let plan = world.plan();
    assert!(codes(&plan).contains(&(Level::Danger, "pod-not-recorded")), "{:?}", codes(&plan));
    assert!(said(&plan, "pod-restarts").contains("how many repositories it holds is not known"));
    // Away, its disk is not taken for an empty one.
    let mut gone = world.clone();
    *gone.facts("gitaly-a") = away();
    assert_eq!(gone.plan().storages[&name("gitaly-a")].capacity, None);
    world.apply(&plan);
    assert_eq!(codes(&world.plan()), []);
    // Without the annotation it may be anybody's.
    world.state = State::new("test");
    world.cluster.get(ObjectKind::StatefulSet, "gitaly-a")["metadata"]["annotations"] = json!({});
    assert_eq!(codes(&world.plan()), [(Level::Error, "pod-not-recorded")]);
    assert!(!world.plan_with(&Options { adopt: true, ..Options::default() }).is_blocked());
}

#[test]
fn a_set_of_before_the_annotation_gets_it_in_place() {
    let mut world = settled(&["gitaly-a"]);
    for object in world.cluster.objects.values_mut() {
        object["metadata"].as_object_mut().expect("metadata").remove("annotations");
    }
    let set = world.cluster.get(ObjectKind::StatefulSet, "gitaly-a");
    set["spec"]["volumeClaimTemplates"][0]["metadata"] = json!({ "name": "repo-data" });
    let pod = world.cluster.get(ObjectKind::StatefulSet, "gitaly-a")["spec"]["template"]["metadata"].clone();
    world.cluster.get(ObjectKind::Pod, "gitaly-a-0")["metadata"]["annotations"] = pod["annotations"].clone();
    let plan = world.plan();
    assert_eq!(class_of(&plan, ObjectKind::StatefulSet), Some(ChangeClass::InPlace), "{:?}", codes(&plan));
    assert_eq!((plan.actions.len(), codes(&plan)), (6, vec![]));
    world.apply(&plan);
    assert!(world.plan().is_empty());
}

const ON_DELETE: &str = r#"{ "spec": { "updateStrategy": { "type": "OnDelete" } } }"#;

/// Storages whose StatefulSets have a newer template than their pods, which wait for a delete.
fn waiting(pods: &[&str]) -> World {
    let mut world = holding(pods);
    let extra: Value = serde_json::from_str(ON_DELETE).expect("JSON");
    for pod in pods {
        world.spec(pod, |spec| (spec.image, spec.extra) = (IMAGE.to_owned(), extra.clone()));
    }
    let plan = world.plan();
    assert_eq!((restarts(&plan), class_of(&plan, ObjectKind::StatefulSet)), (vec![], Some(ChangeClass::InPlace)));
    world.apply(&plan);
    assert_eq!(codes(&world.plan()), vec![(Level::Notice, "pod-outdated"); pods.len()]);
    world
}

#[test]
fn pods_older_than_their_sets_restart_when_nothing_holds_them_any_more_and_that_is_said() {
    let pods = ["gitaly-a", "gitaly-b"];
    let in_a_row =
        ["pod.gitaly-a[\"StatefulSet\"]", "ready.gitaly-a", "pod.gitaly-b[\"StatefulSet\"]", "ready.gitaly-b"];
    let mut world = waiting(&pods);
    for pod in pods {
        world.spec(pod, |spec| spec.extra = json!({}));
    }
    let plan = world.plan();
    assert_eq!((restarts(&plan), addresses(&plan)), (pods.to_vec(), in_a_row.map(str::to_owned).to_vec()));
    assert_eq!(class_of(&plan, ObjectKind::StatefulSet), Some(ChangeClass::RollsPod));
    assert_eq!(plan.actions[0].reason, "it differs, and its pod has an older template than it");
    // Back to what the pods run: nothing restarts.
    let mut back = world.clone();
    for pod in pods {
        back.spec(pod, |spec| spec.image = "registry.example.com/cng/gitaly:v18.2.0".to_owned());
    }
    assert_eq!(restarts(&back.plan()), pods, "the template changes, which is told rather than not");
    // Made anew on the way.
    for pod in pods {
        world.spec(pod, |spec| spec.extra = json!({ "spec": { "serviceName": "other" } }));
    }
    let plan = world.plan();
    assert_eq!((restarts(&plan), addresses(&plan)), (pods.to_vec(), in_a_row.map(str::to_owned).to_vec()));
    assert!(said(&plan, "statefulset-recreated").contains("restarts with its new template"));
    assert!(matches!(&plan.actions[0].change, Change::RecreateStatefulSet { restarts: true, .. }));
}

#[test]
fn a_pod_that_lost_its_set_is_taken_over_or_restarts_by_what_it_runs() {
    let pods = ["gitaly-a", "gitaly-b"];
    let mut world = holding(&pods);
    for pod in pods {
        world.cluster.objects.remove(&key(ObjectKind::StatefulSet, pod));
    }
    let plan = world.plan();
    assert_eq!(restarts(&plan), Vec::<&str>::new());
    assert_eq!(class_of(&plan, ObjectKind::StatefulSet), Some(ChangeClass::Create));
    let ready = plan.actions.iter().find(|action| action.address.to_string() == "ready.gitaly-a").expect("waited for");
    assert_eq!(ready.reason, "its StatefulSet is made anew, and takes over its pod");
    let mut done = world.clone();
    done.apply(&plan);
    assert!(done.plan().is_empty(), "{:?}", addresses(&done.plan()));
    for pod in pods {
        world.spec(pod, |spec| spec.image = IMAGE.to_owned());
    }
    let plan = world.plan();
    assert_eq!(restarts(&plan), pods);
    assert_eq!(
        addresses(&plan),
        ["pod.gitaly-a[\"StatefulSet\"]", "ready.gitaly-a", "pod.gitaly-b[\"StatefulSet\"]", "ready.gitaly-b"]
    );
    assert_eq!(class_of(&plan, ObjectKind::StatefulSet), Some(ChangeClass::RollsPod));
    world.apply(&plan);
    assert!(world.plan().is_empty());
}

#[test]
fn sets_are_made_anew_one_after_the_other() {
    let mut world = holding(&["gitaly-a", "gitaly-b"]);
    for pod in ["gitaly-a", "gitaly-b"] {
        world.spec(pod, |spec| spec.extra = json!({ "spec": { "serviceName": "other" } }));
    }
    let plan = world.plan();
    assert_eq!(restarts(&plan), Vec::<&str>::new());
    assert!(plan.edges.iter().any(|edge| edge.reason == "one storage restarts after the other"));
    let mut broken = plan;
    broken.edges.retain(|edge| edge.reason != "one storage restarts after the other");
    assert!(check::faults(&broken).iter().any(|fault| fault.contains("restart at once")));
}

#[test]
fn a_set_that_is_made_anew_and_waits_for_a_delete_keeps_its_pod_as_it_is() {
    let mut world = holding(&["gitaly-a"]);
    let extra = json!({ "spec": { "serviceName": "other", "updateStrategy": { "type": "OnDelete" } } });
    world.spec("gitaly-a", |spec| (spec.image, spec.extra) = (IMAGE.to_owned(), extra));
    let plan = world.plan();
    assert!(said(&plan, "statefulset-recreated").contains("goes on with its old template"));
    assert!(codes(&plan).contains(&(Level::Notice, "pod-outdated")) && restarts(&plan).is_empty());
    assert!(plan.actions[0].reason.ends_with("its pod keeps its old template"), "{}", plan.actions[0].reason);
    // Its Gitaly is the old one: no newer one is waited for.
    assert!(matches!(&plan.actions[1].change, Change::AwaitReady { version: None, .. }));
    world.apply(&plan);
    assert!(world.plan().is_empty());
}

#[test]
fn a_restart_that_finds_no_node_is_an_error() {
    let zoned = |zone: &str| json!([{ "matchExpressions": [{ "key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone] }] }]);
    let mut world = holding(&["gitaly-a"]);
    for (n, node) in nodes(&mut world).iter_mut().enumerate() {
        let zone = if n % 2 == 0 { "a" } else { "b" };
        node.labels.insert("topology.kubernetes.io/zone".to_owned(), zone.to_owned());
    }
    volume(&mut world, "Retain", zoned("a"));
    world.desired("gitaly-a").zone = Some("a".to_owned());
    assert!(!world.plan().is_blocked(), "{:?}", codes(&world.plan()));
    world.desired("gitaly-a").zone = Some("b".to_owned());
    let plan = world.plan();
    assert!(plan.is_blocked() && plan.is_empty());
    assert!(said(&plan, "pod-finds-no-node").contains("reaches its volume pv-gitaly-a"));
    world.desired("gitaly-a").zone = Some("c".to_owned());
    assert!(said(&world.plan(), "pod-finds-no-node").contains("no node has the labels"));
    // The only one is cordoned.
    world.desired("gitaly-a").zone = None;
    world.spec("gitaly-a", |spec| spec.image = IMAGE.to_owned());
    assert!(!world.plan().is_blocked());
    nodes(&mut world).iter_mut().for_each(|node| node.unschedulable = node.labels.values().any(|label| label == "a"));
    assert!(said(&world.plan(), "pod-finds-no-node").contains("cordoned or not ready"));
    // Nothing is on it.
    world.cluster.held.insert(name("gitaly-a"), Reading::Known(Counted::All(0)));
    assert!(!world.plan().is_blocked() && codes(&world.plan()).contains(&(Level::Danger, "pod-finds-no-node")));
}

#[test]
fn what_may_not_be_read_of_volumes_classes_and_quotas_is_said() {
    let mut world = holding(&["gitaly-a"]);
    let around = &mut world.cluster.surroundings;
    around.volumes = Reading::Unknown("the user ci lacks the verb `list` on `persistentvolumes`".to_owned());
    around.priority_classes = Reading::Unknown("no right".to_owned());
    around.quotas = Reading::Unknown("no right".to_owned());
    let plan = world.plan();
    assert_eq!((codes(&plan), plan.is_empty()), (vec![(Level::Notice, "volumes-unknown")], true));
    assert!(
        said(&plan, "volumes-unknown").contains("lacks the verb `list`")
            && plan.findings[0].help.contains("ClusterRole")
    );
    world.spec("gitaly-a", |spec| spec.extra = json!({ "spec": { "serviceName": "other" } }));
    let found = world.plan();
    for expected in [
        (Level::Danger, "volumes-unknown"),
        (Level::Notice, "priority-class-unknown"),
        (Level::Notice, "quota-unknown"),
    ] {
        assert!(codes(&found).contains(&expected), "{expected:?} in {:?}", codes(&found));
    }
    // Who accepts that they go needs not know.
    world.spec("gitaly-a", |spec| spec.disk.retain = false);
    assert!(!codes(&world.plan()).iter().any(|(_, code)| *code == "volumes-unknown"));
}

#[test]
fn a_volume_that_has_not_grown_yet_is_waited_for_again() {
    let mut world = settled(&["gitaly-a"]);
    world.spec("gitaly-a", |spec| spec.disk.size = Bytes(200 * GIB));
    let plan = world.plan();
    world.apply(&plan);
    // The claim was changed, and the apply gave up before its volume was.
    claim(&mut world)["status"]["capacity"]["storage"] = json!("100Gi");
    claim(&mut world)["status"]["conditions"] =
        json!([{ "type": "ControllerResizeError", "status": "True", "message": "quota" }]);
    let plan = world.plan();
    assert_eq!(addresses(&plan), ["disk.gitaly-a"]);
    assert!(matches!(&plan.actions[0].change, Change::GrowDisk { from, to, .. }
        if (from.0, to.0) == (100 * GIB, 200 * GIB)));
    assert!(
        plan.actions[0].reason.ends_with("has not grown yet (ControllerResizeError: quota)"),
        "{}",
        plan.actions[0].reason
    );
    world.apply(&plan);
    assert!(world.plan().is_empty());
    claim(&mut world)["status"]["capacity"]["storage"] = json!("100Gi");
    claim(&mut world)["status"]["conditions"] = json!([{ "type": "FileSystemResizePending", "status": "True" }]);
    assert_eq!((addresses(&world.plan()), codes(&world.plan())), (vec![], vec![(Level::Notice, "resize-pending")]));
}

#[test]
fn a_storage_without_projects_may_hold_other_repositories() {
    let mut world = holding(&["gitaly-a"]);
    world.observed.gitlab.weights.insert(name("gitaly-a"), weight(0));
    world.desired("gitaly-a").weight = Some(weight(0));
    world.spec("gitaly-a", |spec| spec.image = IMAGE.to_owned());
    let mut of = |counted| {
        world.cluster.held.insert(name("gitaly-a"), Reading::Known(counted));
        let plan = world.plan();
        plan.findings.iter().find(|f| f.code == "pod-restarts").map(|finding| finding.message.clone())
    };
    assert!(of(Counted::All(3)).is_some_and(|told| told.contains("3 repositories on it cannot be reached")));
    assert!(of(Counted::Projects(0)).is_some_and(|told| told.contains("snippets and group wikis on it")));
    assert_eq!(of(Counted::All(0)), None);
    // One that holds only those is not made with an empty disk either.
    let mut world = World::to_pods(&["gitaly-a"], &[GIB]);
    world.cluster.held.insert(name("gitaly-a"), Reading::Known(Counted::All(1)));
    world.observed.lists.remove(&name("gitaly-a"));
    assert!(said(&world.plan(), "storage-in-use").contains("GitLab lists 1 repository on gitaly-a"));
}

#[test]
fn who_may_no_longer_reach_a_storage_is_a_danger() {
    let mut world = World::to_pods(&["gitaly-a"], &[]);
    world.spec("gitaly-a", |spec| spec.service.kind = ServiceKind::NodePort);
    let plan = world.plan();
    assert_eq!(codes(&plan), [], "nobody reaches it yet");
    world.apply(&plan);
    world.spec("gitaly-a", |spec| spec.service.kind = ServiceKind::ClusterIp);
    let plan = world.plan();
    assert_eq!(codes(&plan), [(Level::Danger, "reach-changes")]);
    assert!(said(&plan, "reach-changes").contains("(.spec.type \"NodePort\" -> \"ClusterIP\")"), "{:?}", plan.findings);
    world.apply(&plan);
    world.spec("gitaly-a", |spec| spec.network_policy = Some(NetworkPolicySpec::default()));
    let plan = world.plan();
    assert!(said(&plan, "reach-changes").starts_with("NetworkPolicy/gitaly-a is made"));
    world.apply(&plan);
    world.spec("gitaly-a", |spec| {
        spec.network_policy = Some(NetworkPolicySpec { cidrs: vec!["10.0.0.0/8".to_owned()], ..Default::default() });
    });
    assert!(said(&world.plan(), "reach-changes").starts_with("NetworkPolicy/gitaly-a changes"));
    // An annotation is nothing of it.
    let mut world = settled(&["gitaly-a"]);
    world.spec("gitaly-a", |spec| spec.service.annotations = [("a".to_owned(), "b".to_owned())].into());
    assert_eq!(codes(&world.plan()), []);
}

#[test]
fn what_is_wrong_with_one_storage_keeps_nothing_from_leaving_it() {
    let mut world = settled(&["gitaly-a", "gitaly-b"]);
    world.desired.assignments.clear();
    world.desired("old").drain = false;
    world.desired("gitaly-a").weight = Some(weight(0));
    world.assign("rescue", &["gitaly-a"], &["gitaly-b"], 0);
    world.repositories("gitaly-a", &[GIB]);
    claim(&mut world)["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let plan = world.plan();
    assert!(plan.is_blocked() && codes(&plan) == [(Level::Error, "claim-terminating")], "{:?}", codes(&plan));
    assert!(plan.findings[0].help.ends_with("--exclude pod.gitaly-a"), "{}", plan.findings[0].help);
    let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    for (target, exclude) in [(&[][..], &["pod.gitaly-a"][..]), (&["weight.gitaly-a", "moves.gitaly-a"], &[])] {
        let plan = world.plan_with(&Options { target: own(target), exclude: own(exclude), ..Options::default() });
        let blocked = target.contains(&"weight.gitaly-a");
        assert_eq!(plan.is_blocked(), blocked, "a weight brings its pod along: {:?}", codes(&plan));
        if !blocked {
            assert_eq!(codes(&plan), [(Level::Danger, "claim-terminating")]);
            assert_eq!(addresses(&plan), ["weight.gitaly-a", "moves.gitaly-a[\"rest\"]"]);
        }
    }
    let plan = world.plan_with(&Options { target: own(&["moves.gitaly-a"]), ..Options::default() });
    assert!(!plan.is_blocked() && !plan.moves.is_empty(), "{:?}", codes(&plan));
    // Nothing goes to it, and its weight does not rise.
    world.desired.assignments.clear();
    world.repositories("old", &[GIB]);
    world.assign("there", &["old"], &["gitaly-a"], 0);
    world.observed.gitlab.weights.insert(name("gitaly-a"), weight(0));
    world.desired("gitaly-a").weight = Some(weight(100));
    let plan = world.plan_with(&Options { exclude: own(&["pod.gitaly-a"]), ..Options::default() });
    assert!(plan.is_empty() && !plan.is_blocked(), "{:?}", addresses(&plan));
    assert!(plan.report.iter().any(|row| row.reason == WaitingOn::Storage { storage: name("gitaly-a") }));
    // So does the whole cluster, when it is away.
    world.desired.assignments.clear();
    world.observed.cluster = Some(Reading::Unknown("connection refused".to_owned()));
    assert!(world.plan().is_blocked());
    let plan = world.plan_with(&Options { exclude: own(&["pod.*"]), ..Options::default() });
    assert!(!plan.is_blocked() && codes(&plan) == [(Level::Danger, "cluster-unknown")], "{:?}", codes(&plan));
}

#[test]
fn the_environment_is_on_every_object_and_on_the_claim() {
    let world = World::to_pods(&["gitaly-a"], &[]);
    for manifest in manifests(&world, "gitaly-a") {
        assert_eq!(manifest.body["metadata"]["annotations"][ENVIRONMENT], "test", "{}", manifest.key);
    }
    let set = set(&world);
    assert_eq!(set["spec"]["volumeClaimTemplates"][0]["metadata"]["annotations"][ENVIRONMENT], "test");
    assert_eq!(
        set["spec"]["template"]["metadata"]["annotations"].get(ENVIRONMENT),
        None,
        "a new name restarts nothing"
    );
}
