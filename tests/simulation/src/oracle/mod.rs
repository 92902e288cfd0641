//! What must be true: at every moment, and when the faults have ended.

mod ending;
mod facts;
mod fresh;
mod promises;
mod reviews;

pub use self::{
    ending::unsettled,
    facts::ready,
    fresh::{changes_of_a_fresh_operator, differences_from_an_empty_cluster},
    promises::Promises,
    reviews::wrong_answers,
};
