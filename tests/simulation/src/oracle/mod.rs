//! The checks of the simulation: guarantees at each change, and the state after the faults have ended.

mod ending;
mod facts;
mod fresh;
mod guarantees;
mod publication;
mod reviews;

pub use self::{
    ending::unsettled,
    facts::ready,
    fresh::{changes_of_a_fresh_operator, differences_from_an_empty_cluster},
    guarantees::Guarantees,
    reviews::wrong_answers,
};
