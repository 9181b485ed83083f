//! The example that drains a VM into pods: on the embedded fleet, over sockets, with kills; and, with a `kubernetes` block
//! beside its `sandbox`, on the real control plane.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::{Value, json};

use super::common::cluster::{bound, kubeconfig, on_cluster};
use super::common::home::Home;

const ENDPOINT: &str = ".tranship/sandbox/office/endpoint.json";

fn home() -> Home {
    Home::of_example("vm-to-pods")
}

/// Which storage has how many bare repositories, as they lie on the fleet's disks.
fn lie(home: &Home) -> BTreeMap<String, usize> {
    let found =
        home.sh("cd .tranship/sandbox/office/storages && find . -type d -name '*.git' -path '*@hashed*' -prune");
    let mut on: BTreeMap<String, usize> = BTreeMap::new();
    for line in found.out.lines() {
        *on.entry(line.split('/').nth(1).unwrap_or_default().to_owned()).or_default() += 1;
    }
    on
}

/// The ids of the storages' file systems.
fn disks(home: &Home) -> BTreeSet<String> {
    let found = home.sh("cat .tranship/sandbox/office/storages/*/.gitaly-metadata | tr '}' '\n'");
    found.out.lines().filter(|line| line.contains("gitaly_filesystem_id")).map(str::to_owned).collect()
}

fn applied(home: &Home, more: &[&str]) {
    let apply = home.tranship(&[&["apply", "--auto-approve"], more].concat());
    assert_eq!(apply.code, 0, "{}\n{}", apply.out, apply.err);
}

fn unchanged(home: &Home, more: &[&str]) {
    let plan = home.tranship(&[&["plan", "--detailed-exitcode"], more].concat());
    assert_eq!(plan.code, 0, "{}\n{}", plan.out, plan.err);
}

#[test]
fn a_vm_is_drained_into_pods_and_edits_are_carried_out() {
    let home = home();
    applied(&home, &[]);
    unchanged(&home, &[]);
    let on = lie(&home);
    assert!(on.keys().all(|storage| storage.starts_with("gitaly-")) && on.values().sum::<usize>() >= 24, "{on:?}");
    assert_eq!(disks(&home).len(), 4, "each storage has a disk of its own");
    let before = disks(&home);
    for edit in ["gitaly_version=v18.3.0", "disk=30Gi", "extra={ spec = { serviceName = \"elsewhere\" } }"] {
        let plan = home.tranship(&["plan", "--detailed-exitcode", "--var", edit]);
        assert_eq!(plan.code, 2, "{edit}: {plan:?}");
        applied(&home, &["--var", edit]);
        unchanged(&home, &["--var", edit]);
        assert_eq!((lie(&home), disks(&home)), (on.clone(), before.clone()), "{edit}: no data is touched");
        // Back to where it was, but for a disk, which never shrinks.
        if edit != "disk=30Gi" {
            applied(&home, &[]);
        } else {
            let smaller = home.tranship(&["plan"]);
            assert!(smaller.out.contains("shrink") || smaller.out.contains("smaller"), "{smaller:?}");
            home.write("disk.vars.hcl", "");
            let text = home.read("main.hcl").replace("default     = \"20Gi\"", "default     = \"30Gi\"");
            home.write("main.hcl", &text);
        }
    }
}

#[test]
fn a_killed_fleet_comes_back_with_its_cluster_and_the_next_apply_goes_on() {
    let home = home();
    let kill = format!(
        "tranship apply --auto-approve --json >events 2>errors & pid=$!
        until grep -q 'waiting' events; do kill -0 $pid || break; sleep 0.02; done
        kill -9 $(sed -n 's/.*\"pid\": \\([0-9]*\\).*/\\1/p' {ENDPOINT})
        kill -9 $pid; wait $pid; true"
    );
    assert_eq!(home.sh(&kill).code, 0);
    applied(&home, &[]);
    unchanged(&home, &[]);
    let on = lie(&home);
    assert!(on.keys().all(|storage| storage.starts_with("gitaly-")), "{on:?}");
    // A fleet that ended while nobody looked has the same pods, on the same disks.
    let before = disks(&home);
    assert_eq!(home.sh(&format!("kill -9 $(sed -n 's/.*\"pid\": \\([0-9]*\\).*/\\1/p' {ENDPOINT})")).code, 0);
    unchanged(&home, &[]);
    assert_eq!(disks(&home), before);
}

#[test]
fn a_gitlab_that_must_be_told_is_told() {
    let home = home();
    let text =
        home.read("main.hcl").replace("  workers      = 8\n", "  workers      = 8\n  gitlab_knows = \"manual\"\n");
    home.write("main.hcl", &text);
    let unknown = home.tranship(&["sandbox", "know", "gitaly-a"]);
    assert_eq!(unknown.code, 1, "{unknown:?}");
    let first = home.tranship(&["apply", "--auto-approve"]);
    assert!(lie(&home).keys().all(|storage| storage == "default"), "{first:?}");
    for storage in ["gitaly-a", "gitaly-b", "gitaly-c"] {
        let told = home.tranship(&["sandbox", "know", storage]);
        assert_eq!(told.code, 0, "{told:?}\n{first:?}");
    }
    applied(&home, &[]);
    unchanged(&home, &[]);
    assert!(lie(&home).keys().all(|storage| storage.starts_with("gitaly-")));
}

#[test]
fn the_pods_may_be_in_a_real_cluster() {
    on_cluster(async |target| {
        let home = home();
        for (secret, key) in [("gitaly-token", "token"), ("gitlab-shell-secret", "secret")] {
            target.secret(secret, key, "secret").await;
        }
        let block = home.read("real/kubernetes.hcl");
        let here = format!("namespace = {:?}\n  kubeconfig = {:?}", target.namespace, kubeconfig().expect("there"));
        let block = block.replacen("namespace = \"gitaly\"", &here, 1);
        assert!(block.contains(&target.namespace), "{block}");
        home.write("kubernetes.hcl", &block);
        let real = ["--var-file", "real/real.vars.hcl"];
        // A blocking command; the client's own work waits meanwhile.
        applied(&home, &real);
        unchanged(&home, &real);
        assert!(lie(&home).keys().all(|storage| storage.starts_with("gitaly-")));
        for storage in ["gitaly-a", "gitaly-b", "gitaly-c"] {
            let pod = target.until_ready(&format!("{storage}-0"), None).await;
            assert_eq!(pod.status.and_then(|s| s.qos_class).as_deref(), Some("Guaranteed"));
            let ready = |set: &StatefulSet| set.status.as_ref().is_some_and(|s| s.ready_replicas == Some(1));
            target.until::<StatefulSet>(storage, "ready", ready).await;
            target.until::<PersistentVolumeClaim>(&format!("repo-data-{storage}-0"), "bound", bound).await;
            target.until::<PodDisruptionBudget>(storage, "there", |_| true).await;
        }
        // A pod that is away there is a Gitaly that is away here, and comes back on the same disk.
        let before = disks(&home);
        let pods = target.api::<Pod>();
        let old = pods.get("gitaly-a-0").await.expect("a pod").metadata.uid;
        pods.delete("gitaly-a-0", &Default::default()).await.expect("deleted");
        target.until_ready("gitaly-a-0", old.as_deref()).await;
        unchanged(&home, &real);
        assert_eq!(disks(&home), before);
        let image = ["--var-file", "real/real.vars.hcl", "--var", "gitaly_version=v18.3.0"];
        applied(&home, &image);
        unchanged(&home, &image);
        assert_eq!(disks(&home), before);
    });
}

#[test]
fn what_others_made_is_named_and_taken_over_only_when_asked() {
    let home = home();
    let plan = |more: &[&str], code: i32| {
        let plan = home.tranship(&[&["plan", "--detailed-exitcode"], more].concat());
        assert_eq!(plan.code, code, "{}\n{}", plan.out, plan.err);
        plan.out
    };
    plan(&[], 2);
    // The fleet serves this process as well; who writes under another name is somebody else.
    let write = |manager: &str, body: Value| {
        let endpoint: Value = serde_json::from_str(&home.read(ENDPOINT)).expect("JSON");
        let (url, token) = (endpoint["kubernetes_url"].as_str(), endpoint["kubernetes_token"].as_str());
        let mut config = kube::Config::new(url.expect("a URL").parse().expect("a URL"));
        config.auth_info.token = Some(token.expect("a token").to_owned().into());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let client = kube::Client::try_from(config).expect("a client");
            let how = kube::api::PatchParams::apply(manager).force();
            if body["kind"] == "ConfigMap" {
                let api = kube::Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(client, "gitaly");
                api.patch("gitaly-a", &how, &kube::api::Patch::Apply(&body)).await.expect("written");
            } else {
                let api = kube::Api::<PodDisruptionBudget>::namespaced(client, "gitaly");
                api.patch("gitaly-a", &how, &kube::api::Patch::Apply(&body)).await.expect("written");
            }
        });
    };
    let meta = json!({ "name": "gitaly-a", "namespace": "gitaly" });
    write("helm", json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": { "x": "y" } }));
    // 7 before 1: what drains would have nowhere to go.
    let out = plan(&[], 7);
    assert!(out.contains("ConfigMap/gitaly-a exists already, and tranship did not make it: it was written by helm."));
    assert!(out.contains("tranship plan --adopt") && out.contains("import { to = storage.gitaly[\"a\"] }"), "{out}");
    let out = plan(&["--adopt"], 2);
    assert!(out.contains("[object-adopted] ConfigMap/gitaly-a"), "{out}");
    let refused = home.tranship(&["apply", "--auto-approve"]);
    assert_eq!(refused.code, 7, "{refused:?}");
    applied(&home, &["--adopt"]);
    unchanged(&home, &[]);
    // A field of ours is taken: named with its owner, and taken back for good by an `import` block.
    let spec = json!({ "maxUnavailable": 0 });
    write("flux", json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": spec }));
    let out = plan(&[], 1);
    assert!(out.contains("fields that others own and that would change: .spec.maxUnavailable (flux)"), "{out}");
    home.write("import.hcl", "import {\n  to = storage.gitaly[\"a\"]\n}\n");
    let out = plan(&[], 2);
    assert!(out.contains(".spec.maxUnavailable: 0 -> 1") && out.contains("taken over from its owner"), "{out}");
    applied(&home, &[]);
    unchanged(&home, &[]);
    home.sh("rm import.hcl");
    unchanged(&home, &[]);
}

#[test]
fn what_the_fleet_tells_of_itself_holds_no_secret_of_the_cluster() {
    let home = home();
    applied(&home, &[]);
    let endpoint: Value = serde_json::from_str(&home.read(ENDPOINT)).expect("JSON");
    let token = endpoint["kubernetes_token"].as_str().expect("a token");
    assert!(token.starts_with("cluster-sandbox-"));
    assert!(!home.read("tranship.state.json").contains(token));
    let plan = home.tranship(&["plan", "--json"]);
    assert!(!plan.out.contains(token) && !plan.out.contains("127.0.0.1:"), "no address or token is in a plan");
}
