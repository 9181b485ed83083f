//! Reads one whole list page by page, around what breaks its page: GitLab answers 500 for every page that holds a broken
//! item, for good. The page is divided until the item is found; the rest of the list is read as ever.

use futures::future::BoxFuture;

use crate::apply::port::{Cursor, GitLab, Listing, PortError, PortResult};
use crate::model::{ContainerKind, Repository, StorageName, Unreadable};

/// More broken items than this in one list are no accident of single ones; each costs about 20 requests.
const MOST_BROKEN: usize = 100;
/// No id lies above this one, which every column of GitLab's can hold.
const FAR_ID: u64 = i32::MAX as u64;
/// No list of snippets or groups has so many items.
const FAR_PAGE: u32 = 10_000_000;

/// One list of GitLab's.
pub(super) struct List<'a> {
    pub(super) gitlab: &'a dyn GitLab,
    pub(super) kind: ContainerKind,
    pub(super) storage: &'a StorageName,
}

/// What came, in the order of the list.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) found: Vec<Repository>,
    pub(super) unreadable: Vec<Unreadable>,
    /// Where the list goes on; `None`: it was read to its end.
    pub(super) next: Option<Cursor>,
}

impl List<'_> {
    /// Reads from a place to the end; `take` gets every page as it comes.
    pub(super) async fn read(&self, from: Cursor, take: &mut (dyn FnMut(Page) + Send)) -> PortResult<()> {
        let (mut at, mut broken) = (Cursor { size: Cursor::START.size, ..from }, 0);
        loop {
            let page = match self.page(at).await? {
                Ok(Listing { found, next }) => Page { found, unreadable: Vec::new(), next },
                Err(error) if self.kind == ContainerKind::Project => self.around(at, &error).await?,
                Err(error) => self.divided(at, &error).await?,
            };
            broken += page.unreadable.len();
            if broken > MOST_BROKEN {
                return Err(self.too_many());
            }
            let next = page.next;
            take(page);
            let Some(next) = next else { return Ok(()) };
            at = next;
        }
    }

    /// One page; an inner error is a 500, which one of its items may have caused.
    async fn page(&self, at: Cursor) -> PortResult<Result<Listing, PortError>> {
        match self.gitlab.list(self.kind, self.storage, at).await {
            Ok(page) => Ok(Ok(page)),
            Err(error) if error.status == Some(500) => Ok(Err(error)),
            Err(error) => Err(error),
        }
    }

    /// By id: the longest page that can be read, and the id of what comes behind it.
    async fn around(&self, at: Cursor, error: &PortError) -> PortResult<Page> {
        self.is_one_items_fault(Cursor { after: FAR_ID.max(at.after), size: 1, ..at }, error).await?;
        let (mut well, mut ill, mut found) = (0, at.size, Vec::new());
        while ill - well > 1 {
            let size = well.midpoint(ill);
            match self.page(Cursor { size, ..at }).await? {
                Ok(page) => (well, found) = (size, page.found),
                Err(_) => ill = size,
            }
        }
        let after = found.last().map_or(at.after, |last: &Repository| last.container.id);
        let one = async |after| Ok::<_, PortError>(self.page(Cursor { after, size: 1, ..at }).await?.is_ok());
        if one(after).await? {
            // It has passed.
            return Ok(Page { found, unreadable: Vec::new(), next: Some(Cursor { after, ..at }) });
        }
        let (mut low, mut step) = (after, 1);
        let mut high = loop {
            let high = after.saturating_add(step);
            if one(high).await? {
                break high;
            }
            if high > FAR_ID.max(at.after) {
                return Err(error.clone());
            }
            (low, step) = (high, step.saturating_mul(2));
        };
        while high - low > 1 {
            let middle = low.midpoint(high);
            if one(middle).await? { high = middle } else { low = middle }
        }
        let broken = Unreadable { kind: self.kind, ids: Some((after + 1, high)), place: None, cause: cause(error) };
        Ok(Page { found, unreadable: vec![broken], next: Some(Cursor { after: high, ..at }) })
    }

    /// By place: the page in ever smaller ones.
    async fn divided(&self, at: Cursor, error: &PortError) -> PortResult<Page> {
        self.is_one_items_fault(Cursor { page: FAR_PAGE, size: 1, ..at }, error).await?;
        let mut page = Page::default();
        let ended = self.parts(at, error, &mut page).await?;
        page.next = (!ended).then_some(Cursor { page: at.page.saturating_add(1), ..at });
        Ok(page)
    }

    /// Reads a page that fails in parts; true when the list ends in it.
    fn parts<'f>(&'f self, at: Cursor, error: &'f PortError, into: &'f mut Page) -> BoxFuture<'f, PortResult<bool>> {
        Box::pin(async move {
            // Sizes that divide one another, so that parts cover their page.
            let size = match at.size {
                51.. => 50,
                26..=50 => 25,
                6..=25 => 5,
                _ => 1,
            };
            let parts = at.size / size;
            for part in 1..=parts {
                let at = Cursor { page: (at.page - 1) * parts + part, size, ..at };
                let ended = match self.page(at).await? {
                    Ok(Listing { found, next }) => {
                        into.found.extend(found);
                        next.is_none()
                    }
                    Err(_) if size > 1 => self.parts(at, error, into).await?,
                    Err(_) => {
                        let place = Some(u64::from(at.page));
                        into.unreadable.push(Unreadable { kind: self.kind, ids: None, place, cause: cause(error) });
                        if into.unreadable.len() > MOST_BROKEN / 2 {
                            return Err(self.too_many());
                        }
                        false
                    }
                };
                if ended {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// Looks behind the end of the list: where that fails too, it is not one item.
    async fn is_one_items_fault(&self, behind: Cursor, error: &PortError) -> PortResult<()> {
        match self.gitlab.list(self.kind, self.storage, behind).await {
            Err(also) if also.status == Some(500) => Err(error.clone()),
            // Whatever it is, it is no 500: GitLab refuses far offsets.
            _ => Ok(()),
        }
    }

    fn too_many(&self) -> PortError {
        let what = format!("listing the {} of storage {}", self.kind.plural(), self.storage);
        PortError {
            help: Some("Look in GitLab's log `exceptions_json.log` for what they have in common.".to_owned()),
            ..PortError::new(
                crate::apply::port::PortErrorKind::Transient,
                what,
                format!("GitLab fails to show more than {MOST_BROKEN} of them"),
            )
        }
    }
}

/// What an operator may look for: the answer, not the page that it was given for.
fn cause(error: &PortError) -> String {
    error.message.clone()
}
