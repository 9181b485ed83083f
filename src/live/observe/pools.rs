//! Asks Gitaly for the object pools that forks borrow from, where a plan wants to know.

use futures::StreamExt as _;

use crate::apply::port::Ports;
use crate::model::{Container, Observed, PoolFacts, RepositoryRole, StorageName, relative_path};

/// Pools asked for at once; each costs its server two small calls.
const AT_ONCE: usize = 16;

/// Asks for the pool of a member of each network, and for its size. What cannot be asked is left out: a pool makes a
/// copy larger, and room is measured again while moves run.
pub async fn ask_pools(ports: &Ports, observed: &mut Observed, wanted: Vec<(StorageName, u64, Container)>) {
    let asks = wanted.into_iter().map(|(storage, network, member)| async move {
        let path = ports.gitaly.pool(&storage, &relative_path(member, RepositoryRole::Main)).await.ok()??;
        let size = ports.gitaly.size(&storage, &path).await.ok();
        Some(((storage, network), PoolFacts { path, size }))
    });
    let found: Vec<_> = futures::stream::iter(asks).buffer_unordered(AT_ONCE).collect().await;
    observed.pools.extend(found.into_iter().flatten());
}
