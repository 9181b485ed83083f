//! Plans, states and events that the tests of this folder look at. Built by hand: what is shown must not depend on the
//! planner.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::model::cluster::{Manifest, ObjectKey, ObjectKind};
use crate::model::{Address, Bytes, Container, ContainerKind, StorageName, Weight};
use crate::plan::pods::{ChangeClass, FieldChange};
use crate::plan::{
    Action, ActionId, Basis, Change, Drift, Edge, Estimate, Finding, Level, NotPlanned, Plan, PlannedMove,
    PolicyVerdict, Quarantined, Rename, StoragePlan, Verdict, WaitingOn, WeightChange,
};

pub(super) fn storage(name: &str) -> StorageName {
    StorageName::new(name).expect("a storage's name")
}

pub(super) fn weight(w: u64) -> Weight {
    Weight::new(w).expect("a weight")
}

pub(super) fn project(id: u64) -> Container {
    Container { kind: ContainerKind::Project, id }
}

pub(super) fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

/// Nothing to do.
pub(super) fn empty() -> Plan {
    Plan {
        format: Plan::FORMAT,
        environment: "staging".into(),
        as_of: "2026-01-02T03:04:05Z".parse().expect("a time"),
        listed: None,
        basis: Basis {
            configuration: "c0ffee".into(),
            state: "5eed".into(),
            observed: "0b5e".into(),
            filesystem_ids: BTreeMap::new(),
        },
        actions: Vec::new(),
        edges: Vec::new(),
        moves: Vec::new(),
        drift: Vec::new(),
        findings: Vec::new(),
        report: Vec::new(),
        quarantined: Vec::new(),
        weights: BTreeMap::new(),
        storages: BTreeMap::new(),
        placement: Vec::new(),
        max_moves: 8,
        concurrency: Default::default(),
        windows: Default::default(),
        freeze: Default::default(),
        source_fsck: Default::default(),
        hooks: Vec::new(),
        durations: Default::default(),
        estimate: Estimate {
            duration_seconds: 0,
            freeze_seconds: 0,
            longest_freeze_seconds: 0,
            longest: None,
            elapsed_seconds: None,
            soak_seconds: 0,
            binding: None,
            assumption: String::new(),
        },
        policies: Vec::new(),
        samples: BTreeMap::new(),
        renames: Vec::new(),
    }
}

fn action(at: &str, change: Change, reason: &str) -> Action {
    Action { address: address(at), change, reason: reason.into() }
}

/// One storage drained into another: `n` repositories of 1 MiB times their id modulo 7, in two waves.
pub(super) fn first_move(n: u64) -> Plan {
    let mut plan = empty();
    let archived = n / 4;
    plan.moves = (1..=n)
        .map(|id| PlannedMove {
            container: project(id),
            path: format!("group-{}/project-{id}", id % 3).into(),
            source: storage("default"),
            destination: storage("second"),
            assignment: address("assignment.everything"),
            bytes: Bytes((id % 7) << 20),
            shared: Bytes(0),
            pool: None,
            empty: id % 7 == 0,
        })
        .collect();
    let split = usize::try_from(archived).expect("few");
    let sum = |moves: &[PlannedMove]| Bytes(moves.iter().map(|m| m.bytes.0).sum());
    let wave = |name: &str, position: u32, first: usize, moves: &[PlannedMove]| Change::Moves {
        wave: name.into(),
        position,
        source: storage("default"),
        window: None,
        order: crate::plan::MoveOrder::TwoEnded,
        first: u32::try_from(first).expect("few"),
        count: u32::try_from(moves.len()).expect("few"),
        bytes: sum(moves),
    };
    let set = |name: &str, from: u64, to: u64| Change::SetWeight {
        storage: storage(name),
        from: weight(from),
        to: weight(to),
    };
    plan.actions = vec![
        action("weight.second", set("second", 0, 100), "the configuration says 100"),
        action("weight.default", set("default", 100, 0), "it drains"),
        action("moves.default[\"archived\"]", wave("archived", 0, 0, &plan.moves[..split]), "assigned elsewhere"),
        action("moves.default[\"rest\"]", wave("rest", 1, split, &plan.moves[split..]), "assigned elsewhere"),
        action("drain.default", Change::ProveEmpty { storage: storage("default") }, "it drains"),
    ];
    let edge = |from, to, reason: &str| Edge { from: ActionId(from), to: ActionId(to), reason: reason.into() };
    plan.edges = vec![
        edge(0, 1, "new repositories need a home first"),
        edge(1, 2, "no new repository may come while it is emptied"),
        edge(2, 3, "waves in their order"),
        edge(3, 4, "every move verified"),
    ];
    let change = |before, after| WeightChange { before: weight(before), after: weight(after) };
    plan.weights = BTreeMap::from([
        (storage("default"), change(100, 0)),
        (storage("old"), change(50, 50)),
        (storage("second"), change(0, 100)),
    ]);
    let total = sum(&plan.moves);
    let room = |used: u64, incoming: Bytes, outgoing: Bytes| StoragePlan {
        max_moves: 4,
        disk_ceiling_permille: 850,
        used: Some(Bytes(used)),
        capacity: Some(Bytes(20 << 30)),
        incoming,
        outgoing,
        growth: Bytes(0),
        bandwidth: None,
        incoming_count: if incoming.0 > 0 { n } else { 0 },
        outgoing_count: if outgoing.0 > 0 { n } else { 0 },
    };
    plan.storages = BTreeMap::from([
        (storage("default"), room(3 << 30, Bytes(0), total)),
        (storage("second"), room(1 << 30, total, Bytes(0))),
    ]);
    plan.estimate = Estimate {
        duration_seconds: 7503,
        freeze_seconds: 9000,
        longest_freeze_seconds: 65,
        longest: Some(project(6)),
        elapsed_seconds: None,
        soak_seconds: 0,
        binding: Some(crate::plan::Binding::Slots { storages: vec![storage("default")], saves_seconds: 2501 }),
        assumption: "2 s a move and 100 MiB/s".into(),
    };
    plan.policies = vec![PolicyVerdict {
        address: address("policy.small-steps"),
        verdict: Verdict::Pass,
        message: String::new(),
        place: None,
    }];
    plan.findings = vec![Finding {
        level: Level::Danger,
        code: "no-backup".into(),
        subject: "rollout".into(),
        message: "no backup is named: a lost reference could not be restored".into(),
        help: "Set `backup = hook.NAME`, or `backup = \"none\"` to say that there is none.".into(),
        blocks_drain: false,
    }];
    plan.samples = BTreeMap::from([("archived".into(), "00ff00ff00ff00ff".into())]);
    plan.basis.filesystem_ids =
        BTreeMap::from([(storage("default"), "fs-a".into()), (storage("second"), "fs-b".into())]);
    plan
}

/// Pods of each class: made, changed, restarted, made anew, grown, replaced, waited for, forgotten.
pub(super) fn pods() -> Plan {
    let mut plan = empty();
    let manifest = |kind: ObjectKind, name: &str| Manifest {
        key: ObjectKey { kind, name: name.into() },
        body: json!({ "metadata": { "name": name } }),
    };
    let apply = |kind: ObjectKind, name: &str, storage_name: &str, class: ChangeClass, changes: Vec<FieldChange>| {
        let key = if name == storage_name { kind.to_string() } else { format!("{kind}/{name}") };
        let create = class == ChangeClass::Create;
        let change = Change::ApplyObject {
            storage: storage(storage_name),
            manifest: manifest(kind, name),
            class,
            uid: (!create).then(|| "5f0c".into()),
            resource_version: (!create).then(|| "77".into()),
            changes,
            force: kind == ObjectKind::PodDisruptionBudget && !create,
        };
        let reason = if create { "it does not exist yet" } else { "it differs from the configuration" };
        Action { address: Address::new("pod", storage_name).with_key(key), change, reason: reason.into() }
    };
    let field = |path: &str, before: Value, after: Value| FieldChange {
        path: path.into(),
        before: (!before.is_null()).then_some(before),
        after: (!after.is_null()).then_some(after),
    };
    let ready = |name: &str, id: Option<&str>| {
        let change = Change::AwaitReady {
            storage: storage(name),
            version: Some("18.2.0".into()),
            filesystem_id: id.map(Into::into),
            deadline_seconds: 600,
        };
        action(&format!("ready.{name}"), change, "its pod starts anew")
    };
    let image = ".spec.template.spec.containers[gitaly].image";
    let config = |size: u32| {
        json!(format!(
            "bin_dir = \"/usr/local/bin\"\n\n[git]\ncatfile_cache_size = {size}\n\n[logging]\nformat = \"json\"\n"
        ))
    };
    use ChangeClass::{Create, InPlace, RollsPod};
    plan.actions = vec![
        apply(ObjectKind::ConfigMap, "new", "new", Create, Vec::new()),
        apply(ObjectKind::Service, "new-gitaly", "new", Create, Vec::new()),
        apply(ObjectKind::StatefulSet, "new", "new", Create, Vec::new()),
        ready("new", None),
        action(
            "known.new",
            Change::AwaitKnown { storage: storage("new"), deadline_seconds: 300 },
            "GitLab does not list it yet",
        ),
        apply(
            ObjectKind::ConfigMap,
            "rolled",
            "rolled",
            InPlace,
            vec![field(".data[\"config.toml.tpl\"]", config(5), config(7))],
        ),
        apply(
            ObjectKind::PodDisruptionBudget,
            "rolled",
            "rolled",
            InPlace,
            vec![
                field(".spec.maxUnavailable", json!(0), json!(1)),
                field(".metadata.labels.odd\u{1b}", json!("x"), Value::Null),
            ],
        ),
        apply(
            ObjectKind::StatefulSet,
            "rolled",
            "rolled",
            RollsPod,
            vec![field(image, json!("gitaly:v18.1.0"), json!("gitaly:v18.2.0"))],
        ),
        action(
            "pod.rolled[\"restart\"]",
            Change::ReplacePod {
                storage: storage("rolled"),
                pod: "rolled-0".into(),
                uid: "9a".into(),
                why: "it hangs in Pending with an old template".into(),
            },
            "a pod that is Pending is not replaced by itself",
        ),
        ready("rolled", Some("fs-rolled")),
        action(
            "disk.grown",
            Change::GrowDisk {
                storage: storage("grown"),
                claim: "repo-data-grown-0".into(),
                from: Bytes(5 << 40),
                to: Bytes(6 << 40),
            },
            "the configuration asks for a larger disk",
        ),
        action(
            "pod.grown[\"StatefulSet\"]",
            Change::RecreateStatefulSet {
                storage: storage("grown"),
                manifest: manifest(ObjectKind::StatefulSet, "grown"),
                uid: "5f0d".into(),
                changes: vec![field(".spec.serviceName", json!("grown"), json!("other"))],
                restarts: false,
            },
            "fields differ that can only be set when it is made",
        ),
        ready("grown", Some("fs-grown")),
        action(
            "forget.gone",
            Change::Forget { storage: storage("gone") },
            "the configuration does not declare it any more",
        ),
    ];
    plan.report = vec![NotPlanned {
        subject: "storage.new".into(),
        reason: WaitingOn::GitlabToKnow {
            storage: storage("new"),
            address: Some("tcp://new-gitaly.gitaly.svc:8075".into()),
        },
        count: 0,
        examples: Vec::new(),
        blocks_drain: false,
    }];
    plan
}

/// Every reason not to plan, every level of finding, every answer of a policy, drift and quarantine; odd characters.
pub(super) fn everything() -> Plan {
    let mut plan = first_move(4);
    plan.moves[0].path = "odd/\u{1b}[31mred\u{202e}\nline".into();
    plan.moves[1].path = "odd/日本 語".into();
    let reasons = [
        WaitingOn::Assignment,
        WaitingOn::Room {
            destinations: vec![storage("second"), storage("third")],
            free: Bytes(1 << 30),
            needed: Bytes(3 << 29),
        },
        WaitingOn::GitlabToKnow { storage: storage("third"), address: Some("tcp://third.internal:8075".into()) },
        WaitingOn::Move { state: "started".into(), destination: "second".into() },
        WaitingOn::Field { assignment: address("assignment.heavy") },
        WaitingOn::Release,
        WaitingOn::Listing { kind: ContainerKind::GroupWiki, cause: "GET /groups: 403".into() },
        WaitingOn::Reading { kind: ContainerKind::Snippet, cause: "GET /snippets/all: 500".into() },
        WaitingOn::Selection,
        WaitingOn::Leftovers,
        WaitingOn::Copies,
        WaitingOn::Temporary,
        WaitingOn::Pools,
        WaitingOn::Storage { storage: storage("third") },
    ];
    plan.report = reasons
        .into_iter()
        .zip(0u64..)
        .map(|(reason, i)| NotPlanned {
            subject: if i % 2 == 0 { "storage.default".into() } else { format!("project-{}", 100 + i) },
            reason,
            count: i,
            examples: (0..i.min(5)).map(|e| format!("project-{} web/shop-{e}", 200 + e)).collect(),
            blocks_drain: i % 3 == 0,
        })
        .collect();
    let finding = |level, code: &str, blocks_drain| Finding {
        level,
        code: code.into(),
        subject: "default, second".into(),
        message: "both are one file system: a move between them would delete its own copy".into(),
        help: "Check the addresses: two names must not lead to one Gitaly.".into(),
        blocks_drain,
    };
    plan.findings.push(finding(Level::Error, "equal-filesystem-ids", true));
    plan.findings.push(finding(Level::Notice, "old-version", false));
    plan.policies.push(PolicyVerdict {
        address: address("policy.size"),
        verdict: Verdict::Fail,
        message: "Split this: more than 3 moves in one plan.".into(),
        place: Some("fleet.hcl:40:19".into()),
    });
    plan.policies.push(PolicyVerdict {
        address: address("policy.age"),
        verdict: Verdict::Unknown,
        message: "`plan.age` is not known".into(),
        place: Some("fleet.hcl:45:19".into()),
    });
    plan.drift = drifted().drift;
    plan.quarantined = quarantined().quarantined;
    plan.renames.push(Rename { from: address("assignment.rest"), to: address("assignment.everything-else") });
    plan
}

/// Nothing to do, but two repositories set aside.
pub(super) fn quarantined() -> Plan {
    let mut plan = empty();
    let item = |id, cause: &str, urgent| Quarantined {
        container: project(id),
        path: format!("web/shop-{id}"),
        source: storage("default"),
        cause: cause.into(),
        remedy: "Run `git fsck` on the source, then move it again.\nKeep the source's copy.".into(),
        urgent,
    };
    plan.quarantined = vec![item(12, "move failed 3 times", false), item(13, "missing reference", true)];
    plan
}

/// Nothing to do, but a weight that somebody changed.
pub(super) fn drifted() -> Plan {
    let mut plan = empty();
    plan.drift = vec![
        Drift {
            address: address("storage.default"),
            fact: "weight".into(),
            recorded: "100".into(),
            observed: "50".into(),
        },
        Drift {
            address: address("storage.second"),
            fact: "filesystem_id".into(),
            recorded: "fs-b".into(),
            observed: "fs-x".into(),
        },
    ];
    plan
}
