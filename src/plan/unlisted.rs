//! Says what GitLab's lists did not give: kinds without a list, lists that failed, containers that break their page.

use std::collections::BTreeMap;

use super::preflight::Preflight;
use super::report::Report;
use super::{Level, WaitingOn};
use crate::model::{ContainerKind, Desired, ListFacts, Observed, PathClass, Reading, StorageName, Unlisted, class_of};

/// Reports it for every storage that was, or should have been, listed. `done`: the storage is drained; it may be switched
/// off and gone from GitLab, so that only what is known to be there matters.
pub(super) fn unlisted<'a>(
    desired: &'a Desired,
    observed: &'a Observed,
    done: impl Fn(&StorageName) -> bool,
    preflight: &mut Preflight<'a>,
    report: &mut Report<'a>,
) {
    let mut absent: BTreeMap<(ContainerKind, &str), Vec<&StorageName>> = BTreeMap::new();
    for (name, storage) in &desired.storages {
        let (drains, done) = (storage.drain, done(name));
        let Some(ListFacts { unlisted, unreadable }) = observed.lists.get(name) else {
            if drains && !done {
                for kind in ContainerKind::ALL {
                    report.storage(
                        name,
                        true,
                        WaitingOn::Listing { kind, cause: "it was not asked".to_owned() },
                        0,
                        [],
                    );
                }
            }
            continue;
        };
        for one in unreadable {
            let reason = WaitingOn::Reading { kind: one.kind, cause: one.cause.clone() };
            report.storage(name, drains, reason, 1, [one.to_string()]);
        }
        for (kind, why) in unlisted.iter().filter(|_| !done) {
            match why {
                Unlisted::Failed(cause) => {
                    report.storage(name, drains, WaitingOn::Listing { kind: *kind, cause: cause.clone() }, 0, []);
                }
                Unlisted::Absent(cause) => {
                    let seen = walked(observed, name, *kind);
                    if seen.is_empty() {
                        absent.entry((*kind, cause)).or_default().push(name);
                    } else {
                        let reason = WaitingOn::Listing { kind: *kind, cause: cause.clone() };
                        report.storage(name, drains, reason, seen.len() as u64, seen.into_iter().map(str::to_owned));
                    }
                }
            }
        }
    }
    for ((kind, cause), storages) in absent {
        let names: Vec<&str> = storages.iter().map(|name| name.as_str()).collect();
        let kinds = kind.plural();
        let message = format!(
            "{cause}: what {kinds} there are on {} is not known, and none is moved. That none is left, Gitaly's walk \
             alone tells.",
            names.join(", ")
        );
        let help = "Move them in GitLab's Rails console (\"Moving repositories managed by GitLab\").";
        preflight.add(Level::Notice, "no-list", kinds, message, help);
    }
}

/// The repositories of a kind that Gitaly's walk found.
fn walked<'a>(observed: &'a Observed, storage: &StorageName, kind: ContainerKind) -> Vec<&'a str> {
    let walk = observed.storages.get(storage).and_then(|facts| facts.walk.as_ref());
    let paths = walk.and_then(Reading::known).map_or(&[][..], Vec::as_slice);
    paths.iter().map(String::as_str).filter(|path| class_of(path) == PathClass::Container(kind)).collect()
}
