//! Which call of Gitaly's gRPC means what: the port's methods, one by one.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use tonic::{Code, Status};

use super::link::{Line, Peer, peers};
use crate::apply::port::{Gitaly, PortError, PortErrorKind, PortResult};
use crate::live::connect::GitalyTarget;
use crate::model::{Bytes, DiskSpace, Reference, ServerFacts, StorageName};
use crate::wire;
use wire::commit_service_client::CommitServiceClient;
use wire::internal_gitaly_client::InternalGitalyClient;
use wire::object_pool_service_client::ObjectPoolServiceClient;
use wire::ref_service_client::RefServiceClient;
use wire::repository_service_client::RepositoryServiceClient;
use wire::server_service_client::ServerServiceClient;

/// Answers from memory: what is not here by then is not there.
const PROBE: Duration = Duration::from_secs(15);
/// A probe of a server that may be away; longer, and the end of an outage would be seen late.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Starts one git process.
const QUICK: Duration = Duration::from_secs(60);
/// Reads all references or all files of one repository; the largest known take minutes on cold disks.
const WHOLE: Duration = Duration::from_secs(600);
/// Reads every object of one repository: a quarter of an hour for 100 GB on a fast disk, hours on a slow one.
const FSCK: Duration = Duration::from_secs(6 * 3600);
/// Walks a whole disk.
const WALK: Duration = Duration::from_secs(3600);
/// Object ids in one message: 256 × 65 bytes, far below the limit of 4 MiB.
const IDS_PER_MESSAGE: usize = 256;

/// The adapter to all Gitalys, by storage name.
#[derive(Debug)]
pub struct GrpcGitaly {
    peers: BTreeMap<StorageName, Peer>,
    first_wait: Duration,
}

fn repository(storage: &StorageName, path: &str) -> Option<wire::Repository> {
    Some(wire::Repository {
        storage_name: storage.to_string(),
        relative_path: path.to_owned(),
        ..wire::Repository::default()
    })
}

/// A figure that cannot be negative.
fn bytes(figure: i64) -> Bytes {
    Bytes(u64::try_from(figure).unwrap_or(0))
}

/// What git said, line by line, whatever bytes are in it.
fn lines(output: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(output).lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

impl GrpcGitaly {
    /// Checks the addresses and CAs. Dials nothing; connections are made by the first call to each server.
    ///
    /// # Errors
    /// An address or CA that cannot be used.
    pub fn new(targets: &BTreeMap<StorageName, GitalyTarget>) -> PortResult<Self> {
        crate::live::install_tls_provider();
        Ok(Self { peers: peers(targets)?, first_wait: Duration::from_millis(400) })
    }

    /// Changes the first wait before a reading call is repeated (400 ms; each next one is twice as long).
    #[must_use]
    pub fn with_first_wait(mut self, wait: Duration) -> Self {
        self.first_wait = wait;
        self
    }

    fn peer(&self, rpc: &str, storage: &StorageName) -> PortResult<(&Peer, String)> {
        match self.peers.get(storage) {
            Some(peer) => Ok((peer, format!("{rpc} of storage {storage} at {}", peer.endpoint))),
            None => Err(PortError {
                help: Some("Give the storage's block an `address`.".to_owned()),
                ..PortError::new(
                    PortErrorKind::Refused,
                    format!("{rpc} of storage {storage}"),
                    "no address is known for it",
                )
            }),
        }
    }

    fn peer_of(&self, rpc: &str, storage: &StorageName, path: &str) -> PortResult<(&Peer, String)> {
        let (peer, _) = self.peer(rpc, storage)?;
        Ok((peer, format!("{rpc} of {} on storage {storage} at {}", path.escape_debug(), peer.endpoint)))
    }
}

/// The error of a server that does not serve the storage.
fn not_served(call: String, storage: &StorageName, served: &[&str]) -> PortError {
    let served = match served {
        [] => "none".to_owned(),
        names => names.iter().map(|n| format!("`{}`", n.escape_debug())).collect::<Vec<_>>().join(", "),
    };
    PortError {
        help: Some(
            "Compare the storage's `address` and `name` with `[[storage]]` in that server's config.toml.".to_owned(),
        ),
        ..PortError::new(
            PortErrorKind::Refused,
            call,
            format!("this server does not serve a storage named `{storage}`; it serves {served}"),
        )
    }
}

async fn server_info(line: Line) -> Result<wire::ServerInfoResponse, Status> {
    let request = line.request(wire::ServerInfoRequest {});
    let answer = ServerServiceClient::new(line.channel).server_info(request).await?;
    Ok(answer.into_inner())
}

/// The entry of one storage.
fn served(call: String, storage: &StorageName, info: wire::ServerInfoResponse) -> PortResult<ServerFacts> {
    let Some(status) = info.storage_statuses.iter().find(|s| s.storage_name == storage.as_str()) else {
        let served: Vec<_> = info.storage_statuses.iter().map(|s| s.storage_name.as_str()).collect();
        return Err(not_served(call, storage, &served));
    };
    Ok(ServerFacts {
        version: info.server_version.clone(),
        git_version: info.git_version.clone(),
        readable: status.readable,
        writeable: status.writeable,
        filesystem_id: status.filesystem_id.clone(),
        replication_factor: status.replication_factor,
    })
}

#[async_trait]
impl Gitaly for GrpcGitaly {
    async fn server(&self, storage: &StorageName) -> PortResult<ServerFacts> {
        let (peer, call) = self.peer("ServerInfo", storage)?;
        let info = peer.read(&call, PROBE, self.first_wait, server_info).await?;
        served(call, storage, info)
    }

    async fn probe(&self, storage: &StorageName) -> PortResult<ServerFacts> {
        let (peer, call) = self.peer("ServerInfo", storage)?;
        let info = peer.once(&call, AT_ONCE, server_info).await?;
        served(call, storage, info)
    }

    async fn disk(&self, storage: &StorageName) -> PortResult<Option<DiskSpace>> {
        let (peer, call) = self.peer("DiskStatistics", storage)?;
        let disk = peer
            .read(&call, PROBE, self.first_wait, async |line| {
                let request = line.request(wire::DiskStatisticsRequest {});
                let answer = ServerServiceClient::new(line.channel).disk_statistics(request).await?;
                Ok(answer.into_inner())
            })
            .await?;
        let Some(status) = disk.storage_statuses.iter().find(|s| s.storage_name == storage.as_str()) else {
            let served: Vec<_> = disk.storage_statuses.iter().map(|s| s.storage_name.as_str()).collect();
            return Err(not_served(call, storage, &served));
        };
        if status.available == 0 && status.used == 0 {
            return Ok(None);
        }
        Ok(Some(DiskSpace { available: bytes(status.available), used: bytes(status.used) }))
    }

    async fn exists(&self, storage: &StorageName, path: &str) -> PortResult<bool> {
        let (peer, call) = self.peer_of("RepositoryExists", storage, path)?;
        peer.read(&call, QUICK, self.first_wait, async |line| {
            let request = line.request(wire::RepositoryExistsRequest { repository: repository(storage, path) });
            let answer = RepositoryServiceClient::new(line.channel).repository_exists(request).await?;
            Ok(answer.into_inner().exists)
        })
        .await
    }

    async fn references(&self, storage: &StorageName, path: &str) -> PortResult<Vec<Reference>> {
        let (peer, call) = self.peer_of("ListRefs", storage, path)?;
        peer.read(&call, WHOLE, self.first_wait, async |line| {
            let request = line.request(wire::ListRefsRequest {
                repository: repository(storage, path),
                patterns: vec![b"refs/".to_vec()],
                head: true,
                ..wire::ListRefsRequest::default()
            });
            let mut stream = RefServiceClient::new(line.channel).list_refs(request).await?.into_inner();
            let mut references = Vec::new();
            while let Some(batch) = stream.message().await? {
                references.extend(batch.references.into_iter().map(|r| Reference { name: r.name, target: r.target }));
            }
            Ok(references)
        })
        .await
    }

    async fn head(&self, storage: &StorageName, path: &str) -> PortResult<Option<Vec<u8>>> {
        let (peer, call) = self.peer_of("FindDefaultBranchName", storage, path)?;
        peer.read(&call, QUICK, self.first_wait, async |line| {
            let request = line
                .request(wire::FindDefaultBranchNameRequest { repository: repository(storage, path), head_only: true });
            let answer = RefServiceClient::new(line.channel).find_default_branch_name(request).await?;
            Ok(Some(answer.into_inner().name).filter(|name| !name.is_empty()))
        })
        .await
    }

    async fn object_format(&self, storage: &StorageName, path: &str) -> PortResult<Option<String>> {
        let (peer, call) = self.peer_of("ObjectFormat", storage, path)?;
        let format = peer
            .read(&call, QUICK, self.first_wait, async |line| {
                let request = line.request(wire::ObjectFormatRequest { repository: repository(storage, path) });
                match RepositoryServiceClient::new(line.channel).object_format(request).await {
                    Ok(answer) => Ok(Some(answer.into_inner().format())),
                    // Gitaly before 15.9.
                    Err(status) if status.code() == Code::Unimplemented => Ok(None),
                    Err(status) => Err(status),
                }
            })
            .await?;
        Ok(match format {
            Some(wire::ObjectFormat::Sha1) => Some("sha1".to_owned()),
            Some(wire::ObjectFormat::Sha256) => Some("sha256".to_owned()),
            Some(wire::ObjectFormat::Unspecified) | None => None,
        })
    }

    async fn checksum(&self, storage: &StorageName, path: &str) -> PortResult<String> {
        let (peer, call) = self.peer_of("CalculateChecksum", storage, path)?;
        peer.read(&call, WHOLE, self.first_wait, async |line| {
            let request = line.request(wire::CalculateChecksumRequest { repository: repository(storage, path) });
            let answer = RepositoryServiceClient::new(line.channel).calculate_checksum(request).await?;
            Ok(answer.into_inner().checksum)
        })
        .await
    }

    async fn objects_exist(&self, storage: &StorageName, path: &str, ids: &[String]) -> PortResult<Vec<bool>> {
        let (peer, call) = self.peer_of("CheckObjectsExist", storage, path)?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let found = peer
            .read(&call, WHOLE, self.first_wait, async |line| {
                let messages: Vec<_> = ids
                    .chunks(IDS_PER_MESSAGE)
                    .enumerate()
                    .map(|(number, chunk)| wire::CheckObjectsExistRequest {
                        repository: if number == 0 { repository(storage, path) } else { None },
                        revisions: chunk.iter().map(|id| id.clone().into_bytes()).collect(),
                    })
                    .collect();
                let request = line.request(futures::stream::iter(messages));
                let mut stream =
                    CommitServiceClient::new(line.channel).check_objects_exist(request).await?.into_inner();
                let mut found = BTreeMap::new();
                while let Some(batch) = stream.message().await? {
                    found.extend(batch.revisions.into_iter().map(|r| (r.name, r.exists)));
                }
                Ok(found)
            })
            .await?;
        ids.iter()
            .map(|id| {
                found.get(id.as_bytes()).copied().ok_or_else(|| {
                    let message = format!("the answer says nothing of object {}", id.escape_debug());
                    PortError::new(PortErrorKind::Protocol, &call, message)
                })
            })
            .collect()
    }

    async fn size(&self, storage: &StorageName, path: &str) -> PortResult<Bytes> {
        let (peer, call) = self.peer_of("RepositoryInfo", storage, path)?;
        peer.read(&call, WHOLE, self.first_wait, async |line| {
            let request = line.request(wire::RepositoryInfoRequest { repository: repository(storage, path) });
            let answer = RepositoryServiceClient::new(line.channel).repository_info(request).await?;
            Ok(Bytes(answer.into_inner().size))
        })
        .await
    }

    async fn fsck(&self, storage: &StorageName, path: &str) -> PortResult<Vec<String>> {
        let (peer, call) = self.peer_of("Fsck", storage, path)?;
        peer.read(&call, FSCK, self.first_wait, async |line| {
            let request = line.request(wire::FsckRequest { repository: repository(storage, path) });
            let complaints = RepositoryServiceClient::new(line.channel).fsck(request).await?.into_inner().error;
            Ok(lines(&complaints))
        })
        .await
    }

    async fn pool(&self, storage: &StorageName, path: &str) -> PortResult<Option<String>> {
        let (peer, call) = self.peer_of("GetObjectPool", storage, path)?;
        peer.read(&call, WHOLE, self.first_wait, async |line| {
            let request = line.request(wire::GetObjectPoolRequest { repository: repository(storage, path) });
            let answer = ObjectPoolServiceClient::new(line.channel).get_object_pool(request).await?.into_inner();
            Ok(answer.object_pool.and_then(|pool| pool.repository).map(|pool| pool.relative_path))
        })
        .await
    }

    async fn walk(&self, storage: &StorageName) -> PortResult<Vec<String>> {
        let (peer, call) = self.peer("WalkRepos", storage)?;
        let walked = peer
            .read(&call, WALK, self.first_wait, async |line| {
                let request = line.request(wire::WalkReposRequest { storage_name: storage.to_string() });
                let mut stream = InternalGitalyClient::new(line.channel).walk_repos(request).await?.into_inner();
                let mut paths = Vec::new();
                while let Some(found) = stream.message().await? {
                    paths.push(found.relative_path);
                }
                Ok(paths)
            })
            .await;
        let mut paths = walked.map_err(|mut error| {
            // Gitaly before 16.2 answers NOT_FOUND here, where all other calls answer INVALID_ARGUMENT.
            if error.kind == PortErrorKind::NotFound {
                error.kind = PortErrorKind::Refused;
            }
            error
        })?;
        paths.sort();
        paths.dedup();
        Ok(paths)
    }
}
