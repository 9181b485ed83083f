//! Which repositories must be measured before a plan can be made: those that an assignment takes, and those whose size
//! a `where` asks for. Measuring costs Gitaly a walk through each repository's folder, so nothing else is.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::assign::Claims;
use super::row::RepositoryRow;
use crate::expr::{Field, FieldValue, Row, Truth};
use crate::model::{Container, Desired, Observed};

/// Lists the repositories whose size is not known and matters. Empty where the configuration is at fault: planning says
/// how.
pub fn unmeasured(desired: &Desired, observed: &Observed) -> BTreeSet<Container> {
    let lacking = || observed.repositories.iter().filter(|r| r.size.is_none() && r.empty != Some(true));
    if lacking().next().is_none() {
        return BTreeSet::new();
    }
    let Ok(claims) = Claims::new(desired, observed) else { return BTreeSet::new() };
    let wanted = lacking().filter(|repository| {
        let row = Watched { row: claims.row(repository, &repository.storage), asked: Cell::new(false) };
        let takes = |claimer: &super::assign::Claimer<'_>| match claimer.assignment.filter.test(&row) {
            Ok(Truth::True) => claimer.assignment.to.binary_search(&repository.storage).is_err(),
            _ => false,
        };
        // Every one is asked: which of them wins may depend on the size.
        let taken = claims.of(&repository.storage).iter().filter(|claimer| takes(claimer)).count() > 0;
        taken || row.asked.get()
    });
    wanted.map(|repository| repository.container).collect()
}

/// A row that notes whether the size was asked for.
struct Watched<'a> {
    row: RepositoryRow<'a>,
    asked: Cell<bool>,
}

impl Row for Watched<'_> {
    fn field(&self, field: Field) -> FieldValue<'_> {
        if field == Field::Size {
            self.asked.set(true);
        }
        self.row.field(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::tree::{Binary, Kind, Node, Step, StepKind};
    use crate::expr::{Predicate, Value};
    use crate::plan::fixture::{World, name, span};

    /// `repository.<field> <operator> <number>`.
    fn compare(field: &str, operator: Binary, number: u64) -> Node {
        let node = |kind| Box::new(Node::new(kind, span(0)));
        let step = Step { kind: StepKind::Attribute(field.to_owned()), span: span(0) };
        let left = node(Kind::Path(node(Kind::Name("repository".to_owned())), vec![step]));
        let right = node(Kind::Literal(Value::from(number)));
        Node::new(Kind::Binary(operator, left, right), span(0))
    }

    fn filter(node: &Node) -> Predicate {
        Predicate::compile(node, &std::collections::BTreeMap::<String, Value>::new()).expect("compiles")
    }

    fn asked(world: &World) -> Vec<u64> {
        unmeasured(&world.desired, &world.observed).into_iter().map(|c| c.id).collect()
    }

    #[test]
    fn only_what_an_assignment_takes_or_a_where_asks_for_is_measured() {
        let mut world = World::new(&["old", "new", "other"]);
        world.repositories("old", &[1, 1, 1]);
        world.repositories("other", &[1]);
        for one in &mut world.observed.repositories {
            one.size = None;
        }
        world.observed.repositories[2].empty = Some(true);
        assert_eq!(asked(&world), [0; 0], "no assignment");
        world.assign("some", &["old"], &["new"], 0);
        world.desired.assignments[0].filter = filter(&compare("id", Binary::Equal, 1));
        assert_eq!(asked(&world), [1]);
        world.desired.assignments[0].filter = filter(&compare("size", Binary::Greater, 5));
        assert_eq!(asked(&world), [1, 2], "3 is known to be empty");
        let (id, size) = (compare("id", Binary::Equal, 7), compare("size", Binary::Greater, 5));
        let both = Node::new(Kind::Binary(Binary::And, Box::new(id), Box::new(size)), span(0));
        world.desired.assignments[0].filter = filter(&both);
        assert_eq!(asked(&world), [0; 0], "false whatever the size");
        world.desired.assignments[0].filter = Predicate::always();
        world.desired.assignments[0].to = vec![name("new"), name("old")];
        assert_eq!(asked(&world), [0; 0], "in place");
    }
}
