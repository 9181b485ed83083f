//! Asks Gitaly for sizes that GitLab's lists lack: of snippets, of group wikis, of projects without statistics.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;

use crate::apply::port::{PortErrorKind, PortResult, Ports};
use crate::model::{Bytes, Container, ContainerKind, Observed, RepositoryRole, StorageName, relative_path};

/// Sizes asked for at once. Gitaly answers each by walking a repository's folder.
const AT_ONCE: usize = 16;

/// Asks for the sizes of the repositories that are wanted and have none. What cannot be asked stays unknown.
///
/// The community edition says of a snippet without a repository that it is on some storage, another each time it is
/// asked: what Gitaly does not have there is left out.
pub async fn measure(ports: &Ports, observed: &mut Observed, wanted: &BTreeSet<Container>) {
    let community = observed.gitlab.enterprise == Some(false);
    let lacking = observed.repositories.iter().filter(|r| r.size.is_none() && wanted.contains(&r.container));
    let asks: Vec<_> = lacking
        .map(|r| {
            let (storage, container) = (r.storage.clone(), r.container);
            async move { (container, of(ports, &storage, container).await) }
        })
        .collect();
    let answers: BTreeMap<_, _> = futures::stream::iter(asks).buffer_unordered(AT_ONCE).collect().await;
    observed.repositories.retain_mut(|repository| match answers.get(&repository.container) {
        Some(Ok(size)) => {
            repository.size = Some(*size);
            true
        }
        Some(Err(e)) => {
            let phantom = community && repository.container.kind != ContainerKind::Project;
            !(phantom && e.kind == PortErrorKind::NotFound)
        }
        None => true,
    });
}

/// The size of all that moves with a container.
async fn of(ports: &Ports, storage: &StorageName, container: Container) -> PortResult<Bytes> {
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
