//! Typed names and quantities, and the three inputs of a plan: what is desired, what is observed, and the
//! addresses that records stand under. Values only: parsed at the edge, trusted inside.

mod address;
pub mod cluster;
mod desired;
mod fields;
mod metrics;
mod name;
mod observed;
mod path;
mod pod;
pub mod quantity;
mod refs;
mod release;
mod zone;

pub use address::Address;
pub use desired::{
    Assignment, Connection, Desired, DesiredStorage, Endpoint, GitlabConnection, Limits, LiveConnection, Moved, Policy,
    Rollout, SandboxConnection, SandboxFault, SandboxPods, SandboxStorage, Scheme, SecretRef, Wave,
};
pub use fields::PLAN_FIELDS;
pub use metrics::{Answer, Answers, Freshness, GateFacts, Series};
pub use name::{Bytes, Container, ContainerKind, NameError, RepositoryRole, StorageName, Weight};
pub use observed::{
    Cursor, DiskSpace, GitlabFacts, ListFacts, Listed, MoveRecord, MoveState, Observed, PoolFacts, Reading, Repository,
    ServerFacts, StorageFacts, TokenFacts, Unlisted, Unreadable,
};
pub use path::{PathClass, class_of, relative_path};
pub use pod::{
    CgroupSpec, ClusterSettings, DiskSpec, MonitorSpec, NetworkPolicySpec, PodSpec, SecretKey, ServiceKind, ServiceSpec,
};
pub use refs::{RefDifference, RefDigest, RefSnapshot, Reference};
pub use release::{
    Concurrency, Freeze, Gate, Hook, HookEvent, Hours, MetricsQuestion, Profile, PrometheusConnection, Question,
    SourceFsck, Veto, VetoSource, Window,
};
pub use zone::zone;
