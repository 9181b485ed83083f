//! Stories (`testdata/scripts/*.txt`) and the documentation's console blocks, run as they stand.

use camino::Utf8PathBuf;

use super::common::home::Home;
use super::common::{project, script};

/// The files of a folder with an extension, sorted.
fn files(folder: &str, extension: &str) -> Vec<Utf8PathBuf> {
    let entries = project().join(folder).read_dir_utf8().expect(folder);
    let mut found: Vec<_> = entries.map(|entry| entry.expect("entry").into_path()).collect();
    found.retain(|path| path.extension() == Some(extension));
    found.sort();
    assert!(!found.is_empty(), "{folder} has no .{extension}");
    found
}

/// A story runs in a copy of the example that its first line names: `## example: first-move`.
#[test]
#[ignore = "the expected outputs are written once all parts stand"]
fn stories() {
    for file in files("testdata/scripts", "txt") {
        let text = fs_err::read_to_string(&file).expect("a story");
        let example = text.lines().next().and_then(|line| line.strip_prefix("## example: "));
        let home = example.map_or_else(Home::new, |name| Home::of_example(name.trim()));
        script::run(&file, &home);
    }
}

#[test]
#[ignore = "the expected outputs are written once all parts stand"]
fn the_readme() {
    script::run(&project().join("README.md"), &Home::of_project());
}

#[test]
#[ignore = "the expected outputs are written once all parts stand"]
fn the_examples() {
    let mut names: Vec<String> = project()
        .join("examples")
        .read_dir_utf8()
        .expect("examples")
        .map(|entry| entry.expect("entry").file_name().to_owned())
        .collect();
    names.sort();
    for name in names {
        script::run(&project().join("examples").join(&name).join("README.md"), &Home::of_example(&name));
    }
}
