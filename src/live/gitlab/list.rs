//! Reads one page of what GitLab has on a storage: projects by keyset; snippets and groups, for which GitLab has only
//! offset pages, and which some editions list without a look at the filter.

use super::http::{Call, Http, header};
use super::json::{Item, Move, Project, no_rights};
use super::rest::found;
use crate::apply::port::{Cursor, Listing, PortError, PortErrorKind, PortResult, Version};
use crate::model::{ContainerKind, StorageName};

/// Which GitLab it is, as far as its lists depend on it.
#[derive(Debug, Clone, Default)]
pub(super) struct Release {
    version: String,
    /// `None`: not known.
    number: Option<(u32, u32)>,
    /// `None`: it does not say.
    enterprise: Option<bool>,
}

impl Release {
    pub(super) fn of(version: &Version) -> Self {
        let mut parts = version.version.split(['.', '-']).map(|part| part.parse().ok());
        let number = parts.next().flatten().zip(parts.next().flatten());
        Self { version: version.version.clone(), number, enterprise: version.enterprise }
    }

    /// 16.3 brought the list of all snippets, and the filters by storage.
    fn lists_all_kinds(&self) -> bool {
        self.number.is_none_or(|number| number >= (16, 3))
    }

    fn without(&self, call: &str, what: &str) -> PortError {
        let version = if self.version.is_empty() { "this GitLab" } else { &format!("GitLab {}", self.version) };
        PortError::new(PortErrorKind::NotFound, call, format!("{version} {what}"))
    }
}

/// Reads the page of a kind that `at` names.
pub(super) async fn page(
    http: &Http,
    kind: ContainerKind,
    storage: &StorageName,
    at: Cursor,
    release: &Release,
) -> PortResult<Listing> {
    let at = Cursor { size: at.size.clamp(1, 100), page: at.page.max(1), ..at };
    match kind {
        ContainerKind::Project => projects(http, storage, at, release).await,
        ContainerKind::Snippet => snippets(http, storage, at, release).await,
        ContainerKind::GroupWiki if release.enterprise == Some(false) => Ok(Listing { found: Vec::new(), next: None }),
        ContainerKind::GroupWiki => group_wikis(http, storage, at, release).await,
    }
}

async fn projects(http: &Http, storage: &StorageName, at: Cursor, release: &Release) -> PortResult<Listing> {
    let mut call = Call::get("/projects")
        .with("repository_storage", storage)
        .quiet("pagination", "keyset")
        .quiet("order_by", "id")
        .quiet("sort", "asc")
        .quiet("per_page", &at.size.to_string())
        .quiet("statistics", "true")
        // Both kinds are left out by default, and live on the storage all the same.
        .quiet("include_pending_delete", "true");
    if release.enterprise != Some(false) {
        call = call.quiet("include_hidden", "true");
    }
    if at.after > 0 {
        call = call.with("id_after", at.after);
    }
    call = call.probing(at.size < 100);
    let items: Vec<Project> = http.call(&call).await?;
    let mut found = Vec::with_capacity(items.len());
    let mut last = at.after;
    for item in items {
        if item.id <= last {
            let message = format!("project {} comes after {last}: this is no page by ascending id", item.id);
            return Err(PortError::new(PortErrorKind::Protocol, &call.shown, message));
        }
        last = item.id;
        let repository = item.repository(&call.shown)?;
        if repository.storage != *storage {
            let found = format!("asked for `{storage}`, and {} is on `{}`", repository.container, repository.storage);
            return Err(no_rights(&call.shown, found));
        }
        found.push(repository);
    }
    // Every page that holds something has a next one; the end is an empty page.
    let next = (!found.is_empty()).then_some(Cursor { after: last, ..at });
    Ok(Listing { found, next })
}

async fn snippets(http: &Http, storage: &StorageName, at: Cursor, release: &Release) -> PortResult<Listing> {
    let call = Call::get("/snippets/all").with("repository_storage", storage);
    let absent = || release.without(&call.shown, "has no list of all snippets (16.3 has)");
    if !release.lists_all_kinds() {
        return Err(absent());
    }
    let items = items(http, call.clone(), ContainerKind::Snippet, storage, at).await;
    match found(items)? {
        None => Err(absent()),
        Some((listing, 0)) => Ok(listing),
        Some(_) if release.enterprise == Some(false) => {
            Err(release
                .without(&call.shown, "does not say on which storage a snippet is (the Enterprise Edition does)"))
        }
        Some((_, untold)) => Err(without_field(&call, untold)),
    }
}

async fn group_wikis(http: &Http, storage: &StorageName, at: Cursor, release: &Release) -> PortResult<Listing> {
    let call = Call::get("/groups")
        .with("repository_storage", storage)
        .quiet("all_available", "true")
        .quiet("order_by", "id")
        .quiet("sort", "asc");
    let moves = async || {
        let probe = Call::get("/group_repository_storage_moves").quiet("per_page", "1");
        Ok::<_, PortError>(found(http.call::<Vec<Move>>(&probe).await)?.is_some())
    };
    let none = Listing { found: Vec::new(), next: None };
    if !release.lists_all_kinds() {
        let absent = release.without(&call.shown, "does not list groups by the storage of their wikis (16.3 does)");
        return if moves().await? { Err(absent) } else { Ok(none) };
    }
    let (listing, untold) = items(http, call.clone(), ContainerKind::GroupWiki, storage, at).await?;
    if untold == 0 {
        return Ok(listing);
    }
    // Either no rights, or an edition without group wikis: the moves' own endpoint tells which.
    if moves().await? { Err(without_field(&call, untold)) } else { Ok(none) }
}

/// The page's items that are on the storage by their own field, and how many came without that field.
async fn items(
    http: &Http,
    call: Call,
    kind: ContainerKind,
    storage: &StorageName,
    at: Cursor,
) -> PortResult<(Listing, usize)> {
    let call = call.quiet("per_page", &at.size.to_string()).with("page", at.page).probing(at.size < 100);
    let (items, headers): (Vec<Item>, _) = http.call_with_headers(&call).await?;
    // `X-Next-Page` is empty on the last page; a proxy may have taken it away.
    let full = items.len() >= at.size as usize;
    let last = header(&headers, "x-next-page").map_or(!full, |next| next.trim().is_empty());
    let untold = items.iter().filter(|item| item.repository_storage.is_none()).count();
    let mut found = Vec::new();
    for item in items {
        if item.repository_storage.as_ref().and_then(Option::as_deref) == Some(storage.as_str()) {
            found.extend(item.repository(&call.shown, kind)?);
        }
    }
    let next = (!last).then_some(Cursor { page: at.page.saturating_add(1), ..at });
    Ok((Listing { found, next }, untold))
}

fn without_field(call: &Call, untold: usize) -> PortError {
    no_rights(&call.shown, format!("{untold} of the items come without their field `repository_storage`"))
}
