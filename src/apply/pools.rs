//! The last member of a fork network leaves its source alone: of two that leave together, neither finds itself the last,
//! and GitLab leaves their object pool behind. Pure.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use crate::model::StorageName;
use crate::plan::PlannedMove;

/// Whether a move may start, for its network's sake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Free,
    /// It is the last, and others have not ended.
    Held,
    /// It is the last, and how another ended is not known.
    InDoubt,
}

#[derive(Debug, Clone, Copy, Default)]
struct Members {
    /// On the source as far as is known, those in flight among them.
    there: usize,
    in_flight: usize,
    in_doubt: usize,
}

/// The networks that leave a source as a whole.
#[derive(Debug, Default)]
pub(crate) struct Pools(BTreeMap<(StorageName, NonZeroU64), Members>);

impl Pools {
    pub(crate) fn new(moves: &[PlannedMove]) -> Self {
        let mut this = Self::default();
        for one in moves {
            if let Some(pool) = one.pool {
                this.0.entry((one.source.clone(), pool)).or_default().there += 1;
            }
        }
        this
    }

    fn of(&mut self, planned: &PlannedMove) -> Option<&mut Members> {
        self.0.get_mut(&(planned.source.clone(), planned.pool?))
    }

    /// Whether a move that has not begun may start.
    pub(crate) fn token(&self, planned: &PlannedMove) -> Token {
        let members = planned.pool.and_then(|pool| self.0.get(&(planned.source.clone(), pool)));
        match members {
            Some(members) if members.there == members.in_flight + members.in_doubt + 1 => {
                match (members.in_flight, members.in_doubt) {
                    (0, 0) => Token::Free,
                    (0, _) => Token::InDoubt,
                    _ => Token::Held,
                }
            }
            _ => Token::Free,
        }
    }

    pub(crate) fn begin(&mut self, planned: &PlannedMove) {
        if let Some(members) = self.of(planned) {
            members.in_flight += 1;
        }
    }

    /// A move has ended; `gone`: it is not on the source any more.
    pub(crate) fn end(&mut self, planned: &PlannedMove, gone: bool) {
        if let Some(members) = self.of(planned) {
            members.in_flight = members.in_flight.saturating_sub(1);
            members.there = members.there.saturating_sub(usize::from(gone));
        }
    }

    /// How a move ended is not known.
    pub(crate) fn doubt(&mut self, planned: &PlannedMove) {
        if let Some(members) = self.of(planned) {
            members.in_flight = members.in_flight.saturating_sub(1);
            members.in_doubt += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Address, Bytes, Container, ContainerKind};

    fn member(id: u64, pool: Option<u64>) -> PlannedMove {
        let name = |text| StorageName::new(text).expect("a name");
        PlannedMove {
            container: Container { kind: ContainerKind::Project, id },
            path: "a/b".into(),
            source: name("old"),
            destination: name("new"),
            assignment: Address::new("assignment", "all"),
            bytes: Bytes(1),
            shared: Bytes(0),
            pool: pool.and_then(NonZeroU64::new),
            empty: false,
        }
    }

    #[test]
    fn of_the_last_two_the_second_waits_for_the_end_of_the_first() {
        let all = [member(1, Some(1)), member(2, Some(1)), member(3, Some(1)), member(4, None)];
        let mut pools = Pools::new(&all);
        assert_eq!(all.each_ref().map(|one| pools.token(one)), [Token::Free; 4]);
        pools.begin(&all[0]);
        assert_eq!(pools.token(&all[1]), Token::Free);
        pools.begin(&all[1]);
        assert_eq!((pools.token(&all[2]), pools.token(&all[3])), (Token::Held, Token::Free));
        pools.end(&all[0], true);
        assert_eq!(pools.token(&all[2]), Token::Held);
        pools.end(&all[1], true);
        assert_eq!(pools.token(&all[2]), Token::Free);
        // One that was set aside stays: then there is no last one.
        let mut pools = Pools::new(&all[..2]);
        pools.begin(&all[0]);
        pools.end(&all[0], false);
        assert_eq!(pools.token(&all[1]), Token::Free);
        let mut pools = Pools::new(&all[..2]);
        pools.begin(&all[0]);
        pools.doubt(&all[0]);
        assert_eq!(pools.token(&all[1]), Token::InDoubt);
    }
}
