//! Whole configurations: what good ones come to, and that no input is too much.

use std::fmt::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use proptest::prelude::*;

use super::{Loaded, VariableInputs, load};
use crate::diag::{Diagnostics, SourceMap};
use crate::expr::{Field, FieldValue, Row, Truth};
use crate::model::{Connection, Desired};

fn folder(part: &str) -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/config").join(part)
}

/// Folders of a folder, sorted.
fn cases(part: &str) -> Vec<Utf8PathBuf> {
    let entries = std::fs::read_dir(folder(part)).expect("test data is there");
    let mut found: Vec<Utf8PathBuf> = entries
        .map(|e| Utf8PathBuf::try_from(e.expect("readable").path()).expect("UTF-8"))
        .filter(|p| p.is_dir())
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

/// `var a=b`, `env A=b` and `file x` lines of `inputs.txt`.
fn inputs(case: &Utf8Path) -> VariableInputs {
    let mut inputs = VariableInputs::default();
    for line in std::fs::read_to_string(case.join("inputs.txt")).unwrap_or_default().lines() {
        let (kind, rest) = line.split_once(' ').expect("kind and value");
        let pair = || rest.split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("name=value");
        match kind {
            "var" => inputs.assignments.push(pair()),
            "env" => inputs.environment.push(pair()),
            _ => inputs.files.push(rest.to_owned()),
        }
    }
    inputs
}

fn plain(diagnostics: &Diagnostics, sources: &SourceMap, root: &Utf8Path) -> String {
    let mut out = String::new();
    for d in &diagnostics.items {
        let place = d.span.and_then(|s| sources.locate(s)).unwrap_or_else(|| "-".to_owned());
        let _ = writeln!(out, "{place}: {} [{}]", d.summary, d.code);
        let _ = writeln!(out, "  {}", d.detail);
        if let Some(span) = d.span {
            let text = &sources.get(span.source).expect("known source").text;
            let shown = text.get(span.start as usize..span.end as usize).unwrap_or("(not at characters)");
            let _ = writeln!(out, "  at: {}", shown.replace('\n', "\\n"));
        }
        for (span, label) in &d.related {
            let _ = writeln!(out, "  also {}: {label}", sources.locate(*span).unwrap_or_default());
        }
        for (name, statement) in &d.values {
            let _ = writeln!(out, "  {name} {statement}");
        }
        if let Some(help) = &d.help {
            let _ = writeln!(out, "  help: {help}");
        }
    }
    out.replace(root.as_str(), "DIR")
}

fn good(case: &str) -> Desired {
    let path = folder("ok").join(case);
    let Loaded { sources, desired, diagnostics } = load(&path, &inputs(&path));
    desired.unwrap_or_else(|| panic!("{case}:\n{}", plain(&diagnostics, &sources, &path)))
}

#[test]
fn all_good_configurations_load_without_a_word() {
    for case in cases("ok") {
        let loaded = load(&case, &inputs(&case));
        assert!(loaded.diagnostics.is_empty(), "{}", plain(&loaded.diagnostics, &loaded.sources, &case));
        let again = load(&case, &inputs(&case));
        assert_eq!(format!("{:?}", loaded.desired), format!("{:?}", again.desired));
    }
}

struct Repository {
    path: &'static str,
    size: u64,
    archived: Option<bool>,
}

impl Row for Repository {
    fn field(&self, field: Field) -> FieldValue<'_> {
        match field {
            Field::Kind => FieldValue::Text("project"),
            Field::Path => FieldValue::Text(self.path),
            Field::Size => FieldValue::Integer(self.size),
            Field::Archived => self.archived.map_or(FieldValue::Unknown, FieldValue::Bool),
            _ => FieldValue::Unknown,
        }
    }
}

#[test]
fn the_languages_own_example_comes_to_what_it_says() {
    let desired = good("language");
    assert_eq!(desired.environment, "staging");
    let names: Vec<&str> = desired.storages.keys().map(crate::model::StorageName::as_str).collect();
    assert_eq!(names, ["default", "gitaly-a", "gitaly-b", "gitaly-c"]);
    assert_eq!(desired.max_moves, 16);
    let heavy = &desired.assignments[1];
    assert_eq!((heavy.address.to_string().as_str(), heavy.priority, heavy.to.len()), ("assignment.heavy", 10, 1));
    let row = |path, size| Repository { path, size, archived: None };
    assert_eq!(heavy.filter.test(&row("web/shop", 21 << 30)).expect("fine"), Truth::True);
    assert_eq!(heavy.filter.test(&row("gitlab-org/x", 1)).expect("fine"), Truth::True);
    assert_eq!(heavy.filter.test(&row("web/shop", 1)).expect("fine"), Truth::False);
    assert_eq!(desired.rollout.waves[0].filter.test(&row("a/b", 1)).expect("fine"), Truth::Unknown);
    assert_eq!(desired.rollout.waves[1].sample, Some(300));
    assert_eq!(desired.storages.values().map(|s| s.limits.disk_ceiling_permille).max(), Some(850));
    let release = &desired.rollout;
    assert_eq!((release.ramp.as_slice(), release.soak_seconds), ([1, 5, 25, 50, 100].as_slice(), 900));
    assert_eq!((release.probe.as_deref(), release.window.as_deref()), (Some("tranship/canary"), Some("nights")));
    assert_eq!(
        release.gates.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["gate.errors", "gate.latency", "gate.release-manager"]
    );
    assert_eq!((release.backup.as_deref(), desired.gates.len(), desired.hooks.len()), (Some("snapshot"), 3, 1));
    let nights = &desired.windows["nights"].hours;
    assert_eq!(
        (nights.days.len(), nights.start, nights.end, nights.timezone.as_str()),
        (4, 22 * 60, 5 * 60, "Europe/Berlin")
    );
    assert_eq!((desired.freeze.per_repository, desired.freeze.per_day), (Some(300), Some(7200)));
    assert_eq!(desired.policies[0].place.as_deref(), Some("main.hcl:150:19"));
    let later: Vec<&str> = desired.later.iter().map(|d| d.detail.split('`').nth(1).unwrap_or("")).collect();
    assert!(later.contains(&"promote"), "{later:?}");
    for without in [
        "rollout.probe",
        "rollout.ramp",
        "rollout.gates",
        "freeze",
        "storage.pod",
        "kubernetes",
        "import",
        "moved",
        "storage.metrics",
        "gitlab.internal_url",
    ] {
        assert!(!later.contains(&without), "{without} in {later:?}");
    }
    let storage = |name: &str| desired.storages.values().find(|s| s.name.as_str() == name).expect("declared");
    let spec = storage("gitaly-a").pod.as_deref().expect("a pod");
    assert_eq!((spec.cpu_millis, spec.memory.0 >> 30, spec.disk.size.0 >> 40), (8000, 48, 5));
    let cgroups = spec.cgroups.as_ref().expect("cgroups");
    assert_eq!((cgroups.memory.0 >> 30, cgroups.repository_memory.0 >> 30, cgroups.count), (40, 20, 1000));
    assert_eq!(cgroups.init_image, "registry.gitlab.com/gitlab-org/build/cng/gitaly-init-cgroups:v18.2.0");
    assert_eq!((spec.graceful_restart_seconds, spec.rotation_budget_seconds, spec.max_unavailable), (1, Some(30), 1));
    assert_eq!(storage("gitaly-a").zone.as_deref(), Some("europe-west1-a"));
    let address = |name: &str| storage(name).endpoint.as_ref().expect("dialled").to_string();
    assert_eq!(address("gitaly-a"), "tcp://gitaly-a-gitaly.gitaly.svc:8075");
    assert_eq!(
        (storage("gitaly-a").adopt, storage("gitaly-b").adopt, storage("default").pod.is_some()),
        (false, true, false)
    );
    let cluster = desired.cluster.as_ref().expect("a cluster");
    assert_eq!(
        (cluster.namespace.as_str(), cluster.context.as_deref(), cluster.embedded),
        ("gitaly", Some("gke-staging"), false)
    );
    assert!(!desired.gitlab_learns);
}

#[test]
fn a_sandbox_needs_no_addresses_and_its_workers_are_the_moves() {
    let desired = good("sandbox");
    let Connection::Sandbox(sandbox) = &desired.connection else { panic!("a sandbox") };
    assert_eq!((sandbox.repositories, sandbox.real_limit, sandbox.speed, sandbox.seed), (24, 200, 60, 7));
    assert_eq!(sandbox.storages.iter().map(|s| s.disk.0 >> 30).collect::<Vec<_>>(), [20, 40]);
    assert_eq!(sandbox.faults[0].nth, 5);
    assert_eq!(desired.max_moves, 3);
    assert!(desired.rollout.backup_declined && desired.later.is_empty());
    assert_eq!(desired.policies.len(), 1);
}

#[test]
fn values_of_variables_win_in_the_documented_order() {
    let desired = good("variables");
    // One variable for each source that is the last to give it a value.
    assert_eq!(desired.environment, "default-environment-vars-file-var");
}

#[test]
fn the_digest_follows_texts_and_values() {
    let case = folder("ok/variables");
    let mut given = inputs(&case);
    let one = load(&case, &given).desired.expect("loads").digest;
    assert_eq!(one, load(&case, &given).desired.expect("loads").digest);
    given.assignments.push(("e".into(), "other".into()));
    assert_ne!(one, load(&case, &given).desired.expect("loads").digest);
}

fn load_text(text: &[u8]) -> Loaded {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("a.hcl"), text).expect("writable");
    load(Utf8Path::from_path(dir.path()).expect("UTF-8"), &VariableInputs::default())
}

#[test]
fn hostile_texts_end_in_errors() {
    let deep = format!("locals {{ a = {}1{} }}", "[".repeat(100_000), "]".repeat(100_000));
    let chain = format!("locals {{ a = {}1 }}", "1 + ".repeat(50_000));
    let not = format!("locals {{ a = {}true }}", "!".repeat(50_000));
    let blocks = "a {\n".repeat(50_000);
    let doubling: String = (1..80).map(|i| format!("  a{i} = [local.a{0}, local.a{0}]\n", i - 1)).collect();
    let loops = "locals {\n a = [for a in range(100000) : [for b in range(100000) : 1]]\n}\n".to_owned();
    let texts = "locals {\n a = join(\"\", [for a in range(100000) : \"xxxxxxxxxxxxxxxx\"])\n b = replace(local.a, \"x\", local.a)\n}\n";
    for text in [deep, chain, not, blocks, format!("locals {{\n  a0 = 1\n{doubling}}}\n"), loops, texts.to_owned()] {
        let loaded = load_text(text.as_bytes());
        assert!(loaded.diagnostics.has_errors(), "{}", &text[..60]);
    }
    for bytes in [&b"a\0b"[..], b"\xff\xfe", b"\xef\xbb\xbf}", b""] {
        load_text(bytes);
    }
    assert!(load_text(b"\xef\xbb\xbflocals {\n}\n").diagnostics.is_empty());
}

fn told(loaded: &Loaded) -> String {
    plain(&loaded.diagnostics, &loaded.sources, Utf8Path::new("/nowhere"))
}

#[test]
fn templates_cost_like_what_stands_in_their_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = Utf8Path::from_path(dir.path()).expect("UTF-8");
    std::fs::write(folder.join("t.tpl"), format!("${{x}}{}", "y".repeat(1000))).expect("writable");
    for call in
        ["templatefile(\"t.tpl\", { x = i })", "try(templatefile(\"t.tpl\", { x = i }), \"\")", "file(\"t.tpl\")"]
    {
        let text = format!("locals {{\n  a = [for i in range(1000000) : {call}]\n}}\n");
        std::fs::write(folder.join("a.hcl"), text).expect("writable");
        let loaded = load(folder, &VariableInputs::default());
        assert!(loaded.diagnostics.has_errors() && told(&loaded).contains("steps"), "{call}: {}", told(&loaded));
    }
}

#[test]
fn texts_of_a_list_are_bounded_by_their_lengths() {
    let text = format!("locals {{\n  a = \"{}\"\n  b = [for i in range(1000000) : local.a]\n}}\n", "x".repeat(10_000));
    let loaded = load_text(text.as_bytes());
    assert!(told(&loaded).contains("expr/too-costly"), "{}", told(&loaded));
}

#[test]
fn lists_may_be_empty_but_not_where_moves_go() {
    let text = |to: &str| {
        format!(
            "storage \"a\" {{}}\nstorage \"x\" {{\n  for_each = toset([])\n}}\nrollout {{\n  gates = []\n}}\n\
             assignment \"m\" {{\n  from = values(storage.x)\n  to = {to}\n}}\n"
        )
    };
    let desired = load_text(text("[storage.a]").as_bytes()).desired.expect("loads");
    assert!(desired.assignments[0].from.is_empty() && desired.later.is_empty(), "{:?}", desired.later);
    assert!(told(&load_text(text("values(storage.x)").as_bytes())).contains("this is empty"));
}

#[test]
fn what_the_sandbox_ignores_is_a_warning() {
    let loaded = load_text(
        b"sandbox \"s\" {\n  repositories = 1\n  storage \"a\" {}\n}\ngitaly {\n  ca = \"x.pem\"\n}\n\
          storage \"a\" {\n  token = { env = \"T\" }\n  ca = \"y.pem\"\n}\n",
    );
    let told = told(&loaded);
    assert!(loaded.desired.is_some(), "{told}");
    for what in ["the block `gitaly` is ignored", "`storage.token` is ignored", "`storage.ca` is ignored"] {
        assert!(told.contains(what), "{what}: {told}");
    }
}

#[test]
fn a_token_in_clear_is_a_warning() {
    for (url, warns) in [
        ("http://gitlab.example.com", true),
        ("http://10.0.0.1", true),
        ("http://[::1]:80", false),
        ("http://127.0.0.1:8080", false),
        ("http://localhost:3000", false),
        ("https://gitlab.example.com", false),
    ] {
        let text = format!("gitlab {{\n  url = \"{url}\"\n  token = {{ env = \"T\" }}\n}}\n");
        let loaded = load_text(text.as_bytes());
        assert!(loaded.desired.is_some());
        assert_eq!(told(&loaded).contains("config/plain-http"), warns, "{url}");
    }
}

#[test]
fn a_file_that_is_no_text_is_shown_at_its_place() {
    let loaded = load_text(b"locals {\n  a = \x1b\xff1\n}\n");
    let told = told(&loaded);
    assert!(told.starts_with("a.hcl:2:8: Not a text"), "{told}");
    assert!(!loaded.sources.get(crate::diag::SourceId(0)).expect("added").text.contains('\u{1b}'));
}

#[test]
fn the_deepest_that_the_parser_takes_is_evaluated() {
    let sum = "1 + ".repeat(120) + "1";
    for (open, close) in
        [("abs(", ")"), ("[", "][0]"), ("(", ")"), ("\"${", "}\""), ("[for x in [1] : ", "][0]"), ("true ? ", " : 0")]
    {
        let text = format!("locals {{\n  a = {}{sum}{}\n}}\n", open.repeat(50), close.repeat(50));
        let loaded = load_text(text.as_bytes());
        assert!(!loaded.diagnostics.has_errors(), "{open}: {:?}", loaded.diagnostics.items.first());
    }
}

#[test]
fn ten_thousand_locals_in_a_chain_are_no_problem() {
    let chain: String = (1..10_000).map(|i| format!("  a{i} = local.a{} + 1\n", i - 1)).collect();
    let text = format!("locals {{\n  a0 = 0\n{chain}}}\ntranship {{\n  environment = \"e${{local.a9999}}\"\n}}\n");
    assert_eq!(load_text(text.as_bytes()).desired.expect("loads").environment, "e9999");
}

#[test]
fn ten_thousand_storages_load() {
    let n = 10_000;
    let text = format!(
        "locals {{\n  keys = toset([for i in range({n}) : format(\"%05d\", i)])\n}}\n\
         storage \"s\" {{\n  for_each = local.keys\n  name = \"s-${{each.key}}\"\n  weight = 1\n}}\n\
         assignment \"a\" {{\n  for_each = local.keys\n  from = [storage.s[each.key]]\n  to = [storage.s[\"00000\"]]\n  where = repository.size > 10 * GiB && startswith(repository.path, each.key)\n}}\n"
    );
    let desired = load_text(text.as_bytes()).desired.expect("loads");
    assert_eq!((desired.storages.len(), desired.assignments.len()), (n, n));
}

const WORDS: &[&str] = &[
    "storage",
    "assignment",
    "variable",
    "locals",
    "sandbox",
    "gitlab",
    "rollout",
    "wave",
    "\"a\"",
    "{",
    "}",
    "\n",
    "=",
    "for_each",
    "where",
    "from",
    "to",
    "[",
    "]",
    "(",
    ")",
    ",",
    ".",
    "local",
    "var",
    "each",
    "repository",
    "size",
    "1",
    "0",
    "1e400",
    "99999999999999999999999999999999999999999999",
    "\"",
    "${",
    "<<EOT\n",
    "EOT",
    "for",
    "in",
    ":",
    "=>",
    "...",
    "*",
    "/",
    "%",
    "-",
    "+",
    "!",
    "&&",
    "||",
    "==",
    "<",
    "?",
    "null",
    "true",
    "values",
    "toset",
    "format",
    "substr",
    "é",
    "\\",
    "#",
    "/*",
    "%{ if",
    "token",
    "default",
    "type",
    "list",
    "type = object({ a = optional(number, 1) })\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        load_text(&bytes);
    }

    #[test]
    fn no_words_make_it_panic(words in proptest::collection::vec(0..WORDS.len(), 0..60), spaces in any::<bool>()) {
        let words: Vec<&str> = words.into_iter().map(|i| WORDS[i]).collect();
        load_text(words.join(if spaces { " " } else { "" }).as_bytes());
    }

    #[test]
    fn no_expression_makes_it_panic(words in proptest::collection::vec(8..WORDS.len(), 0..30)) {
        let words: Vec<&str> = words.into_iter().map(|i| WORDS[i]).filter(|w| *w != "\n").collect();
        load_text(format!("locals {{\n  b = {{ x = [1, \"y\"] }}\n  a = {}\n}}\n", words.join(" ")).as_bytes());
    }
}
