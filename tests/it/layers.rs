//! Holds the layer rule by reading the sources: a file imports only from lower layers or its own folder; and outside
//! crates, clocks, files and the environment are named only where they belong.

use camino::{Utf8Path, Utf8PathBuf};
use regex::Regex;

use super::common::project;

/// Folders (or files) of `src`, lowest first. Those of one line are siblings: neither imports the other.
const LAYERS: &[&[&str]] = &[
    &["diag"],
    &["expr"],
    &["model"],
    &["config", "state"],
    &["plan"],
    &["apply"],
    &["ui"],
    // Generated from `proto/`: the adapters' own.
    &["wire"],
    &["live", "sandbox"],
    &["cli"],
    &["main"],
];

/// Lower, and yet not for them.
const NEVER: &[(&str, &str)] = &[("plan", "config"), ("apply", "config"), ("ui", "config")];

/// What only some may name: a pattern, and the folders that may.
const ONLY: &[(&str, &[&str])] = &[
    (r"\breqwest::", &["live"]),
    (r"\b(kube|k8s_openapi)::", &["live"]),
    (r"\btonic(_prost)?::", &["live", "sandbox", "lib"]),
    (r"\bprost::", &["live", "sandbox", "lib"]),
    (r"\baxum::", &["sandbox", "cli"]),
    (r"\bhcl::", &["config"]),
    (r"\bpetgraph::", &["plan", "config"]),
    (r"\bclap(_complete)?::", &["cli"]),
    (r"\b(indicatif|annotate_snippets)::", &["ui"]),
    (r"\bconsole::", &["ui", "cli"]),
    (r"\btokio(_util|_stream)?::", &["apply", "live", "sandbox", "cli"]),
    (r"\b(std::fs|fs_err|tempfile)::", &["config", "state", "apply", "live", "sandbox", "cli"]),
    (r"\bstd::env::", &["cli", "sandbox"]),
    (r"\b(SystemTime|Instant|Timestamp|Zoned)::now\b", &["live", "sandbox", "cli", "ui"]),
    (r"\b(process::exit|set_current_dir)\b", &["cli"]),
    (r"\b(print|println|eprint|eprintln)!", &[]),
    (r"\bunsafe\b", &[]),
];

/// The folder (or single file) of `src` that a file belongs to.
fn owner(path: &Utf8Path) -> &str {
    let first = path.components().next().map_or("", |part| part.as_str());
    first.strip_suffix(".rs").unwrap_or(first)
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|names| names.contains(&name))
}

/// Code without comments and without the tests at its end.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    let lines = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.fold(String::new(), |code, line| code + line + "\n")
}

/// All names that follow `crate::`, also in braces.
fn imports(code: &str) -> Vec<String> {
    let one = Regex::new(r"\bcrate::([a-z_]+)").expect("a pattern");
    let many = Regex::new(r"(?s)\bcrate::\{(.*?)\};").expect("a pattern");
    let mut found: Vec<String> = one.captures_iter(code).map(|hit| hit[1].to_owned()).collect();
    for group in many.captures_iter(code) {
        let mut depth = 0;
        let mut name = String::new();
        for c in group[1].chars().chain([',']) {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    let first = name.trim().split("::").next().unwrap_or_default();
                    found.extend((!first.is_empty()).then(|| first.to_owned()));
                    name.clear();
                }
                _ if depth == 0 => name.push(c),
                _ => {}
            }
        }
    }
    found
}

/// What a file does that its layer may not.
fn violations(path: &Utf8Path, text: &str) -> Vec<String> {
    let (owner, code) = (owner(path), code(text));
    let mut found = Vec::new();
    let mine = layer(owner);
    for name in imports(&code) {
        let Some(theirs) = layer(&name) else { continue };
        let below = mine.is_none_or(|mine| theirs < mine);
        if name != owner && (!below || NEVER.contains(&(owner, name.as_str()))) {
            found.push(format!("{path}: {owner} may not import {name}"));
        }
    }
    for (pattern, allowed) in ONLY {
        let pattern = Regex::new(pattern).expect("a pattern");
        if let Some(hit) = pattern.find(&code).filter(|_| !allowed.contains(&owner)) {
            found.push(format!("{path}: {owner} may not name {}", hit.as_str()));
        }
    }
    found
}

fn sources(folder: &Utf8Path, found: &mut Vec<Utf8PathBuf>) {
    for entry in folder.read_dir_utf8().expect("a folder") {
        let path = entry.expect("an entry").into_path();
        // Compiled for tests only.
        if path.ends_with("src/config/differential") {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension() == Some("rs") && path.file_name() != Some("tests.rs") {
            found.push(path);
        }
    }
}

#[test]
fn files_import_only_from_lower_layers() {
    let root = project().join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    files.sort();
    assert!(files.len() > 20, "the sources were found");
    let mut found = Vec::new();
    for file in files {
        let path = file.strip_prefix(&root).expect("below src").to_owned();
        let owner = owner(&path).to_owned();
        assert!(owner == "lib" || layer(&owner).is_some(), "{path}: give {owner} a place in LAYERS");
        found.extend(violations(&path, &fs_err::read_to_string(&file).expect("a source")));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_rule_can_be_broken() {
    for (path, text) in [
        ("plan/mod.rs", "use crate::config::Loaded;"),
        ("plan/mod.rs", "let t = jiff::Timestamp::now();"),
        ("plan/mod.rs", "use crate::{model::{A, B}, apply};"),
        ("apply/mover.rs", "fn f(c: &crate::config::Loaded) {}"),
        ("live/gitlab.rs", "use crate::sandbox::ensure;"),
        ("config/eval.rs", "use crate::state::State;"),
        ("ui/plan.rs", "println!(\"x\");"),
        ("expr/mod.rs", "use hcl::edit::Span;"),
        ("state/format.rs", "tokio::spawn(async {});"),
    ] {
        assert_eq!(violations(Utf8Path::new(path), text).len(), 1, "{path}: {text}");
    }
    for (path, text) in [
        ("plan/mod.rs", "use crate::model::{A, B};\nuse crate::state::State;"),
        ("plan/mod.rs", "// not crate::config\n#[cfg(test)]\nmod tests {\n    use crate::config;\n}"),
        ("live/gitlab.rs", "use crate::live::clock;\nuse crate::apply::port::Ports;\nuse reqwest::Client;"),
        ("lib.rs", "pub mod config;"),
    ] {
        assert_eq!(violations(Utf8Path::new(path), text), Vec::<String>::new(), "{path}: {text}");
    }
}
