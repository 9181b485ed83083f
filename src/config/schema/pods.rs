//! The table's blocks about the cluster and what a pod storage is made of.

use super::Need::{Default, Optional, Required};
use super::Shape::{Bool, Cores, Duration, Object, Objects, OneOf, Size, Text, TextMap, Texts, Whole};
use super::{BlockSpec, U32, attribute, block};

pub(super) const KUBERNETES: BlockSpec = BlockSpec {
    attributes: &[
        attribute(
            "kubeconfig",
            Text,
            Optional,
            "The kubeconfig's file; left out, $KUBECONFIG, ~/.kube/config, or the service account of the pod that tranship runs in.",
            "kubeconfig = \"/etc/tranship/kubeconfig\"",
        ),
        attribute(
            "context",
            Text,
            Optional,
            "The kubeconfig's context; left out, its current one.",
            "context = \"gke-staging\"",
        ),
        attribute("namespace", Text, Required, "Where all objects of pod storages live.", "namespace = \"gitaly\""),
    ],
    blocks: &[BlockSpec {
        attributes: &[
            attribute(
                "gitaly_token",
                TextMap,
                Required,
                "The Secret and its key with Gitaly's token, the same as GitLab's.",
                "gitaly_token = { name = \"gitaly-token\", key = \"token\" }",
            ),
            attribute(
                "shell_secret",
                TextMap,
                Required,
                "The Secret and its key with GitLab Shell's secret, the same as GitLab's: without it every push is refused.",
                "shell_secret = { name = \"gitlab-shell-secret\", key = \"secret\" }",
            ),
        ],
        ..block(
            "secrets",
            &[],
            false,
            "Existing Secrets that the pods mount; that they have the keys is checked, their values are never read into a plan.",
        )
    }],
    ..block("kubernetes", &[], false, "The cluster that pod storages live in.")
};

pub(super) const POD_SPEC: BlockSpec = BlockSpec {
    attributes: &[
        attribute(
            "image",
            Text,
            Required,
            "Gitaly's image, with the tag of its version; never older than the Gitalys that it takes repositories from.",
            "image = \"registry.gitlab.com/gitlab-org/build/cng/gitaly:v18.2.0\"",
        ),
        attribute("cpu", Cores, Required, "Requests and limit: the pod is Guaranteed.", "cpu = 8").unit("cores"),
        attribute(
            "memory",
            Size,
            Required,
            "Requests and limit; Go's own limit (GOMEMLIMIT) follows it.",
            "memory = \"48Gi\"",
        )
        .unit("bytes"),
        attribute(
            "priority_class",
            Text,
            Optional,
            "The pods' PriorityClass, so that nothing else pushes them off their nodes; it must exist.",
            "priority_class = \"gitaly\"",
        ),
        attribute(
            "node_selector",
            TextMap,
            Optional,
            "Labels of the nodes that may run it.",
            "node_selector = { pool = \"gitaly\" }",
        ),
        attribute(
            "tolerations",
            Objects,
            Optional,
            "Taints of those nodes that it tolerates, as Kubernetes writes them.",
            "tolerations = [{ key = \"gitaly\", operator = \"Exists\", effect = \"NoSchedule\" }]",
        ),
        attribute(
            "anti_affinity",
            OneOf(&["required", "preferred"]),
            Default("\"required\""),
            "Whether two Gitalys may share a node: never, or only where there is no other.",
            "anti_affinity = \"preferred\"",
        ),
        // GitLab's advice for pods: clients repeat what was cut off, and a long stop only keeps the storage away.
        attribute(
            "graceful_restart_timeout",
            Duration,
            Default("\"1s\""),
            "How long Gitaly lets calls end when it stops; the storage is away meanwhile. The pod is killed 5 s later.",
            "graceful_restart_timeout = \"10s\"",
        ),
        attribute(
            "rotation_budget",
            Duration,
            Optional,
            "How long a restart may keep the storage away: `tranship rotate` measures one and fails above it, and a plan that restarts the pod says when the last one took longer.",
            "rotation_budget = \"30s\"",
        ),
        attribute(
            "ready_timeout",
            Duration,
            Default("\"10m\""),
            "How long an apply waits for the pod: scheduling, the volume, the image, the start.",
            "ready_timeout = \"20m\"",
        ),
        attribute(
            "max_unavailable",
            Whole(0, 1),
            Default("1"),
            "The disruption budget: 1 lets a drain of the node evict the pod, 0 makes it wait for `tranship rotate`.",
            "max_unavailable = 0",
        )
        .unit("pods"),
        attribute(
            "config",
            Object,
            Optional,
            "More of Gitaly's config.toml, laid over tranship's own; no secret belongs here.",
            "config = { concurrency = [{ rpc = \"/gitaly.SmartHTTPService/PostUploadPackWithSidechannel\", max_per_repo = 20 }] }",
        ),
        attribute(
            "extra",
            Object,
            Optional,
            "A strategic merge patch over the StatefulSet, for what is not modelled. It may not mount anything over, into or around what Gitaly's container mounts.",
            "extra = { spec = { template = { spec = { dnsPolicy = \"Default\" } } } }",
        ),
    ],
    blocks: &[
        BlockSpec {
            attributes: &[
                attribute(
                    "size",
                    Size,
                    Required,
                    "Size of the volume, 1 GiB at least; it can grow and never shrink.",
                    "size = \"5Ti\"",
                )
                .unit("bytes"),
                attribute(
                    "class",
                    Text,
                    Optional,
                    "Its StorageClass; left out, the cluster's default. It cannot be changed later.",
                    "class = \"premium-rwo\"",
                ),
                attribute(
                    "retain",
                    Bool,
                    Default("true"),
                    "Whether the class must keep a volume whose claim is deleted; false accepts one that deletes it.",
                    "retain = false",
                ),
            ],
            ..block("disk", &[], false, "The volume; required.")
        },
        BlockSpec {
            attributes: &[
                attribute(
                    "memory",
                    Size,
                    Required,
                    "For all of git's processes; at least 1 GiB below the pod's, so that git is killed and not Gitaly.",
                    "memory = \"40Gi\"",
                )
                .unit("bytes"),
                attribute(
                    "count",
                    Whole(1, U32),
                    Default("50"),
                    "How many cgroups repositories are spread over: about twice as many as are busy at once.",
                    "count = 1000",
                ),
                attribute(
                    "repository_memory",
                    Size,
                    Optional,
                    "For the git processes of one of them; left out, half of `memory`.",
                    "repository_memory = \"20Gi\"",
                )
                .unit("bytes"),
                attribute(
                    "init_image",
                    Text,
                    Optional,
                    "The image that hands the pod's cgroup over; left out, `gitaly-init-cgroups` beside `image`, of the same tag.",
                    "init_image = \"registry.example.com/gitaly-init-cgroups:v18.2.0\"",
                ),
            ],
            ..block(
                "cgroups",
                &[],
                false,
                "cgroups v2 for git's processes; they need a mount of the node's /sys/fs/cgroup.",
            )
        },
        BlockSpec {
            attributes: &[
                attribute(
                    "type",
                    OneOf(&["ClusterIP", "LoadBalancer", "NodePort"]),
                    Default("\"ClusterIP\""),
                    "How it is reached; what GitLab or a Gitaly on a machine outside dials needs LoadBalancer or NodePort, and `storage.address`.",
                    "type = \"LoadBalancer\"",
                ),
                attribute(
                    "annotations",
                    TextMap,
                    Optional,
                    "For what gives it an address and a name.",
                    "annotations = { \"networking.gke.io/load-balancer-type\" = \"Internal\" }",
                ),
            ],
            ..block("service", &[], false, "The Service that GitLab dials: its name stays when the pod goes.")
        },
        BlockSpec {
            attributes: &[
                attribute("namespaces", Texts, Optional, "Namespaces of GitLab's pods.", "namespaces = [\"gitlab\"]"),
                attribute(
                    "cidrs",
                    Texts,
                    Optional,
                    "Networks of machines that call Gitaly: GitLab's, other Gitalys', tranship's.",
                    "cidrs = [\"10.0.0.0/8\"]",
                ),
                attribute(
                    "metrics",
                    Texts,
                    Optional,
                    "Namespaces that may read its metrics; none: nobody may.",
                    "metrics = [\"monitoring\"]",
                ),
            ],
            ..block(
                "network_policy",
                &[],
                false,
                "A NetworkPolicy: only these, and Gitalys of the namespace, may call it.",
            )
        },
        BlockSpec {
            attributes: &[
                attribute(
                    "labels",
                    TextMap,
                    Optional,
                    "Labels by which Prometheus's operator finds it.",
                    "labels = { release = \"prometheus\" }",
                ),
                attribute("interval", Duration, Optional, "Between two scrapes.", "interval = \"30s\""),
            ],
            ..block(
                "service_monitor",
                &[],
                false,
                "A ServiceMonitor for Prometheus's operator, instead of the prometheus.io annotations.",
            )
        },
    ],
    ..block(
        "pod_spec",
        &["name"],
        true,
        "What a pod storage is made of: one StatefulSet of one replica and what it needs.",
    )
};
