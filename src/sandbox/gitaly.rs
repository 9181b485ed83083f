//! One storage's Gitaly: answers as a real 16.0 was recorded to, status, message and shape.

use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};

use super::content::{Content, ContentError, checksum};
use super::fleet::Fleet;
use crate::model::StorageName;
use crate::wire::{self, *};

type Answer<T> = Result<Response<T>, Status>;
type Replies<T> = tokio_stream::Iter<std::vec::IntoIter<Result<T, Status>>>;

/// References or revisions in one message of a stream (recorded: 20).
const BATCH: usize = 20;
/// Seconds that a token's time may be off, in either direction.
const SKEW: i64 = 30;

/// The Gitaly of one storage.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) fleet: Arc<Fleet>,
    pub(super) storage: StorageName,
}

/// Checks the header of a call: `authorization: Bearer v2.<mac>.<seconds>`.
///
/// # Errors
/// UNAUTHENTICATED for a missing or malformed one, PERMISSION_DENIED for a wrong one.
pub(super) fn authenticate(header: Option<&str>, token: &str, now: i64) -> Result<(), Status> {
    let unauthenticated = || Status::unauthenticated("authentication required");
    let denied = || Status::permission_denied("permission denied");
    let (scheme, credentials) = header.and_then(|h| h.split_once(' ')).ok_or_else(unauthenticated)?;
    let parts: Vec<&str> = credentials.split('.').collect();
    let [version, mac, time] = parts.as_slice() else { return Err(unauthenticated()) };
    let mac = hex::decode(mac).ok().filter(|_| scheme.eq_ignore_ascii_case("bearer")).ok_or_else(unauthenticated)?;
    let mut expected = Hmac::<Sha256>::new_from_slice(token.as_bytes()).map_err(|_| denied())?;
    expected.update(time.as_bytes());
    let right = *version == "v2" && expected.verify_slice(&mac).is_ok();
    let fresh = time.parse::<i64>().is_ok_and(|t| now.abs_diff(t) <= SKEW as u64);
    if right && fresh { Ok(()) } else { Err(denied()) }
}

/// Serves until the fleet ends.
pub(super) async fn serve(server: Server, listener: tokio::net::TcpListener) {
    let (fleet, storage) = (Arc::clone(&server.fleet), server.storage.clone());
    let check = move |request: Request<()>| {
        fleet.touch();
        if fleet.world(|w| w.is_down(&storage, fleet.now())) {
            return Err(Status::unavailable("connection refused"));
        }
        let header = request.metadata().get("authorization").and_then(|v| v.to_str().ok());
        authenticate(header, &fleet.gitaly_token, Timestamp::now().as_second())?;
        Ok(request)
    };
    let stop = server.fleet.stop.clone();
    let name = server.storage.clone();
    let served = tonic::transport::Server::builder()
        .add_service(server_service_server::ServerServiceServer::with_interceptor(server.clone(), check.clone()))
        .add_service(repository_service_server::RepositoryServiceServer::with_interceptor(
            server.clone(),
            check.clone(),
        ))
        .add_service(ref_service_server::RefServiceServer::with_interceptor(server.clone(), check.clone()))
        .add_service(commit_service_server::CommitServiceServer::with_interceptor(server.clone(), check.clone()))
        .add_service(object_pool_service_server::ObjectPoolServiceServer::with_interceptor(
            server.clone(),
            check.clone(),
        ))
        .add_service(internal_gitaly_server::InternalGitalyServer::with_interceptor(server, check))
        .serve_with_incoming_shutdown(
            tokio_stream::wrappers::TcpListenerStream::new(listener),
            stop.clone().cancelled_owned(),
        )
        .await;
    if let Err(error) = served {
        tracing::error!(%error, storage = %name, "the sandbox's Gitaly ended");
        stop.cancel();
    }
}

/// A request's repository, checked as far as names go.
fn named(repository: Option<wire::Repository>, served: &StorageName) -> Result<String, Status> {
    let repository = repository.ok_or_else(|| Status::invalid_argument("empty Repository"))?;
    if repository.storage_name.is_empty() {
        return Err(Status::invalid_argument("empty StorageName"));
    }
    if repository.relative_path.is_empty() {
        return Err(Status::invalid_argument("empty RelativePath"));
    }
    if repository.storage_name != served.as_str() {
        let name = repository.storage_name;
        return Err(Status::invalid_argument(format!("GetStorageByName: no such storage: {name:?}")));
    }
    let mut depth = 0_i64;
    for part in repository.relative_path.split('/') {
        match part {
            "" | "." => {}
            ".." => depth -= 1,
            _ => depth += 1,
        }
        if depth < 0 {
            return Err(Status::invalid_argument("GetRepoPath: relative path escapes root directory"));
        }
    }
    Ok(repository.relative_path)
}

impl Server {
    /// A request's object pool, by its path.
    fn pool(&self, pool: Option<wire::ObjectPool>) -> Result<String, Status> {
        named(pool.and_then(|pool| pool.repository), &self.storage)
    }

    /// Asks the content of this storage, away from the network's threads.
    async fn ask<T: Send + 'static>(
        &self,
        repository: Option<wire::Repository>,
        context: &'static str,
        f: impl FnOnce(&dyn Content, &StorageName, &str) -> Result<T, ContentError> + Send + 'static,
    ) -> Result<T, Status> {
        let path = named(repository, &self.storage)?;
        let Self { fleet, storage } = self.clone();
        let answered = tokio::task::spawn_blocking(move || {
            let answer = f(fleet.content.as_ref(), &storage, &path);
            // What a synthetic world changed by itself is written down here.
            fleet.world(|_| ());
            answer.map_err(|error| match error {
                ContentError::NotFound => {
                    Status::not_found(format!("{context}GetRepoPath: not a git repository: \"/{storage}/{path}\""))
                }
                ContentError::Exists => Status::already_exists("creating repository: repository exists already"),
                ContentError::Failed(message) => Status::internal(message),
            })
        });
        answered.await.map_err(|e| Status::internal(e.to_string()))?
    }
}

fn stream<T>(messages: Vec<T>) -> Replies<T> {
    tokio_stream::iter(messages.into_iter().map(Ok).collect::<Vec<_>>())
}

#[tonic::async_trait]
impl server_service_server::ServerService for Server {
    async fn server_info(&self, _: Request<ServerInfoRequest>) -> Answer<ServerInfoResponse> {
        let (server_version, filesystem_id) = self.fleet.world(|w| {
            (w.gitaly_version(&self.storage), w.filesystem_ids.get(&self.storage).cloned().unwrap_or_default())
        });
        let status = server_info_response::StorageStatus {
            storage_name: self.storage.to_string(),
            readable: true,
            writeable: true,
            fs_type: "EXT_2_3_4".to_owned(),
            filesystem_id,
            replication_factor: 1,
        };
        let git_version = "2.39.5".to_owned();
        Ok(Response::new(ServerInfoResponse { server_version, git_version, storage_statuses: vec![status] }))
    }

    async fn disk_statistics(&self, _: Request<DiskStatisticsRequest>) -> Answer<DiskStatisticsResponse> {
        let (used, available) = self.fleet.world(|w| w.disk(&self.storage, self.fleet.now())).unwrap_or((0, 0));
        let status = disk_statistics_response::StorageStatus {
            storage_name: self.storage.to_string(),
            available: i64::try_from(available).unwrap_or(i64::MAX),
            used: i64::try_from(used).unwrap_or(i64::MAX),
        };
        Ok(Response::new(DiskStatisticsResponse { storage_statuses: vec![status] }))
    }

    async fn readiness_check(&self, _: Request<ReadinessCheckRequest>) -> Answer<ReadinessCheckResponse> {
        let ok = readiness_check_response::Result::OkResponse(readiness_check_response::Ok {});
        Ok(Response::new(ReadinessCheckResponse { result: Some(ok) }))
    }
}

#[tonic::async_trait]
impl repository_service_server::RepositoryService for Server {
    async fn repository_exists(&self, request: Request<RepositoryExistsRequest>) -> Answer<RepositoryExistsResponse> {
        let exists = self.ask(request.into_inner().repository, "", |c, s, p| Ok(c.exists(s, p))).await?;
        Ok(Response::new(RepositoryExistsResponse { exists }))
    }

    async fn repository_size(&self, request: Request<RepositorySizeRequest>) -> Answer<RepositorySizeResponse> {
        let measure = self.ask(request.into_inner().repository, "", |c, s, p| c.measure(s, p)).await?;
        Ok(Response::new(RepositorySizeResponse { size: i64::try_from(measure.size / 1024).unwrap_or(i64::MAX) }))
    }

    async fn repository_info(&self, request: Request<RepositoryInfoRequest>) -> Answer<RepositoryInfoResponse> {
        let measure = self.ask(request.into_inner().repository, "", |c, s, p| c.measure(s, p)).await?;
        Ok(Response::new(RepositoryInfoResponse {
            size: measure.size,
            references: Some(repository_info_response::ReferencesInfo {
                loose_count: measure.loose_references,
                packed_size: measure.packed_references,
            }),
            objects: Some(repository_info_response::ObjectsInfo {
                size: measure.objects,
                recent_size: measure.objects,
                stale_size: 0,
                keep_size: 0,
            }),
        }))
    }

    async fn object_format(&self, request: Request<ObjectFormatRequest>) -> Answer<ObjectFormatResponse> {
        let format = self.ask(request.into_inner().repository, "", |c, s, p| c.object_format(s, p)).await?;
        let format = if format == "sha256" { ObjectFormat::Sha256 } else { ObjectFormat::Sha1 };
        Ok(Response::new(ObjectFormatResponse { format: format.into() }))
    }

    async fn calculate_checksum(
        &self,
        request: Request<CalculateChecksumRequest>,
    ) -> Answer<CalculateChecksumResponse> {
        let references = self.ask(request.into_inner().repository, "", |c, s, p| c.references(s, p)).await?;
        Ok(Response::new(CalculateChecksumResponse { checksum: checksum(&references) }))
    }

    async fn create_repository(&self, request: Request<CreateRepositoryRequest>) -> Answer<CreateRepositoryResponse> {
        let CreateRepositoryRequest { repository, default_branch, object_format } = request.into_inner();
        let sha256 = object_format == i32::from(ObjectFormat::Sha256);
        self.ask(repository, "", move |c, s, p| c.create(s, p, &default_branch, sha256)).await?;
        Ok(Response::new(CreateRepositoryResponse {}))
    }

    async fn remove_repository(&self, request: Request<RemoveRepositoryRequest>) -> Answer<RemoveRepositoryResponse> {
        let removed = self.ask(request.into_inner().repository, "", |c, s, p| c.remove(s, p)).await;
        removed.map_err(|status| match status.code() {
            tonic::Code::NotFound => Status::not_found("repository does not exist"),
            _ => status,
        })?;
        Ok(Response::new(RemoveRepositoryResponse {}))
    }

    async fn replicate_repository(
        &self,
        request: Request<ReplicateRepositoryRequest>,
    ) -> Answer<ReplicateRepositoryResponse> {
        let servers = request.metadata().contains_key("gitaly-servers");
        let ReplicateRepositoryRequest { repository, source } = request.into_inner();
        let source = source.ok_or_else(|| Status::invalid_argument("source repository cannot be empty"))?;
        let from =
            StorageName::new(source.storage_name.clone()).map_err(|e| Status::invalid_argument(e.to_string()))?;
        if from == self.storage {
            return Err(Status::invalid_argument("repository and source have the same storage"));
        }
        if !servers {
            return Err(Status::internal(
                "could not create repository from snapshot: creating repository: extracting snapshot: new client: \
                 empty gitaly-servers metadata",
            ));
        }
        // Both are stores of this process: what a real Gitaly pulls over the network is read from the folder next door.
        named(Some(source), &from)?;
        let copied = self.ask(repository, "", move |c, s, p| c.replicate(&from, s, p)).await;
        copied.map_err(|status| match status.code() {
            tonic::Code::NotFound => Status::not_found("invalid source repository"),
            _ => status,
        })?;
        Ok(Response::new(ReplicateRepositoryResponse {}))
    }

    async fn fsck(&self, request: Request<FsckRequest>) -> Answer<FsckResponse> {
        let error = self.ask(request.into_inner().repository, "", |c, s, p| c.fsck(s, p)).await?;
        Ok(Response::new(FsckResponse { error }))
    }

    async fn has_local_branches(&self, request: Request<HasLocalBranchesRequest>) -> Answer<HasLocalBranchesResponse> {
        let references = self.ask(request.into_inner().repository, "", |c, s, p| c.references(s, p)).await?;
        let value = references.iter().any(|r| r.name.starts_with(b"refs/heads/"));
        Ok(Response::new(HasLocalBranchesResponse { value }))
    }
}

/// True for a pattern as git's for-each-ref takes it: a whole name, a prefix that ends at a slash, or a glob.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let prefix = pattern.strip_suffix(b"/").unwrap_or(pattern);
    if name == pattern || name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(b"/")) {
        return true;
    }
    fn glob(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => {
                (0..=name.len()).take_while(|n| !name[..*n].contains(&b'/')).any(|n| glob(rest, &name[n..]))
            }
            Some((b'?', rest)) => name.split_first().is_some_and(|(c, n)| *c != b'/' && glob(rest, n)),
            Some((c, rest)) => name.split_first().is_some_and(|(d, n)| c == d && glob(rest, n)),
        }
    }
    glob(pattern, name)
}

#[tonic::async_trait]
impl ref_service_server::RefService for Server {
    async fn find_default_branch_name(
        &self,
        request: Request<FindDefaultBranchNameRequest>,
    ) -> Answer<FindDefaultBranchNameResponse> {
        let FindDefaultBranchNameRequest { repository, head_only } = request.into_inner();
        // Before 16.1 the field is not known: the branch is always guessed.
        let guesses = self.fleet.world(|w| semver::Version::parse(&w.gitaly_version(&self.storage)));
        let head_only = head_only && guesses.is_ok_and(|v| (v.major, v.minor) >= (16, 1));
        let name = self
            .ask(repository, "", move |c, s, p| {
                let head = c.head(s, p)?;
                if head_only {
                    return Ok(head);
                }
                let branches: Vec<Vec<u8>> =
                    c.references(s, p)?.into_iter().map(|r| r.name).filter(|n| n.starts_with(b"refs/heads/")).collect();
                let guesses = [head, b"refs/heads/main".to_vec(), b"refs/heads/master".to_vec()];
                let guess = guesses.into_iter().find(|g| branches.contains(g));
                Ok(guess.or_else(|| branches.first().cloned()).unwrap_or_default())
            })
            .await?;
        Ok(Response::new(FindDefaultBranchNameResponse { name }))
    }

    type ListRefsStream = Replies<ListRefsResponse>;

    async fn list_refs(&self, request: Request<ListRefsRequest>) -> Answer<Self::ListRefsStream> {
        let request = request.into_inner();
        if request.repository.is_some() && request.patterns.is_empty() {
            return Err(Status::invalid_argument("patterns must have at least one entry"));
        }
        let repository = request.repository.clone();
        if let Some(r) = &repository {
            self.fleet.world(|w| w.was_read(&self.storage, &r.relative_path));
        }
        let context = if request.head { "resolving HEAD: " } else { "" };
        let listed = self
            .ask(repository, context, move |c, s, p| {
                let mut all = c.references(s, p)?;
                let wanted = |r: &crate::model::Reference| {
                    r.name != b"HEAD"
                        && request.patterns.iter().any(|pattern| matches(pattern, &r.name))
                        && (request.pointing_at_oids.is_empty()
                            || request.pointing_at_oids.iter().any(|oid| *oid == r.target.as_bytes()))
                };
                let head = all.first().filter(|r| request.head && r.name == b"HEAD").cloned();
                all.retain(wanted);
                if request.sort_by.as_ref().is_some_and(|s| s.direction == i32::from(SortDirection::Descending)) {
                    all.reverse();
                }
                let peeled = if request.peel_tags { c.peel(s, p, &all)? } else { vec![String::new(); all.len()] };
                let listed: Vec<list_refs_response::Reference> = all
                    .into_iter()
                    .zip(peeled)
                    .map(|(r, peeled_target)| list_refs_response::Reference {
                        name: r.name,
                        target: r.target,
                        peeled_target,
                    })
                    .collect();
                Ok((head, listed))
            })
            .await?;
        let (head, listed) = listed;
        let mut messages: Vec<ListRefsResponse> =
            listed.chunks(BATCH).map(|batch| ListRefsResponse { references: batch.to_vec() }).collect();
        // HEAD rides on the first message; without a matching reference there is none.
        if let (Some(head), Some(first)) = (head, messages.first_mut()) {
            let head = list_refs_response::Reference { name: head.name, target: head.target, ..Default::default() };
            first.references.insert(0, head);
        }
        Ok(Response::new(stream(messages)))
    }
}

#[tonic::async_trait]
impl commit_service_server::CommitService for Server {
    type CheckObjectsExistStream = Replies<CheckObjectsExistResponse>;

    async fn check_objects_exist(
        &self,
        request: Request<Streaming<CheckObjectsExistRequest>>,
    ) -> Answer<Self::CheckObjectsExistStream> {
        let mut requests = request.into_inner();
        let mut repository = None;
        let mut revisions: Vec<Vec<u8>> = Vec::new();
        while let Some(message) = requests.next().await {
            let message = message?;
            repository = repository.or(message.repository);
            revisions.extend(message.revisions);
        }
        for revision in &revisions {
            let why = match revision.as_slice() {
                [] => "empty revision",
                [b'-', ..] => "revision can't start with '-'",
                r if r.iter().any(u8::is_ascii_whitespace) => "revision can't contain whitespace",
                r if r.contains(&0) => "revision can't contain NUL",
                r if r.contains(&b':') => "revision can't contain ':'",
                _ => continue,
            };
            return Err(Status::invalid_argument(format!("invalid revision: {why}")));
        }
        let asked = revisions.clone();
        let found =
            self.ask(repository, "creating object info reader: ", move |c, s, p| c.objects_exist(s, p, &asked)).await?;
        let existence: Vec<_> = revisions
            .into_iter()
            .zip(found)
            .map(|(name, exists)| check_objects_exist_response::RevisionExistence { name, exists })
            .collect();
        let messages =
            existence.chunks(BATCH).map(|batch| CheckObjectsExistResponse { revisions: batch.to_vec() }).collect();
        Ok(Response::new(stream(messages)))
    }
}

#[tonic::async_trait]
impl object_pool_service_server::ObjectPoolService for Server {
    async fn create_object_pool(&self, request: Request<CreateObjectPoolRequest>) -> Answer<CreateObjectPoolResponse> {
        let CreateObjectPoolRequest { object_pool, origin } = request.into_inner();
        let pool = self.pool(object_pool)?;
        let made = self.ask(origin, "", move |c, s, origin| c.make_pool(s, &pool, origin)).await;
        made.map_err(|status| match status.code() {
            tonic::Code::AlreadyExists => {
                Status::failed_precondition("creating object pool: repository exists already")
            }
            _ => status,
        })?;
        Ok(Response::new(CreateObjectPoolResponse {}))
    }

    async fn link_repository_to_object_pool(
        &self,
        request: Request<LinkRepositoryToObjectPoolRequest>,
    ) -> Answer<LinkRepositoryToObjectPoolResponse> {
        let LinkRepositoryToObjectPoolRequest { object_pool, repository } = request.into_inner();
        let pool = self.pool(object_pool)?;
        self.ask(repository, "", move |c, s, p| c.link(s, p, &pool)).await?;
        Ok(Response::new(LinkRepositoryToObjectPoolResponse {}))
    }

    async fn get_object_pool(&self, request: Request<GetObjectPoolRequest>) -> Answer<GetObjectPoolResponse> {
        let path = self.ask(request.into_inner().repository, "", |c, s, p| c.pool(s, p)).await?;
        let object_pool = path.map(|relative_path| wire::ObjectPool {
            repository: Some(wire::Repository {
                storage_name: self.storage.to_string(),
                relative_path,
                ..Default::default()
            }),
        });
        Ok(Response::new(GetObjectPoolResponse { object_pool }))
    }
}

#[tonic::async_trait]
impl internal_gitaly_server::InternalGitaly for Server {
    type WalkReposStream = Replies<WalkReposResponse>;

    async fn walk_repos(&self, request: Request<WalkReposRequest>) -> Answer<Self::WalkReposStream> {
        let name = request.into_inner().storage_name;
        if name != self.storage.as_str() {
            return Err(Status::not_found(format!("storage name {name:?} not found")));
        }
        let Self { fleet, storage } = self.clone();
        let walked = tokio::task::spawn_blocking(move || fleet.content.walk(&storage)).await;
        let walked =
            walked.map_err(|e| Status::internal(e.to_string()))?.map_err(|e| Status::internal(e.to_string()))?;
        let messages = walked.into_iter().map(|(relative_path, changed)| WalkReposResponse {
            relative_path,
            modification_time: Some(prost_types::Timestamp {
                seconds: changed.as_second(),
                nanos: changed.subsec_nanosecond(),
            }),
        });
        Ok(Response::new(stream(messages.collect())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_checked_as_gitaly_does() {
        let good = "v2.3346cb25ecdb928defd368e7390522a86764bbdf1e8b21aaef27c4c23ec9c899.1535671615";
        let check = |header: &str, now| authenticate(Some(header), "foo", now).err().map(|s| s.code());
        assert_eq!(check(&format!("Bearer {good}"), 1_535_671_640), None);
        assert_eq!(check(&format!("bearer {good}"), 1_535_671_590), None);
        let denied = Some(tonic::Code::PermissionDenied);
        assert_eq!(check(&format!("Bearer {good}"), 1_535_671_655), denied);
        assert_eq!(check(&format!("Bearer {good}"), 1_535_671_575), denied);
        assert_eq!(check(&format!("Bearer {}", good.replace("v2", "v1")), 1_535_671_615), denied);
        assert_eq!(check(&format!("Bearer {}", good.replace("3346", "3347")), 1_535_671_615), denied);
        let unauthenticated = Some(tonic::Code::Unauthenticated);
        for bad in ["", "Bearer", "Bearer foo", "Bearer a.b", "Bearer v2.xyz.1", "Basic v2.00.1"] {
            assert_eq!(check(bad, 1_535_671_615), unauthenticated, "{bad}");
        }
        assert_eq!(authenticate(None, "foo", 0).err().map(|s| s.code()), unauthenticated);
    }

    #[test]
    fn patterns_match_as_in_git() {
        assert!(matches(b"refs/", b"refs/heads/main"));
        assert!(matches(b"refs/heads", b"refs/heads/main"));
        assert!(!matches(b"refs/head", b"refs/heads/main"));
        assert!(matches(b"refs/heads/*", b"refs/heads/main"));
        assert!(!matches(b"refs/*", b"refs/heads/main"));
    }
}
