//! The shapes of GitLab's documents, as far as they are read, and their way into the model.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Deserializer};

use crate::apply::port::{PortError, PortErrorKind, PortResult};
use crate::model::{Bytes, Container, ContainerKind, MoveRecord, MoveState, Repository, StorageName, Weight};
use std::collections::BTreeMap;

/// Tells an absent field (`None`) from a null one (`Some(None)`).
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(reader: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(reader).map(Some)
}

#[derive(Deserialize)]
pub(super) struct Metadata {
    pub(super) version: String,
    pub(super) enterprise: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct Token {
    #[serde(default)]
    pub(super) scopes: Vec<String>,
    pub(super) expires_at: Option<Date>,
}

/// Of the many settings, one. The others hold secrets and are never kept or shown.
#[derive(Deserialize)]
pub(super) struct Settings {
    pub(super) repository_storages_weighted: BTreeMap<StorageName, Weight>,
}

#[derive(Deserialize)]
pub(super) struct Statistics {
    repository_size: Option<i64>,
    wiki_size: Option<i64>,
}

/// A commit, as far as it is read.
#[derive(Deserialize)]
pub(super) struct Commit {
    pub(super) id: String,
}

#[derive(Deserialize)]
pub(super) struct Parent {
    id: u64,
    repository_storage: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Project {
    pub(super) id: u64,
    path_with_namespace: String,
    #[serde(default)]
    archived: bool,
    empty_repo: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    repository_storage: Option<Option<String>>,
    statistics: Option<Statistics>,
    forked_from_project: Option<Parent>,
    last_activity_at: Option<Timestamp>,
    created_at: Option<Timestamp>,
}

impl Project {
    /// The project as the model has it. `call` names the call for errors.
    pub(super) fn repository(self, call: &str) -> PortResult<Repository> {
        let container = Container { kind: ContainerKind::Project, id: self.id };
        let size = self.statistics.and_then(|s| {
            let parts = [s.repository_size, s.wiki_size];
            if parts == [None, None] {
                return None;
            }
            // A negative figure is a bug of GitLab's counters; it is no reason to read nothing.
            let sum =
                parts.into_iter().flatten().fold(0_u64, |sum, n| sum.saturating_add(u64::try_from(n).unwrap_or(0)));
            Some(Bytes(sum))
        });
        Ok(Repository {
            storage: storage(call, container, self.repository_storage)?,
            container,
            path: self.path_with_namespace.into(),
            size,
            archived: Some(self.archived),
            empty: self.empty_repo,
            fork_parent: self.forked_from_project.as_ref().map(|p| p.id),
            parent_storage: self
                .forked_from_project
                .and_then(|p| p.repository_storage)
                .and_then(|name| StorageName::new(name).ok()),
            last_activity: self.last_activity_at.map(Timestamp::as_second),
            created: self.created_at.map(Timestamp::as_second),
        })
    }
}

/// A snippet or a group, as far as its storage goes.
#[derive(Deserialize)]
pub(super) struct Item {
    pub(super) id: u64,
    /// `None`: absent.
    #[serde(default, deserialize_with = "present")]
    pub(super) repository_storage: Option<Option<String>>,
    full_path: Option<String>,
    created_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
}

impl Item {
    /// The container as the model has it; `None` when it has no repository, or is shown without its storage.
    pub(super) fn repository(self, call: &str, kind: ContainerKind) -> PortResult<Option<Repository>> {
        let container = Container { kind, id: self.id };
        let Some(Some(_)) = self.repository_storage else { return Ok(None) };
        Ok(Some(Repository {
            storage: storage(call, container, self.repository_storage)?,
            container,
            path: self.full_path.unwrap_or_else(|| format!("snippets/{}", self.id)).into(),
            size: None,
            archived: None,
            empty: None,
            fork_parent: None,
            parent_storage: None,
            last_activity: self.updated_at.map(Timestamp::as_second),
            created: self.created_at.map(Timestamp::as_second),
        }))
    }
}

/// The storage of an item: only administrators are told.
fn storage(call: &str, container: Container, field: Option<Option<String>>) -> PortResult<StorageName> {
    let Some(name) = field.flatten() else {
        return Err(no_rights(call, format!("{container} comes without its field `repository_storage`")));
    };
    StorageName::new(name).map_err(|e| {
        PortError::new(PortErrorKind::Protocol, call, format!("the storage of {container} cannot be used: {e}"))
    })
}

/// The error for an answer that only somebody without an administrator's rights gets.
pub(super) fn no_rights(call: &str, found: String) -> PortError {
    PortError {
        help: Some(
            "Use an administrator's token with the scope `api`, and with `admin_mode` where Admin Mode is on."
                .to_owned(),
        ),
        ..PortError::new(
            PortErrorKind::Forbidden,
            call,
            format!("{found}: GitLab answers so, and drops the filter, when the token lacks an administrator's rights"),
        )
    }
}

#[derive(Deserialize)]
pub(super) struct DiskPath {
    pub(super) disk_path: String,
}

#[derive(Deserialize)]
struct Id {
    id: u64,
}

/// A move. Which of the three containers it names depends on the family that was asked.
#[derive(Deserialize)]
pub(super) struct Move {
    id: u64,
    state: MoveState,
    source_storage_name: Option<String>,
    destination_storage_name: Option<String>,
    error_message: Option<String>,
    created_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "present")]
    project: Option<Option<Id>>,
    #[serde(default, deserialize_with = "present")]
    snippet: Option<Option<Id>>,
    #[serde(default, deserialize_with = "present")]
    group: Option<Option<Id>>,
}

impl Move {
    /// The move as the model has it; `None` when its container is gone.
    pub(super) fn record(self, call: &str, kind: ContainerKind) -> PortResult<Option<MoveRecord>> {
        let (container, field) = match kind {
            ContainerKind::Project => (self.project, "project"),
            ContainerKind::Snippet => (self.snippet, "snippet"),
            ContainerKind::GroupWiki => (self.group, "group"),
        };
        let Some(container) = container else {
            return Err(PortError::new(
                PortErrorKind::Protocol,
                call,
                format!("move {} comes without its field `{field}`", self.id),
            ));
        };
        Ok(container.map(|Id { id }| MoveRecord {
            container: Container { kind, id },
            id: self.id,
            state: self.state,
            source: self.source_storage_name.unwrap_or_default(),
            destination: self.destination_storage_name.unwrap_or_default(),
            created_at: self.created_at,
            error_message: self.error_message.filter(|m| !m.is_empty()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_of_the_documents_is_read() {
        let text = r#"{"id":12,"path_with_namespace":"web/shop","archived":false,"empty_repo":false,
            "repository_storage":"default","forked_from_project":{"id":7,"repository_storage":"x"},
            "last_activity_at":"2026-01-05T09:30:00.125Z","created_at":"2026-01-05T10:30:00.125+01:00",
            "statistics":{"commit_count":9,"storage_size":5242880,"repository_size":4194304,"wiki_size":1048576}}"#;
        let project: Project = serde_json::from_str(text).expect("valid");
        let repository = project.repository("call").expect("valid");
        assert_eq!(repository.size, Some(Bytes(5_242_880)));
        assert_eq!(repository.fork_parent, Some(7));
        assert_eq!(repository.parent_storage.as_ref().map(StorageName::as_str), Some("x"));
        assert_eq!(repository.last_activity, Some(1_767_605_400));
        assert_eq!(repository.created, repository.last_activity);
        assert_eq!(repository.storage.as_str(), "default");
    }

    #[test]
    fn a_project_without_its_storage_means_no_rights() {
        let project: Project = serde_json::from_str(r#"{"id":12,"path_with_namespace":"web/shop"}"#).expect("valid");
        let error = project.repository("call").expect_err("no rights");
        assert_eq!(error.kind, PortErrorKind::Forbidden);
    }

    #[test]
    fn negative_figures_count_as_nothing() {
        let text = r#"{"id":1,"path_with_namespace":"a/b","repository_storage":"default","statistics":{"repository_size":-5,"wiki_size":7}}"#;
        let project: Project = serde_json::from_str(text).expect("valid");
        assert_eq!(project.repository("call").expect("valid").size, Some(Bytes(7)));
    }

    #[test]
    fn a_move_names_the_container_of_its_family() {
        let text = r#"{"id":71,"created_at":"2026-01-05T09:30:00.125Z","state":"cleanup failed","source_storage_name":"default",
            "destination_storage_name":"gitaly-01","error_message":null,"project":{"id":12,"name":"shop"}}"#;
        let read = || serde_json::from_str::<Move>(text).expect("valid");
        let record = read().record("call", ContainerKind::Project).expect("valid").expect("there");
        assert_eq!((record.container.id, record.state), (12, MoveState::CleanupFailed));
        assert!(read().record("call", ContainerKind::Snippet).is_err());
        let gone: Move = serde_json::from_str(r#"{"id":1,"state":"failed","project":null}"#).expect("valid");
        assert_eq!(gone.record("call", ContainerKind::Project).expect("valid"), None);
    }
}
