//! Which call of GitLab's REST API means what: the port's methods, one by one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::json;

use super::http::{Call, Http, Patience};
use super::json::{Commit, DiskPath, Item, Metadata, Move, Project, Settings, Token};
use super::list::{self, Release};
use super::pace::{Pace, Tell};
use crate::apply::port::{Cursor, GitLab, Listing, PortError, PortErrorKind, PortResult, Version};
use crate::model::{Container, ContainerKind, MoveRecord, Repository, StorageName, TokenFacts, Weight};

/// The adapter to one GitLab.
pub struct RestGitLab {
    http: Http,
    /// What `metadata` said, once it was asked.
    release: OnceLock<Release>,
}

impl fmt::Debug for RestGitLab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestGitLab").field("api", &self.http.base()).finish_non_exhaustive()
    }
}

/// `None` instead of the error that says that there is no such thing.
pub(super) fn found<T>(result: PortResult<T>) -> PortResult<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind == PortErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// GitLab's plural and singular of a family of moves.
fn family(kind: ContainerKind) -> (&'static str, &'static str) {
    match kind {
        ContainerKind::Project => ("projects", "project"),
        ContainerKind::Snippet => ("snippets", "snippet"),
        ContainerKind::GroupWiki => ("groups", "group"),
    }
}

impl RestGitLab {
    /// Checks the URL (without `/api/v4`), the token and the private CA (PEM text). Dials nothing.
    ///
    /// # Errors
    /// What is wrong with one of them; no error holds the token.
    pub fn new(url: &str, token: &SecretString, ca: Option<&str>) -> PortResult<Self> {
        Ok(Self { http: Http::new(url, token, ca)?, release: OnceLock::new() })
    }

    /// Changes how long failing calls are repeated.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.http.patience = patience;
        self
    }

    /// Tells of waits for GitLab's rate limits.
    #[must_use]
    pub fn telling(mut self, tell: Tell) -> Self {
        self.http.pace = Pace::telling(tell);
        self
    }

    async fn records(&self, call: &Call, kind: ContainerKind) -> PortResult<Vec<MoveRecord>> {
        let moves: Vec<Move> = self.http.call(call).await?;
        moves.into_iter().filter_map(|m| m.record(&call.shown, kind).transpose()).collect()
    }

    async fn release(&self) -> PortResult<Release> {
        match self.release.get() {
            Some(known) => Ok(known.clone()),
            None => Ok(Release::of(&self.version().await?)),
        }
    }
}

#[async_trait]
impl GitLab for RestGitLab {
    async fn version(&self) -> PortResult<Version> {
        let metadata: Metadata = match found(self.http.call(&Call::get("/metadata")).await)? {
            Some(metadata) => metadata,
            None => self.http.call(&Call::get("/version")).await?,
        };
        let version = Version { version: metadata.version, enterprise: metadata.enterprise };
        _ = self.release.set(Release::of(&version));
        Ok(version)
    }

    async fn token(&self) -> PortResult<TokenFacts> {
        let token: Token = self.http.call(&Call::get("/personal_access_tokens/self")).await?;
        Ok(TokenFacts { scopes: token.scopes, expires_at: token.expires_at })
    }

    async fn weights(&self) -> PortResult<BTreeMap<StorageName, Weight>> {
        let settings: Settings = self.http.call(&Call::get("/application/settings")).await?;
        Ok(settings.repository_storages_weighted)
    }

    async fn put_weights(&self, weights: &BTreeMap<StorageName, Weight>) -> PortResult<BTreeMap<StorageName, Weight>> {
        let call = Call::put("/application/settings", json!({ "repository_storages_weighted": weights }));
        let settings: Settings = self.http.call(&call).await?;
        Ok(settings.repository_storages_weighted)
    }

    async fn list(&self, kind: ContainerKind, storage: &StorageName, at: Cursor) -> PortResult<Listing> {
        let release = match kind {
            ContainerKind::Project => self.release.get().cloned().unwrap_or_default(),
            _ => self.release().await?,
        };
        list::page(&self.http, kind, storage, at, &release).await
    }

    async fn container(&self, container: Container) -> PortResult<Option<Repository>> {
        let call = Call::get(format!("/{}/{}", family(container.kind).0, container.id));
        if container.kind == ContainerKind::Project {
            let call = call.quiet("statistics", "true");
            let project: Option<Project> = found(self.http.call(&call).await)?;
            return project.map(|p| p.repository(&call.shown)).transpose();
        }
        let call = call.quiet("with_projects", "false");
        let item: Option<Item> = found(self.http.call(&call).await)?;
        item.map_or(Ok(None), |i| i.repository(&call.shown, container.kind))
    }

    async fn disk_path(&self, container: Container) -> PortResult<Option<String>> {
        if container.kind != ContainerKind::Project {
            // GitLab has no such call for the others; their computed path is all there is.
            return Ok(None);
        }
        let call = Call::get(format!("/projects/{}/storage", container.id));
        let path: Option<DiskPath> = found(self.http.call(&call).await)?;
        Ok(path.map(|p| p.disk_path))
    }

    async fn project(&self, path: &str) -> PortResult<Option<Repository>> {
        // GitLab takes a path with its slashes escaped for an id.
        let id: String = url::form_urlencoded::byte_serialize(path.as_bytes()).collect::<String>().replace('+', "%20");
        let call = Call::get(format!("/projects/{id}")).quiet("statistics", "true");
        let project: Option<Project> = found(self.http.call(&call).await)?;
        project.map(|p| p.repository(&call.shown)).transpose()
    }

    async fn commit(&self, project: u64, branch: &str, start: Option<&str>, message: &str) -> PortResult<String> {
        let mut body = json!({
            "branch": branch,
            "commit_message": message,
            "force": start.is_some(),
            "actions": [{ "action": "create", "file_path": format!(".{branch}"), "content": message }],
        });
        if let (Some(start), Some(body)) = (start, body.as_object_mut()) {
            body.insert("start_branch".to_owned(), json!(start));
        }
        let made: Commit = self.http.call(&Call::post(format!("/projects/{project}/repository/commits"), body)).await?;
        Ok(made.id)
    }

    async fn moves(&self, kind: ContainerKind, page: u32) -> PortResult<Vec<MoveRecord>> {
        let call = Call::get(format!("/{}_repository_storage_moves", family(kind).1))
            .quiet("per_page", "100")
            .with("page", page.max(1));
        self.records(&call, kind).await
    }

    async fn moves_of(&self, container: Container, limit: u32) -> PortResult<Vec<MoveRecord>> {
        let call = Call::get(format!("/{}/{}/repository_storage_moves", family(container.kind).0, container.id))
            .with("per_page", limit.clamp(1, 100));
        self.records(&call, container.kind).await
    }

    async fn move_record(&self, kind: ContainerKind, id: u64) -> PortResult<Option<MoveRecord>> {
        let call = Call::get(format!("/{}_repository_storage_moves/{id}", family(kind).1));
        let found: Option<Move> = found(self.http.call(&call).await)?;
        found.map_or(Ok(None), |m| m.record(&call.shown, kind))
    }

    async fn schedule(&self, container: Container, destination: &StorageName) -> PortResult<MoveRecord> {
        let call = Call::post(
            format!("/{}/{}/repository_storage_moves", family(container.kind).0, container.id),
            json!({ "destination_storage_name": destination }),
        );
        let made: Move = self.http.call(&call).await?;
        let unlike = |message: String| PortError {
            help: Some("It may have been carried out: look at the container's moves before another.".to_owned()),
            ..PortError::new(PortErrorKind::Ambiguous, &call.shown, message)
        };
        match made.record(&call.shown, container.kind) {
            Ok(Some(record)) if record.container == container => Ok(record),
            Ok(Some(record)) => Err(unlike(format!("the answer tells of {}, asked was {container}", record.container))),
            Ok(None) => Err(unlike(format!("the answer names no container, asked was {container}"))),
            Err(error) => Err(unlike(error.message)),
        }
    }
}
