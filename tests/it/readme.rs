//! The README's tables say what the code says.

use tranship::cli::exit::Exit;

use super::common::project;

fn readme() -> String {
    fs_err::read_to_string(project().join("README.md")).expect("README.md")
}

/// The rows of the table below a heading, without the two lines of its head.
fn rows(heading: &str) -> Vec<String> {
    let text = readme();
    let lines = text.lines().skip_while(|line| *line != heading).skip_while(|line| !line.starts_with('|'));
    lines.take_while(|line| line.starts_with('|')).skip(2).map(ToOwned::to_owned).collect()
}

#[test]
fn every_exit_code_has_its_row() {
    let expected: Vec<String> =
        Exit::TABLE.iter().map(|(exit, meaning)| format!("| {} | {meaning} |", exit.code())).collect();
    assert_eq!(rows("## Exit codes"), expected);
    assert!(readme().contains(Exit::RULE));
}

#[test]
fn every_command_has_its_row() {
    let expected: Vec<String> =
        tranship::cli::commands().into_iter().map(|(name, about)| format!("| `{name}` | {about} |")).collect();
    assert_eq!(rows("## Commands"), expected);
}

#[test]
fn examples_are_kept_in_step() {
    let text = readme();
    for entry in project().join("examples").read_dir_utf8().expect("examples") {
        let name = entry.expect("an entry").file_name().to_owned();
        assert!(text.contains(&format!("examples/{name}")), "the README does not name examples/{name}");
    }
}
