//! Asks Gitaly for sizes that GitLab's lists lack: of snippets, of group wikis, of projects without statistics.

use std::collections::BTreeSet;

use futures::StreamExt as _;

use crate::apply::port::{PortErrorKind, PortResult, Ports};
use crate::model::{Bytes, Container, Repository, RepositoryRole, relative_path};

/// Sizes asked for at once. Gitaly answers each by walking a repository's folder.
const AT_ONCE: usize = 16;

/// Asks for the sizes of the repositories that are wanted and have none. What cannot be asked stays unknown.
pub async fn measure(ports: &Ports, repositories: &mut [Repository], wanted: &BTreeSet<Container>) {
    let lacking = (0usize..).zip(&*repositories);
    let lacking = lacking.filter(|(_, r)| r.size.is_none() && wanted.contains(&r.container));
    let asks: Vec<_> = lacking
        .map(|(at, r)| {
            let (storage, container) = (r.storage.clone(), r.container);
            async move { (at, of(ports, &storage, container).await.ok()) }
        })
        .collect();
    let sizes: Vec<_> = futures::stream::iter(asks).buffer_unordered(AT_ONCE).collect().await;
    for (at, size) in sizes {
        if let Some(repository) = repositories.get_mut(at) {
            repository.size = size;
        }
    }
}

/// The size of all that moves with a container.
async fn of(ports: &Ports, storage: &crate::model::StorageName, container: Container) -> PortResult<Bytes> {
    let mut sum = 0_u64;
    for role in RepositoryRole::of(container.kind) {
        match ports.gitaly.size(storage, &relative_path(container, *role)).await {
            Ok(Bytes(size)) => sum = sum.saturating_add(size),
            Err(error) if error.kind == PortErrorKind::NotFound && *role != RepositoryRole::Main => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Bytes(sum))
}
