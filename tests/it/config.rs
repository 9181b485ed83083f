//! Whole configurations and what is said of them, as an operator reads it (`UPDATE=1` rewrites what differs): those
//! that are refused under `bad`, those that are taken with a warning under `warn`. And that no diagnostic is without
//! such a golden.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use regex::Regex;
use tranship::config::{Loaded, VariableInputs, load};
use tranship::diag::SourceId;
use tranship::ui::{Style, diagnostics, diagnostics_json};

use super::common::project;

const PLAIN: Style = Style { color: false, width: 0, tty: false };

/// Folders of a folder, sorted.
fn cases(part: &str) -> Vec<Utf8PathBuf> {
    let entries = project().join("testdata/config").join(part).read_dir_utf8().expect(part);
    let mut found: Vec<Utf8PathBuf> = entries.map(|e| e.expect("entry").into_path()).filter(|p| p.is_dir()).collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

/// `var a=b`, `env A=b` and `file x` lines of `inputs.txt`.
fn inputs(case: &Utf8Path) -> VariableInputs {
    let mut inputs = VariableInputs::default();
    for line in fs_err::read_to_string(case.join("inputs.txt")).unwrap_or_default().lines() {
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

/// What is said of a configuration. Secrets in these files hold the word `canary`, which nothing may show.
fn told(case: &Utf8Path, loaded: &Loaded) -> String {
    let text = diagnostics(&loaded.diagnostics, &loaded.sources, PLAIN).replace(case.as_str(), "DIR");
    assert!(!text.contains("canary"), "{case}: a secret is shown\n{text}");
    let json = diagnostics_json(&loaded.diagnostics, &loaded.sources);
    assert!(!json.contains("canary"), "{case}: a secret is shown as JSON\n{json}");
    for id in 0..20 {
        let shown = loaded.sources.get(SourceId(id));
        assert!(!shown.is_some_and(|s| s.text.contains("canary")), "{case}: a secret is left in a text");
    }
    text
}

fn compare(part: &str, fits: fn(&Loaded) -> bool) {
    let mut wrong = Vec::new();
    for case in cases(part) {
        let loaded = load(&case, &inputs(&case));
        let told = told(&case, &loaded);
        assert!(fits(&loaded), "{case} does not belong here\n{told}");
        let golden = case.with_extension("err");
        if std::env::var_os("UPDATE").is_some() {
            fs_err::write(&golden, &told).expect("writable");
        }
        let expected = fs_err::read_to_string(&golden).unwrap_or_default();
        if told != expected {
            wrong.push(format!("{golden}\n--- expected\n{expected}--- told\n{told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn bad_configurations_are_told_as_recorded() {
    compare("bad", |loaded| loaded.desired.is_none() && loaded.diagnostics.has_errors());
}

#[test]
fn doubtful_configurations_are_told_as_recorded() {
    compare("warn", |loaded| loaded.desired.is_some() && !loaded.diagnostics.is_empty());
}

/// All goldens in one text.
fn goldens() -> String {
    cases("bad")
        .iter()
        .chain(&cases("warn"))
        .map(|c| c.with_extension("err"))
        // What would be too large for a folder here is made by a story.
        .chain([project().join("testdata/scripts/too-much.txt")])
        .map(|golden| fs_err::read_to_string(golden).unwrap_or_default())
        .collect()
}

/// The sources that make diagnostics about configurations, without their tests.
fn sources() -> Vec<(Utf8PathBuf, String)> {
    fn walk(folder: &Utf8Path, found: &mut Vec<(Utf8PathBuf, String)>) {
        for entry in folder.read_dir_utf8().expect("a folder") {
            let path = entry.expect("entry").into_path();
            let name = path.file_name().unwrap_or_default();
            if path.is_dir() && !matches!(name, "differential" | "fmt" | "schema") {
                walk(&path, found);
            } else if path.extension() == Some("rs") && name != "tests.rs" {
                let text = fs_err::read_to_string(&path).expect("readable");
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
                found.push((path, code));
            }
        }
    }
    let mut found = Vec::new();
    for folder in ["src/config", "src/expr"] {
        walk(&project().join(folder), &mut found);
    }
    found.sort();
    found
}

/// Diagnostics that have no golden: the command line tells of the folder in its own words before, and what one may
/// write nests less deeply. Unit tests hold them.
const WITHOUT: &[&str] = &["config/folder", "expr/too-deep"];

/// Codes and summaries as the sources write them.
#[test]
fn every_diagnostic_has_a_golden() {
    let pair = Regex::new(r#""((?:config|expr)/[a-z-]+)",\s*"([^"]+)""#).expect("a pattern");
    let code = Regex::new(r#""((?:config|expr)/[a-z-]+)""#).expect("a pattern");
    let goldens = goldens();
    let mut summaries: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut named = BTreeSet::new();
    for (_, text) in sources() {
        named.extend(code.captures_iter(&text).map(|found| found[1].to_owned()));
        for found in pair.captures_iter(&text) {
            summaries.entry(found[1].to_owned()).or_default().insert(found[2].to_owned());
        }
    }
    let mut wrong = Vec::new();
    let mut without = Vec::new();
    for name in &named {
        match summaries.get(name) {
            Some(summaries) if summaries.iter().any(|s| goldens.contains(&format!("[{name}]: {s}"))) => {}
            Some(_) => without.push(name.as_str()),
            None => wrong.push(format!("{name}: no summary beside it")),
        }
    }
    if without != WITHOUT {
        wrong.push(format!("without a golden: {without:#?}"));
    }
    println!("{} diagnostics, {} without a golden", named.len(), without.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
