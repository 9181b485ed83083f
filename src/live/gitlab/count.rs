//! Counts the snippets and group wikis that a storage holds: GitLab has only offset pages for them, and some editions
//! ignore the filter without a word.

use std::collections::BTreeSet;

use super::http::{Call, Http, header};
use super::json::{Item, no_rights};
use crate::apply::port::{PortError, PortErrorKind, PortResult};
use crate::model::StorageName;

/// 100,000 items. A count beyond it is not worth an hour of pages: the caller takes it for unknown.
const MOST_PAGES: u32 = 1000;

/// What a walk through all pages found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tally {
    /// Items whose own field names the storage.
    pub(super) here: u64,
    /// Items that come without the field.
    pub(super) untold: u64,
}

/// Walks all pages and counts the items by their own field, so that a filter that was ignored does no harm. `call` has
/// all parameters but the page.
pub(super) async fn tally(http: &Http, call: &Call, storage: &StorageName) -> PortResult<Tally> {
    // Rows shift between pages while others work: an item may come twice.
    let (mut here, mut untold) = (BTreeSet::new(), BTreeSet::new());
    for page in 1..=MOST_PAGES {
        let call = call.clone().quiet("per_page", "100").with("page", page);
        let (items, headers): (Vec<Item>, _) = http.call_with_headers(&call).await?;
        let full = items.len() >= 100;
        for item in items {
            match item.repository_storage {
                None => _ = untold.insert(item.id),
                Some(Some(name)) if name == storage.as_str() => _ = here.insert(item.id),
                Some(_) => {}
            }
        }
        // `X-Next-Page` is empty on the last page; a proxy may have taken it away.
        let last = header(&headers, "x-next-page").map_or(!full, |next| next.trim().is_empty());
        if last {
            return Ok(Tally { here: here.len() as u64, untold: untold.len() as u64 });
        }
    }
    Err(PortError::new(
        PortErrorKind::Protocol,
        &call.shown,
        format!("more than {} items: too many to count by pages", u64::from(MOST_PAGES) * 100),
    ))
}

/// The count, or the error that says that the fields were not shown.
pub(super) fn settled(call: &Call, tally: Tally) -> PortResult<u64> {
    match tally.untold {
        0 => Ok(tally.here),
        n => Err(no_rights(&call.shown, format!("{n} of the items come without their field `repository_storage`"))),
    }
}
