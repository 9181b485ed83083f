//! The exact words of a remedy: GitLab's Rails console.
//!
//! The methods are GitLab's own: `do_fail!` of a move's state machine, `set_repository_writable!` of its container
//! (app/models/concerns/repository_storage_movable.rb and can_move_repository_storage.rb), `reset!` of the reference counter
//! (lib/gitlab/reference_counter.rb); GitLab's runbook for Gitaly's migration uses the same three by hand. A move is found
//! among those of its container (`has_many :repository_storage_moves` of app/models/project.rb, snippet.rb and
//! ee/app/models/ee/group.rb): the moves' own classes changed their names, the association was there from the first version
//! on, and a wrong id finds nobody else's move.

use super::Class;
use crate::model::{Container, ContainerKind, StorageName};
use crate::state::QuarantineRecord;
use crate::state::journal::Intent;

/// What a remedy is filled in with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) container: Container,
    pub(crate) source: &'a StorageName,
    pub(crate) destination: &'a StorageName,
    /// GitLab's id of the move; `None`: none is known.
    pub(crate) move_id: Option<u64>,
}

impl<'a> Case<'a> {
    pub(crate) fn of(intent: &'a Intent, move_id: Option<u64>) -> Self {
        Self { container: intent.container, source: &intent.source, destination: &intent.destination, move_id }
    }
}

/// What the end of a run says of a repository that was set aside and cannot wait.
pub(crate) fn urgent(container: Container, record: &QuarantineRecord) -> Option<String> {
    let QuarantineRecord { path, cause, urgent, .. } = record;
    urgent.then(|| format!("URGENT: {container} {path}: {cause}; `tranship quarantine list` says what to do"))
}

/// What is said of a move whose copy GitLab left on its source.
pub(crate) fn left(class: Class, intent: &Intent, move_id: u64) -> String {
    let what = remedy(class, Case::of(intent, Some(move_id)));
    format!("{} {}: {}: {what}", intent.container, intent.path, class.row().cause)
}

/// What is said of a repository of which only another attempt would tell whether it can be written to.
pub(crate) fn suspect(case: Case<'_>, path: &str) -> String {
    format!(
        "{} {path} may be read-only for good: its move failed before a worker took it. When no job of it runs, in GitLab's \
         Rails console: {}",
        case.container,
        console(case).join("; ")
    )
}

/// The container, in the console.
fn record(container: Container) -> String {
    let class = match container.kind {
        ContainerKind::Project => "Project",
        ContainerKind::Snippet => "Snippet",
        ContainerKind::GroupWiki => "Group",
    };
    format!("{class}.find({})", container.id)
}

/// The console's lines that end a move and make its container writable. All of them may be repeated.
pub(crate) fn console(case: Case<'_>) -> Vec<String> {
    let record = record(case.container);
    let writable = format!("{record}.set_repository_writable!");
    let Some(id) = case.move_id else { return vec![writable] };
    let found = format!("m = {record}.repository_storage_moves.find({id})");
    vec![found, "m.do_fail! unless m.failed? || m.finished?".to_owned(), writable]
}

/// The console's line that ends a move of a container that lives elsewhere by now.
pub(crate) fn end(container: Container, id: u64) -> String {
    format!("{}.repository_storage_moves.find({id}).do_fail!", record(container))
}

/// The console's lines that read a container's push counter twice and set it to 0.
fn counter(container: Container) -> Vec<String> {
    // A group's wiki is a container of its own to the counter.
    let of = if container.kind == ContainerKind::GroupWiki { ".wiki" } else { "" };
    let value = "c.reference_counter(type: c.repository.repo_type)";
    vec![
        format!("c = {}{of}; {value}.value", record(container)),
        format!("sleep 60; {value}.value"),
        format!("{value}.reset!"),
    ]
}

/// A class's remedy, filled in. Lines of the console stand on lines of their own.
pub(crate) fn remedy(class: Class, case: Case<'_>) -> String {
    let text = class.row().remedy;
    // Within a sentence they stand on one line.
    let inline = !text.contains("\n{console}");
    let lines = console(case);
    let console = if inline { lines.join("; ") } else { indented(&lines) };
    text.replace("{console}", &console)
        .replace("{counter}", &indented(&counter(case.container)))
        .replace("{record}", &record(case.container))
        .replace("{container}", &case.container.to_string())
        .replace("{source}", case.source.as_str())
        .replace("{destination}", case.destination.as_str())
}

fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(kind: ContainerKind) -> Vec<String> {
        let (a, b) = (StorageName::new("a").expect("valid"), StorageName::new("b").expect("valid"));
        console(Case { container: Container { kind, id: 12 }, source: &a, destination: &b, move_id: Some(71) })
    }

    #[test]
    fn the_consoles_lines_name_the_containers_own_move() {
        let end = "m.do_fail! unless m.failed? || m.finished?";
        assert_eq!(
            case(ContainerKind::Project),
            [
                "m = Project.find(12).repository_storage_moves.find(71)",
                end,
                "Project.find(12).set_repository_writable!"
            ]
        );
        assert_eq!(case(ContainerKind::Snippet)[0], "m = Snippet.find(12).repository_storage_moves.find(71)");
        assert_eq!(case(ContainerKind::GroupWiki)[2], "Group.find(12).set_repository_writable!");
    }

    #[test]
    fn remedies_are_filled_in_whole() {
        let (a, b) = (StorageName::new("old").expect("valid"), StorageName::new("new").expect("valid"));
        let container = Container { kind: ContainerKind::Project, id: 12 };
        let case = Case { container, source: &a, destination: &b, move_id: Some(71) };
        use std::fmt::Write as _;
        let mut told = String::new();
        for row in super::super::TABLE.iter().filter(|row| !row.remedy.is_empty()) {
            let text = remedy(row.class, case);
            assert!(!text.contains('{') || text.contains("errors"), "{text}");
            let _ = writeln!(told, "{:?}: {text}", row.class);
        }
        insta::assert_snapshot!(told);
    }
}
