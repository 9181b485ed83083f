//! What expressions may name, beside functions: how it is written, where it may stand, and what it is.

/// Written, where, meaning.
pub const NAMES: &[(&str, &str, &str)] = &[
    ("var.NAME", "everywhere", "A variable's value."),
    ("local.NAME", "everywhere", "What a `locals` block defines."),
    (
        "storage.NAME",
        "everywhere",
        "A storage; with `for_each`, storage.NAME[\"KEY\"]. Has `address` and `name`, which is GitLab's name of it.",
    ),
    ("pod_spec.NAME", "everywhere", "A pod spec, to be referred to. Has `address`."),
    ("gate.NAME", "everywhere", "A gate; with `for_each`, gate.NAME[\"KEY\"]. Has `address`."),
    ("hook.NAME", "everywhere", "A hook. Has `address`."),
    ("window.NAME", "everywhere", "A window. Has `address`."),
    ("KiB, MiB, GiB, TiB", "everywhere", "Bytes: 1024, 1024², 1024³, 1024⁴."),
    ("each.key, each.value", "blocks with `for_each`", "The element that this instance is made for."),
    ("repository.FIELD", "`where`", "The repository that is asked about: `tranship explain repository`."),
    ("plan.FIELD", "`condition` of a `policy`", "The finished plan: `tranship explain plan`."),
    (
        "target.selector",
        "`query` of a `gate`",
        "The Prometheus labels of the storage that is asked about, written as in a query: its `metrics`; left out, of a pod its namespace and name, and on the sandbox storage=\"NAME\".",
    ),
    ("target.name", "`query` of a `gate`", "GitLab's name of the storage that is asked about."),
];
