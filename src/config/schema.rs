//! The one table of the language's blocks and attributes: name, type, default, unit, range, meaning, example. The
//! decoder checks by it and the reference is printed from it, so that they cannot drift apart.

/// A block's type.
#[derive(Debug)]
pub struct BlockSpec {
    /// The word that begins it.
    pub name: &'static str,
    /// What its labels name, in order; most blocks have none or one.
    pub labels: &'static [&'static str],
    /// How often it may stand in what encloses it.
    pub many: bool,
    /// What it says.
    pub doc: &'static str,
    /// Its attributes.
    pub attributes: &'static [AttributeSpec],
    /// Blocks within it.
    pub blocks: &'static [BlockSpec],
    /// Its effect comes with a later version: legal, but a plan refuses it.
    pub later: bool,
}

/// An attribute.
#[derive(Debug)]
pub struct AttributeSpec {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub shape: Shape,
    /// Whether it must be there, and what stands for it when it is not.
    pub need: Need,
    /// Of a number.
    pub unit: &'static str,
    /// What it says.
    pub doc: &'static str,
    /// How it is written.
    pub example: &'static str,
    /// Its effect comes with a later version: legal, but a plan refuses it.
    pub later: bool,
}

/// Whether an attribute must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It must.
    Required,
    /// Nothing stands for it.
    Optional,
    /// This stands for it, as it would be written.
    Default(&'static str),
}

/// What an attribute takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Any value.
    Any,
    /// A string.
    Text,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// A bool.
    Bool,
    /// A whole number, from and to (both included).
    Whole(i128, i128),
    /// A number, from and to (both included).
    Number(f64, f64),
    /// A number of bytes, or a string with a unit: `"20Gi"`.
    Size,
    /// `"15m"`, `"1h30m"`.
    Duration,
    /// A list of strings.
    Texts,
    /// A map of strings.
    TextMap,
    /// Whole numbers in a list, from and to.
    Wholes(i128, i128),
    /// `{ env = … }`, `{ file = … }` or `{ kubernetes = { secret, key } }`: where a secret is found.
    Secret,
    /// A reference to one block of this kind: `pod_spec.standard`.
    Reference(&'static str),
    /// A reference, several in a list, or all instances of a block.
    References(&'static str),
    /// A reference to a block of this kind, or one of these strings.
    ReferenceOr(&'static str, &'static [&'static str]),
    /// A set of strings or a map: an instance for each.
    ForEach,
    /// A condition over `repository`.
    Where,
    /// A condition that is evaluated later, over the root named.
    Condition(&'static str),
    /// A text that is filled in later, with the root named.
    Template(&'static str),
    /// An address that is not evaluated: `assignment.rest`.
    Address,
    /// A type: `list(string)`.
    Type,
    /// A version requirement: `">= 0.1"`.
    Version,
}

impl Shape {
    /// With its article, for messages and the reference.
    pub fn describe(self) -> String {
        match self {
            Self::Any => "any value".to_owned(),
            Self::Text => "a string".to_owned(),
            Self::OneOf(words) => format!("one of {}", quoted(words)),
            Self::Bool => "true or false".to_owned(),
            Self::Whole(from, to) if to >= U32 => format!("a whole number, at least {from}"),
            Self::Whole(from, to) => format!("a whole number from {from} to {to}"),
            Self::Number(f64::NEG_INFINITY, _) => "a number".to_owned(),
            Self::Number(from, f64::INFINITY) => format!("a number, at least {from}"),
            Self::Number(from, to) => format!("a number from {from} to {to}"),
            Self::Size => "a size: a number of bytes, or a string like \"20Gi\"".to_owned(),
            Self::Duration => "a duration, like \"15m\" or \"1h30m\"".to_owned(),
            Self::Texts => "a list of strings".to_owned(),
            Self::TextMap => "a map of strings".to_owned(),
            Self::Wholes(from, to) => format!("a list of whole numbers from {from} to {to}"),
            Self::Secret => {
                "a reference to a secret: { env = \"NAME\" }, { file = \"PATH\" } or { kubernetes = { secret = \"NAME\", key = \"KEY\" } }".to_owned()
            }
            Self::Reference(kind) => format!("a reference to a {kind}, like {kind}.name"),
            Self::References(kind) => {
                format!("references to {kind} blocks: [{kind}.name], {kind}.name[\"key\"] or values({kind}.name)")
            }
            Self::ReferenceOr(kind, words) => format!("a reference to a {kind}, or {}", quoted(words)),
            Self::ForEach => "a set of strings or a map".to_owned(),
            Self::Where => "a condition over `repository`".to_owned(),
            Self::Condition(root) => format!("a condition over `{root}`"),
            Self::Template(root) => format!("a string that may use `{root}`"),
            Self::Address => "an address, like assignment.name".to_owned(),
            Self::Type => "a type, like string or list(number)".to_owned(),
            Self::Version => "a version requirement, like \">= 0.1\"".to_owned(),
        }
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|w| format!("{w:?}")).collect::<Vec<_>>().join(", ")
}

const fn attribute(
    name: &'static str,
    shape: Shape,
    need: Need,
    doc: &'static str,
    example: &'static str,
) -> AttributeSpec {
    AttributeSpec { name, shape, need, unit: "", doc, example, later: false }
}

impl AttributeSpec {
    const fn unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    const fn later(self) -> Self {
        Self { later: true, ..self }
    }
}

const fn block(name: &'static str, labels: &'static [&'static str], many: bool, doc: &'static str) -> BlockSpec {
    BlockSpec { name, labels, many, doc, attributes: &[], blocks: &[], later: false }
}

impl BlockSpec {
    /// Finds an attribute.
    pub fn attribute(&self, name: &str) -> Option<&'static AttributeSpec> {
        self.attributes.iter().find(|a| a.name == name)
    }

    /// Finds a block within.
    pub fn block(&self, name: &str) -> Option<&'static BlockSpec> {
        self.blocks.iter().find(|b| b.name == name)
    }
}

use Need::{Default, Optional, Required};
use Shape::{
    Address, Any, Bool, Condition, Duration, ForEach, Number, OneOf, Reference, ReferenceOr, References, Secret, Size,
    Template, Text, TextMap, Texts, Type, Version, Where, Whole, Wholes,
};

const FOR_EACH: AttributeSpec = attribute(
    "for_each",
    ForEach,
    Optional,
    "An instance of the block for each element; within it `each.key` and `each.value`.",
    "for_each = toset([\"a\", \"b\"])",
);
const NONE: i128 = i128::MAX;
const U32: i128 = u32::MAX as i128;

/// The whole language: what may stand in a configuration, outside of everything.
pub const ROOT: BlockSpec = BlockSpec {
    blocks: &[
        TRANSHIP, VARIABLE, LOCALS, GITLAB, GITALY, KUBERNETES, PROMETHEUS, SANDBOX, POD_SPEC, STORAGE, ASSIGNMENT,
        ROLLOUT, GATE, HOOK, WINDOW, FREEZE, POLICY, PROMOTE, IMPORT, VERIFY, MOVED,
    ],
    ..block("configuration", &[], false, "All *.hcl files of a folder together.")
};

const TRANSHIP: BlockSpec = BlockSpec {
    attributes: &[
        attribute(
            "required_version",
            Version,
            Optional,
            "The versions of tranship that may use this configuration.",
            "required_version = \">= 0.1\"",
        ),
        attribute(
            "environment",
            Text,
            Default("\"default\""),
            "The name that state, reports and evidence carry: letters, digits, `.`, `_`, `-`.",
            "environment = \"staging\"",
        ),
    ],
    ..block("tranship", &[], false, "Settings of the configuration itself.")
};

const VARIABLE: BlockSpec = BlockSpec {
    attributes: &[
        attribute(
            "type",
            Type,
            Optional,
            "What values it takes; others are converted or refused.",
            "type = list(string)",
        ),
        attribute(
            "default",
            Any,
            Optional,
            "The value when none is given; without it one must be given.",
            "default = \"v18.2.0\"",
        ),
        attribute("description", Text, Optional, "For people.", "description = \"Gitaly's version.\""),
        attribute("sensitive", Bool, Default("false"), "Its value appears in no output.", "sensitive = true"),
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
                "What to say when it is not.",
                "error_message = \"A version starts with v.\"",
            ),
        ],
        ..block("validation", &[], true, "A rule that values must keep.")
    }],
    ..block("variable", &["name"], true, "A value that is given from outside: `var.name`.")
};

const LOCALS: BlockSpec = block("locals", &[], true, "Names for expressions: `local.name`.");

const GITLAB: BlockSpec = BlockSpec {
    attributes: &[
        attribute("url", Text, Required, "GitLab's own address, without /api/v4.", "url = \"https://gitlab.example.com\""),
        attribute("internal_url", Text, Optional, "What a pod's Gitaly calls for its hooks.", "internal_url = \"http://gitlab-webservice:8181\"").later(),
        attribute("token", Secret, Required, "An administrator's token.", "token = { env = \"GITLAB_TOKEN\" }"),
        attribute("ca", Text, Optional, "A PEM file with a private CA.", "ca = \"/etc/ssl/gitlab-ca.pem\""),
        attribute("max_moves", Whole(1, U32), Default("8"), "Moves outstanding at once: not more than GitLab has worker slots for them, or repositories wait read-only.", "max_moves = 16").unit("moves"),
    ],
    ..block("gitlab", &[], false, "How GitLab is reached.")
};

const GITALY: BlockSpec = BlockSpec {
    attributes: &[
        attribute(
            "token",
            Secret,
            Optional,
            "The token of all Gitalys, unless a storage has its own.",
            "token = { file = \"/run/secrets/gitaly-token\" }",
        ),
        attribute(
            "ca",
            Text,
            Optional,
            "A PEM file with the CA of all tls:// Gitalys.",
            "ca = \"/etc/ssl/gitaly-ca.pem\"",
        ),
    ],
    ..block("gitaly", &[], false, "How Gitalys are reached.")
};

const KEY_OF_SECRET: &str = "The Secret and its key.";

const KUBERNETES: BlockSpec = BlockSpec {
    attributes: &[
        attribute("context", Text, Optional, "The kubeconfig's context.", "context = \"gke-staging\""),
        attribute("namespace", Text, Required, "Where the pods live.", "namespace = \"gitaly\""),
    ],
    blocks: &[BlockSpec {
        attributes: &[
            attribute(
                "gitaly_token",
                TextMap,
                Optional,
                KEY_OF_SECRET,
                "gitaly_token = { name = \"gitaly-token\", key = \"token\" }",
            ),
            attribute(
                "shell_secret",
                TextMap,
                Optional,
                KEY_OF_SECRET,
                "shell_secret = { name = \"gitlab-shell-secret\", key = \"secret\" }",
            ),
        ],
        ..block("secrets", &[], false, "Existing Secrets that the pods mount; their values are never read into a plan.")
    }],
    later: true,
    ..block("kubernetes", &[], false, "The cluster that pod storages live in.")
};

const PROMETHEUS: BlockSpec = BlockSpec {
    attributes: &[
        attribute("url", Text, Required, "Its address.", "url = \"http://prometheus.monitoring:9090\""),
        attribute("token", Secret, Optional, "A bearer token.", "token = { env = \"PROMETHEUS_TOKEN\" }"),
    ],
    ..block("prometheus", &[], false, "Where gates ask.")
};

const SANDBOX: BlockSpec = BlockSpec {
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
            "real_limit",
            Whole(0, 100_000),
            Default("200"),
            "Up to this many projects are real bare Git repositories; above, the world is synthetic.",
            "real_limit = 50",
        )
        .unit("projects"),
        attribute("seed", Whole(0, u64::MAX as i128), Default("1"), "Seed of everything that is drawn.", "seed = 7"),
        attribute(
            "speed",
            Whole(1, 1_000_000),
            Default("60"),
            "Seconds of the fleet's clock per second.",
            "speed = 60",
        ),
        attribute(
            "workers",
            Whole(1, 10_000),
            Default("8"),
            "GitLab's move workers; also the moves outstanding at once.",
            "workers = 8",
        ),
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
            "When its GitLab learns of a pod storage.",
            "gitlab_knows = \"manual\"",
        )
        .later(),
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
                attribute("nth", Whole(1, U32), Default("1"), "The how-manyth occasion it strikes, from 1.", "nth = 5"),
                attribute("count", Whole(1, U32), Default("1"), "How many occasions from the nth on.", "count = 2"),
            ],
            ..block("fault", &["kind"], true, "Something that goes wrong, to see what happens.")
        },
    ],
    ..block("sandbox", &["name"], false, "An embedded fleet on this machine, instead of GitLab and Gitalys.")
};

const POD_SPEC: BlockSpec = BlockSpec {
    attributes: &[
        attribute(
            "image",
            Text,
            Required,
            "Gitaly's image.",
            "image = \"registry.gitlab.com/gitlab-org/build/cng/gitaly:v18.2.0\"",
        ),
        attribute("cpu", Number(0.0, f64::INFINITY), Required, "Requests and limit.", "cpu = 8").unit("cores"),
        attribute("memory", Size, Required, "Requests and limit.", "memory = \"48Gi\"").unit("bytes"),
        attribute("priority_class", Text, Optional, "The pods' priority class.", "priority_class = \"gitaly\""),
        attribute(
            "node_selector",
            TextMap,
            Optional,
            "Labels of the nodes that may run it.",
            "node_selector = { pool = \"gitaly\" }",
        ),
        attribute(
            "rotation_budget",
            Duration,
            Optional,
            "How long a restart may keep the storage away.",
            "rotation_budget = \"30s\"",
        ),
        attribute("extra", Any, Optional, "A strategic merge patch over the StatefulSet.", "extra = {}"),
    ],
    blocks: &[
        BlockSpec {
            attributes: &[
                attribute("size", Size, Required, "Size of the volume.", "size = \"5Ti\"").unit("bytes"),
                attribute("class", Text, Optional, "Its storage class.", "class = \"premium-rwo\""),
            ],
            ..block("disk", &[], false, "The volume.")
        },
        BlockSpec {
            attributes: &[
                attribute(
                    "memory",
                    Size,
                    Required,
                    "For git's processes; below the pod's memory.",
                    "memory = \"40Gi\"",
                )
                .unit("bytes"),
                attribute("count", Whole(1, U32), Optional, "How many cgroups.", "count = 1000"),
            ],
            ..block("cgroups", &[], false, "cgroups v2 for git's processes.")
        },
    ],
    ..block("pod_spec", &["name"], true, "What a pod storage is made of.")
};

const STORAGE: BlockSpec = BlockSpec {
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
            "As GitLab dials it: tcp://, tls:// or unix:. Required, but left out on the sandbox.",
            "address = \"tcp://gitaly-01.internal:8075\"",
        ),
        attribute(
            "dial",
            Text,
            Optional,
            "As tranship dials it, where that differs.",
            "dial = \"tcp://localhost:8075\"",
        ),
        attribute("token", Secret, Optional, "Its own token.", "token = { env = \"GITALY_01_TOKEN\" }"),
        attribute("ca", Text, Optional, "Its own CA, a PEM file.", "ca = \"/etc/ssl/gitaly-01-ca.pem\""),
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
        )
        .later(),
        attribute("zone", Text, Optional, "The zone of its pod.", "zone = \"europe-west1-b\"").later(),
        attribute(
            "metrics",
            TextMap,
            Optional,
            "Prometheus labels of this server.",
            "metrics = { instance = \"gitaly-01:9236\" }",
        )
        .later(),
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
        ],
        ..block("limits", &[], false, "What moves may do to it.")
    }],
    ..block("storage", &["name"], true, "A Gitaly storage.")
};

const ASSIGNMENT: BlockSpec = BlockSpec {
    attributes: &[
        FOR_EACH,
        attribute(
            "from",
            References("storage"),
            Required,
            "The storages it takes repositories from.",
            "from = [storage.default]",
        ),
        attribute("where", Where, Optional, "Which of them; left out, all.", "where = repository.size > 20 * GiB"),
        attribute(
            "to",
            References("storage"),
            Required,
            "The storages it sends them to, spread by bytes; being on any of them is being in place.",
            "to = values(storage.gitaly)",
        ),
        attribute(
            "priority",
            Whole(i64::MIN as i128, i64::MAX as i128),
            Default("0"),
            "Of assignments that claim one repository, the highest wins.",
            "priority = 10",
        ),
        attribute("description", Text, Optional, "For people.", "description = \"Large ones first.\""),
    ],
    ..block("assignment", &["name"], true, "Which repositories belong where.")
};

const ROLLOUT: BlockSpec = BlockSpec {
    attributes: &[
        attribute(
            "probe",
            Text,
            Optional,
            "A project to move there and back before anything else.",
            "probe = \"tranship/canary\"",
        )
        .later(),
        attribute(
            "ramp",
            Wholes(1, 100),
            Optional,
            "Per cent of new repositories that the new storages take, step by step.",
            "ramp = [1, 5, 25, 50, 100]",
        )
        .unit("per cent")
        .later(),
        attribute("soak", Duration, Optional, "The watching time after each wave.", "soak = \"15m\"").later(),
        attribute("gates", References("gate"), Optional, "What must hold to go on.", "gates = [gate.errors]").later(),
        attribute("window", Reference("window"), Optional, "Moves start only inside.", "window = window.nights")
            .later(),
        attribute(
            "backup",
            ReferenceOr("hook", &["none"]),
            Optional,
            "How a backup is made before; \"none\" says that there is none and that this is known.",
            "backup = \"none\"",
        ),
    ],
    blocks: &[BlockSpec {
        attributes: &[
            attribute(
                "where",
                Where,
                Optional,
                "Which repositories; left out, all that are left.",
                "where = repository.archived",
            ),
            attribute("sample", Whole(1, u64::MAX as i128), Optional, "At most this many, drawn once.", "sample = 300")
                .unit("repositories"),
            attribute("soak", Duration, Optional, "The watching time after this wave.", "soak = \"1h\"").later(),
            attribute(
                "gates",
                References("gate"),
                Optional,
                "What must hold to go on after it.",
                "gates = [gate.errors]",
            )
            .later(),
            attribute(
                "window",
                Reference("window"),
                Optional,
                "Its moves start only inside.",
                "window = window.nights",
            )
            .later(),
        ],
        ..block("wave", &["name"], true, "A bounded batch of moves; the first wave that selects a repository has it.")
    }],
    ..block("rollout", &[], false, "How moves are released.")
};

const GATE: BlockSpec = BlockSpec {
    attributes: &[
        FOR_EACH,
        attribute(
            "query",
            Template("target"),
            Optional,
            "A PromQL query, asked for each storage that a step touches.",
            "query = \"sum(rate(errors{${target.selector}}[5m]))\"",
        ),
        attribute(
            "max",
            Number(f64::NEG_INFINITY, f64::INFINITY),
            Optional,
            "The answer must not be above.",
            "max = 0.5",
        ),
        attribute(
            "min",
            Number(f64::NEG_INFINITY, f64::INFINITY),
            Optional,
            "The answer must not be below.",
            "min = 0.99",
        ),
        attribute("for", Duration, Optional, "How long it must have held.", "for = \"5m\""),
        attribute(
            "baseline",
            Reference("storage"),
            Optional,
            "The storage whose answer it is compared with.",
            "baseline = storage.default",
        ),
        attribute(
            "max_ratio",
            Number(0.0, f64::INFINITY),
            Optional,
            "Answer over baseline must not be above.",
            "max_ratio = 1.2",
        ),
        attribute("approval", Bool, Default("false"), "A person must approve.", "approval = true"),
    ],
    ..block("gate", &["name"], true, "A condition on metrics, or an approval. Has an effect where a rollout names it.")
};

const HOOK: BlockSpec = BlockSpec {
    attributes: &[
        attribute("exec", Texts, Required, "The program and its arguments.", "exec = [\"./snapshot.sh\"]"),
        attribute("on", Texts, Optional, "When it runs.", "on = [\"wave-start\"]").later(),
        attribute("timeout", Duration, Optional, "When it is given up.", "timeout = \"10m\""),
    ],
    ..block("hook", &["name"], true, "A program of yours.")
};

const DAYS: Shape = Texts;

const WINDOW: BlockSpec = BlockSpec {
    attributes: &[
        attribute("days", DAYS, Optional, "Days it begins on: mon to sun; left out, all.", "days = [\"mon\", \"tue\"]"),
        attribute("start", Text, Required, "When it begins, HH:MM.", "start = \"22:00\""),
        attribute("end", Text, Required, "When it ends, HH:MM; before start: the next day.", "end = \"05:00\""),
        attribute("timezone", Text, Default("\"UTC\""), "An IANA time zone.", "timezone = \"Europe/Berlin\""),
    ],
    ..block("window", &["name"], true, "A time that comes again. Has an effect where a rollout names it.")
};

const FREEZE: BlockSpec = BlockSpec {
    attributes: &[
        attribute(
            "per_repository",
            Duration,
            Optional,
            "The longest that one repository may be read-only.",
            "per_repository = \"5m\"",
        ),
        attribute(
            "per_day",
            Duration,
            Optional,
            "In one day, summed over the repositories of one top-level group.",
            "per_day = \"2h\"",
        ),
        attribute(
            "window",
            Reference("window"),
            Optional,
            "For what would exceed per_repository.",
            "window = window.nights",
        ),
    ],
    later: true,
    ..block("freeze", &[], false, "Read-only time that users may be made to bear.")
};

const POLICY: BlockSpec = BlockSpec {
    attributes: &[
        attribute(
            "condition",
            Condition("plan"),
            Required,
            "Must be true for the plan to be applied.",
            "condition = plan.moves.count <= 5000",
        ),
        attribute("error_message", Text, Required, "What to say when it is not.", "error_message = \"Split this.\""),
        attribute("description", Text, Optional, "For people.", "description = \"Small steps.\""),
    ],
    ..block("policy", &["name"], true, "A rule over the finished plan.")
};

const PROMOTE: BlockSpec = BlockSpec {
    attributes: &[
        attribute(
            "evidence",
            Text,
            Required,
            "The evidence file of the environment before.",
            "evidence = \"../pre/evidence.json\"",
        ),
        attribute("moves", Whole(0, NONE), Optional, "At least this many verified moves.", "moves = 300").unit("moves"),
        attribute(
            "failures",
            Number(0.0, 1.0),
            Optional,
            "Upper bound of the failure rate, at 95 % confidence.",
            "failures = 0.01",
        ),
    ],
    later: true,
    ..block("promote", &[], false, "This environment may apply only what another one has proven.")
};

const IMPORT: BlockSpec = BlockSpec {
    attributes: &[attribute(
        "to",
        References("storage"),
        Required,
        "The storage whose objects exist already.",
        "to = storage.gitaly[\"b\"]",
    )],
    later: true,
    ..block("import", &[], true, "Adopts the Kubernetes objects that already exist for a storage.")
};

const VERIFY: BlockSpec = BlockSpec {
    attributes: &[attribute(
        "source_fsck",
        OneOf(&["none", "sample", "all"]),
        Default("\"none\""),
        "Whether the source is checked to be whole before it moves.",
        "source_fsck = \"sample\"",
    )
    .later()],
    ..block("verify", &[], false, "What is verified beyond every move's references.")
};

const MOVED: BlockSpec = BlockSpec {
    attributes: &[
        attribute("from", Address, Required, "The address before.", "from = assignment.rest"),
        attribute("to", Address, Required, "The address now.", "to = assignment.everything-else"),
    ],
    later: true,
    ..block("moved", &[], true, "A block's label changed.")
};

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(spec: &'static BlockSpec, check: &mut dyn FnMut(&'static BlockSpec)) {
        check(spec);
        spec.blocks.iter().for_each(|b| walk(b, check));
    }

    #[test]
    fn every_row_is_documented_and_its_example_is_an_attribute_of_that_name() {
        walk(&ROOT, &mut |spec| {
            assert!(spec.doc.ends_with('.'), "{}", spec.name);
            for attribute in spec.attributes {
                assert!(attribute.doc.ends_with('.'), "{}.{}", spec.name, attribute.name);
                let body: hcl::edit::structure::Body = attribute.example.parse().expect(attribute.example);
                assert!(body.has_attribute(attribute.name), "{}", attribute.example);
            }
        });
    }
}
