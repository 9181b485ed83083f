//! The table's blocks about the configuration itself, the systems that are reached, and storages.

use super::Need::{Default, Optional, Required};
use super::Shape::{
    Any, Bool, Condition, Duration, Number, OneOf, Reference, Secret, Size, Text, TextMap, Type, Version, Whole,
};
use super::{BlockSpec, FOR_EACH, U32, attribute, block};

pub(super) const TRANSHIP: BlockSpec = BlockSpec {
    attributes: &[
        attribute(
            "required_version",
            Version,
            Optional,
            "The versions of tranship that may use this configuration; left out, any.",
            "required_version = \">= 0.1\"",
        ),
        attribute(
            "environment",
            Text,
            Default("\"default\""),
            "The name that state, reports, evidence and the objects of pod storages carry: letters, digits, `.`, `_`, `-`. \
             Environments that share a namespace need different ones.",
            "environment = \"staging\"",
        ),
    ],
    ..block("tranship", &[], false, "Settings of the configuration itself.")
};

pub(super) const VARIABLE: BlockSpec = BlockSpec {
    attributes: &[
        attribute(
            "type",
            Type,
            Optional,
            "What values it takes; others are converted or refused. Left out, any value.",
            "type = list(string)",
        ),
        attribute(
            "default",
            Any,
            Optional,
            "The value when none is given; without it one must be given.",
            "default = \"v18.2.0\"",
        ),
        attribute("description", Text, Optional, "What it is for, for people.", "description = \"Gitaly's version.\""),
        attribute(
            "sensitive",
            Bool,
            Default("false"),
            "Its value, and what is made of it, appears in no output.",
            "sensitive = true",
        ),
        attribute(
            "nullable",
            Bool,
            Default("true"),
            "Whether null is a value of it; if not, null means the default.",
            "nullable = false",
        ),
    ],
    blocks: &[BlockSpec {
        attributes: &[
            attribute(
                "condition",
                Condition("var"),
                Required,
                "Must be true for the value to be accepted.",
                "condition = startswith(var.gitaly_version, \"v\")",
            ),
            attribute(
                "error_message",
                Text,
                Required,
                "What to say when it is not, as a sentence.",
                "error_message = \"A version starts with v.\"",
            ),
        ],
        ..block("validation", &[], true, "A rule that values must keep.")
    }],
    ..block("variable", &["name"], true, "A value that is given from outside: `var.name`.")
};

pub(super) const LOCALS: BlockSpec = block("locals", &[], true, "Names for expressions: `local.name`.");

pub(super) const GITLAB: BlockSpec = BlockSpec {
    attributes: &[
        attribute("url", Text, Required, "GitLab's own address, without /api/v4.", "url = \"https://gitlab.example.com\""),
        attribute("internal_url", Text, Optional, "What a pod's Gitaly calls for its hooks.", "internal_url = \"http://gitlab-webservice:8181\""),
        attribute("token", Secret, Required, "An administrator's token, with the scopes `api` and, where Admin Mode is on, `admin_mode`.", "token = { env = \"GITLAB_TOKEN\" }"),
        attribute("ca", Text, Optional, "A PEM file with a private CA; left out, the system's. A relative path begins at the configuration's folder.", "ca = \"/etc/ssl/gitlab-ca.pem\""),
        // Safe anywhere: GitLab's default worker process has 20 threads for all its jobs. Ten times that would only
        // queue, and what is queued is read-only already (the freeze starts at the POST, not at the copy).
        attribute("max_moves", Whole(1, U32), Default("8"), "Moves outstanding at once: not more than GitLab has worker slots for them, or repositories wait read-only.", "max_moves = 16").unit("moves"),
    ],
    ..block("gitlab", &[], false, "How GitLab is reached.")
};

pub(super) const GITALY: BlockSpec = BlockSpec {
    attributes: &[
        attribute(
            "token",
            Secret,
            Optional,
            "The token of all Gitalys, unless a storage has its own; left out, none is sent.",
            "token = { file = \"/run/secrets/gitaly-token\" }",
        ),
        attribute(
            "ca",
            Text,
            Optional,
            "A PEM file with the CA of all tls:// Gitalys; left out, the system's. A relative path begins at the configuration's folder.",
            "ca = \"/etc/ssl/gitaly-ca.pem\"",
        ),
    ],
    ..block("gitaly", &[], false, "How Gitalys are reached.")
};

pub(super) const PROMETHEUS: BlockSpec = BlockSpec {
    attributes: &[
        attribute(
            "url",
            Text,
            Required,
            "Its address, without /api/v1.",
            "url = \"http://prometheus.monitoring:9090\"",
        ),
        attribute(
            "token",
            Secret,
            Optional,
            "A bearer token; left out, none is sent.",
            "token = { env = \"PROMETHEUS_TOKEN\" }",
        ),
        attribute(
            "ca",
            Text,
            Optional,
            "A PEM file with a private CA; left out, the system's. A relative path begins at the configuration's folder.",
            "ca = \"/etc/ssl/prometheus-ca.pem\"",
        ),
    ],
    ..block("prometheus", &[], false, "Where gates ask.")
};

pub(super) const SANDBOX: BlockSpec = BlockSpec {
    attributes: &[
        attribute(
            "repositories",
            Whole(0, 10_000_000),
            Required,
            "Projects the world begins with.",
            "repositories = 24",
        )
        .unit("projects"),
        attribute(
            "snippets",
            Whole(0, 10_000_000),
            Default("0"),
            "Snippets with a repository that the world begins with; beside them one in eight has none.",
            "snippets = 8",
        )
        .unit("snippets"),
        attribute(
            "group_wikis",
            Whole(0, 10_000_000),
            Default("0"),
            "Groups with a wiki that the world begins with; beside them one in four has none. None without `-ee`.",
            "group_wikis = 4",
        )
        .unit("groups"),
        attribute(
            "fork_networks",
            Whole(0, 1_000_000),
            Default("0"),
            "Fork networks of up to four of the projects, from the thirteenth on, that share an object pool.",
            "fork_networks = 1",
        )
        .unit("networks"),
        attribute(
            "real_limit",
            Whole(0, 100_000),
            Default("200"),
            "Up to this many projects are real bare Git repositories; above, the world is synthetic.",
            "real_limit = 50",
        )
        .unit("projects"),
        attribute(
            "seed",
            Whole(0, u64::MAX as i128),
            Default("1"),
            "Seed of everything that is drawn: the same seed gives the same world.",
            "seed = 7",
        ),
        attribute(
            "speed",
            Whole(1, 1_000_000),
            Default("60"),
            "Seconds of the fleet's clock per second.",
            "speed = 60",
        )
        .unit("seconds per second"),
        attribute(
            "workers",
            Whole(1, 10_000),
            Default("8"),
            "GitLab's move workers; also the moves outstanding at once.",
            "workers = 8",
        )
        .unit("workers"),
        attribute(
            "gitlab_version",
            Text,
            Default("\"18.2.0-ee\""),
            "What its GitLab says it is.",
            "gitlab_version = \"18.2.0-ee\"",
        ),
        attribute(
            "gitaly_version",
            Text,
            Default("\"18.2.0\""),
            "What its Gitalys say they are.",
            "gitaly_version = \"18.2.0\"",
        ),
        attribute(
            "gitlab_knows",
            OneOf(&["ready", "manual"]),
            Default("\"ready\""),
            "When its GitLab learns of a pod storage: as soon as that is ready, or by `tranship sandbox know`.",
            "gitlab_knows = \"manual\"",
        ),
        attribute(
            "pod_start",
            Duration,
            Default("\"20s\""),
            "How long a pod takes from its volumes being mounted to its being ready, by the fleet's clock.",
            "pod_start = \"2m\"",
        ),
    ],
    blocks: &[
        BlockSpec {
            attributes: &[
                attribute("disk", Size, Default("\"100Gi\""), "Size of its disk.", "disk = \"20Gi\"").unit("bytes"),
                attribute(
                    "weight",
                    Whole(0, 100),
                    Optional,
                    "The weight the world begins with; left out, 100 for the first storage and 0 for the others.",
                    "weight = 100",
                ),
            ],
            ..block("storage", &["name"], true, "A storage that exists before tranship comes.")
        },
        BlockSpec {
            attributes: &[
                attribute("nth", Whole(1, U32), Default("1"), "The how-manyth occasion it strikes, from 1.", "nth = 5")
                    .unit("occasions"),
                attribute("count", Whole(1, U32), Default("1"), "How many occasions from the nth on.", "count = 2")
                    .unit("occasions"),
            ],
            ..block("fault", &["kind"], true, "Something that goes wrong, to see what happens.")
        },
    ],
    ..block("sandbox", &["name"], false, "An embedded fleet on this machine, instead of GitLab and Gitalys.")
};

pub(super) const STORAGE: BlockSpec = BlockSpec {
    attributes: &[
        FOR_EACH,
        attribute(
            "name",
            Text,
            Optional,
            "GitLab's name of it; left out, the label (with `for_each`: label-key).",
            "name = \"gitaly-${each.key}\"",
        ),
        attribute(
            "address",
            Text,
            Optional,
            "As GitLab dials it: tcp://, tls:// or unix:. Required, but left out on the sandbox; a pod's is its Service's name.",
            "address = \"tcp://gitaly-01.internal:8075\"",
        ),
        attribute(
            "dial",
            Text,
            Optional,
            "As tranship dials it, where that differs; left out, `address`.",
            "dial = \"tcp://localhost:8075\"",
        ),
        attribute(
            "token",
            Secret,
            Optional,
            "Its own token; left out, that of the `gitaly` block.",
            "token = { env = \"GITALY_01_TOKEN\" }",
        ),
        attribute(
            "ca",
            Text,
            Optional,
            "Its own CA, a PEM file; left out, that of the `gitaly` block.",
            "ca = \"/etc/ssl/gitaly-01-ca.pem\"",
        ),
        attribute(
            "weight",
            Whole(0, 100),
            Optional,
            "How much of the new repositories it takes, relative to the others; left out, not managed.",
            "weight = 100",
        ),
        attribute("drain", Bool, Default("false"), "Weight 0, no repository left, found empty twice.", "drain = true"),
        attribute(
            "pod",
            Reference("pod_spec"),
            Optional,
            "Deploys it: one StatefulSet of one replica.",
            "pod = pod_spec.standard",
        ),
        attribute(
            "zone",
            Text,
            Optional,
            "The zone of its pod, as nodes carry it in the label topology.kubernetes.io/zone.",
            "zone = \"europe-west1-b\"",
        ),
        attribute(
            "disk_size",
            Size,
            Optional,
            "The size of its volume; left out, the pod spec's. It can grow and never shrink.",
            "disk_size = \"8Ti\"",
        )
        .unit("bytes"),
        attribute(
            "metrics",
            TextMap,
            Optional,
            "Prometheus labels of this server: what `target.selector` stands for in a gate's query. Left out, of a pod its namespace and name.",
            "metrics = { instance = \"gitaly-01:9236\" }",
        ),
    ],
    blocks: &[BlockSpec {
        attributes: &[
            attribute(
                "disk_ceiling",
                Number(0.0, 1.0),
                Default("0.85"),
                "No move may take its disk above this.",
                "disk_ceiling = 0.80",
            )
            .unit("share of the disk"),
            attribute("max_moves", Whole(1, U32), Default("4"), "Moves in flight towards or from it.", "max_moves = 8")
                .unit("moves"),
            attribute(
                "bandwidth",
                Size,
                Optional,
                "What its disk and network give to copies, each way: large moves are begun as that allows, and the estimate \
                 counts with it.",
                "bandwidth = \"400Mi\"",
            )
            .unit("bytes per second"),
        ],
        ..block("limits", &[], false, "What moves may do to it.")
    }],
    ..block(
        "storage",
        &["name"],
        true,
        "A Gitaly storage: one that exists and is observed, or, with `pod`, one that is deployed.",
    )
};
