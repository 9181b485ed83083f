//! Which call of GitLab's REST API means what: the port's methods, one by one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::json;

use super::count;
use super::http::{Call, Http, Patience};
use super::json::{DiskPath, Item, Metadata, Move, Project, Settings, Token, no_rights};
use crate::apply::port::{GitLab, PortError, PortErrorKind, PortResult, Version};
use crate::model::{Container, ContainerKind, MoveRecord, Repository, StorageName, TokenFacts, Weight};

/// The adapter to one GitLab.
pub struct RestGitLab {
    http: Http,
    /// What `metadata` said of the edition, once it was asked.
    enterprise: OnceLock<Option<bool>>,
}

impl fmt::Debug for RestGitLab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestGitLab").field("api", &self.http.base()).finish_non_exhaustive()
    }
}

/// `None` instead of the error that says that there is no such thing.
fn found<T>(result: PortResult<T>) -> PortResult<Option<T>> {
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
        crate::live::install_tls_provider();
        Ok(Self { http: Http::new(url, token, ca)?, enterprise: OnceLock::new() })
    }

    /// Changes how long failing calls are repeated.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.http.patience = patience;
        self
    }

    async fn records(&self, call: &Call, kind: ContainerKind) -> PortResult<Vec<MoveRecord>> {
        let moves: Vec<Move> = self.http.call(call).await?;
        moves.into_iter().filter_map(|m| m.record(&call.shown, kind).transpose()).collect()
    }

    async fn is_enterprise(&self) -> PortResult<Option<bool>> {
        match self.enterprise.get() {
            Some(known) => Ok(*known),
            None => Ok(self.version().await?.enterprise),
        }
    }

    async fn group_wikis(&self, storage: &StorageName) -> PortResult<u64> {
        if self.is_enterprise().await? == Some(false) {
            return Ok(0);
        }
        let call = Call::get("/groups").with("repository_storage", storage).quiet("all_available", "true");
        let tally = count::tally(&self.http, &call, storage).await?;
        if tally.untold > 0 {
            // Either no rights, or an edition without group wikis: the moves' own endpoint tells which.
            let probe = Call::get("/group_repository_storage_moves").quiet("per_page", "1");
            if found(self.http.call::<Vec<Move>>(&probe).await)?.is_none() {
                return Ok(0);
            }
        }
        count::settled(&call, tally)
    }
}

#[async_trait]
impl GitLab for RestGitLab {
    async fn version(&self) -> PortResult<Version> {
        let metadata: Metadata = match found(self.http.call(&Call::get("/metadata")).await)? {
            Some(metadata) => metadata,
            None => self.http.call(&Call::get("/version")).await?,
        };
        _ = self.enterprise.set(metadata.enterprise);
        Ok(Version { version: metadata.version, enterprise: metadata.enterprise })
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

    async fn projects(&self, storage: &StorageName, after: u64) -> PortResult<Vec<Repository>> {
        let mut call = Call::get("/projects")
            .with("repository_storage", storage)
            .quiet("pagination", "keyset")
            .quiet("order_by", "id")
            .quiet("sort", "asc")
            .quiet("per_page", "100")
            .quiet("statistics", "true")
            // Both kinds are left out by default, and live on the storage all the same.
            .quiet("include_pending_delete", "true")
            .quiet("include_hidden", "true");
        if after > 0 {
            call = call.with("id_after", after);
        }
        let items: Vec<Project> = self.http.call(&call).await.map_err(|mut error| {
            if error.kind == PortErrorKind::Transient && error.help.is_none() && error.message.contains(" 500:") {
                error.help = Some(format!(
                    "If it lasts, one broken project makes this whole page fail: look for the ids after {after} in GitLab's log `exceptions_json.log`."
                ));
            }
            error
        })?;
        let mut page = Vec::with_capacity(items.len());
        let mut last = after;
        for item in items {
            if item.id <= last {
                let message = format!("project {} comes after {last}: this is no page by ascending id", item.id);
                return Err(PortError::new(PortErrorKind::Protocol, &call.shown, message));
            }
            last = item.id;
            let repository = item.repository(&call.shown)?;
            if repository.storage != *storage {
                let found =
                    format!("asked for `{storage}`, and {} is on `{}`", repository.container, repository.storage);
                return Err(no_rights(&call.shown, found));
            }
            page.push(repository);
        }
        Ok(page)
    }

    async fn count(&self, kind: ContainerKind, storage: &StorageName) -> PortResult<u64> {
        match kind {
            ContainerKind::Project => {
                let (mut number, mut after) = (0_u64, 0);
                loop {
                    let page = self.projects(storage, after).await?;
                    let Some(last) = page.last() else { return Ok(number) };
                    (number, after) = (number + page.len() as u64, last.container.id);
                }
            }
            ContainerKind::Snippet => {
                let call = Call::get("/snippets/all").with("repository_storage", storage);
                let tally = count::tally(&self.http, &call, storage).await?;
                count::settled(&call, tally)
            }
            ContainerKind::GroupWiki => self.group_wikis(storage).await,
        }
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
