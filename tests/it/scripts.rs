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

/// Runs scripts, each in a home of its own; tells what differs in any.
fn run(scripts: impl IntoIterator<Item = (Utf8PathBuf, Home)>) {
    let differing: Vec<String> =
        scripts.into_iter().filter_map(|(file, home)| script::run(&file, &home).err()).collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// Stories below `testdata/scripts/both`: the same text over sockets and in memory, each in a copy of the first example.
#[test]
fn stories_over_sockets() {
    let home = |file: Utf8PathBuf| (file, Home::of_example("first-move"));
    run(files("testdata/scripts/both", "txt").into_iter().map(home));
}

#[cfg(feature = "sandbox")]
#[test]
fn stories_in_memory() {
    let home = |file: Utf8PathBuf| (file, Home::of_example("first-move").in_memory());
    run(files("testdata/scripts/both", "txt").into_iter().map(home));
}

/// The stories, each with the example that its first line names (`## example: first-move`), if it names one.
fn stories() -> Vec<(Utf8PathBuf, Option<String>)> {
    let example = |file: &Utf8PathBuf| {
        let text = fs_err::read_to_string(file).expect("a story");
        text.lines().next()?.strip_prefix("## example: ").map(|name| name.trim().to_owned())
    };
    files("testdata/scripts", "txt").into_iter().map(|file| (file.clone(), example(&file))).collect()
}

#[test]
fn stories_without_a_fleet() {
    run(stories().into_iter().filter(|(_, example)| example.is_none()).map(|(file, _)| (file, Home::new())));
}

/// A story runs in a copy of its example.
#[test]
fn stories_on_a_fleet() {
    run(stories().into_iter().filter_map(|(file, example)| Some((file, Home::of_example(&example?)))));
}

#[test]
fn the_readme() {
    run([(project().join("README.md"), Home::of_project())]);
}

#[test]
fn the_examples() {
    let folders = project().join("examples").read_dir_utf8().expect("examples");
    let folders = folders.map(|entry| entry.expect("entry")).filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = folders.map(|entry| entry.file_name().to_owned()).collect();
    names.sort();
    run(names.iter().map(|name| (project().join("examples").join(name).join("README.md"), Home::of_example(name))));
}
