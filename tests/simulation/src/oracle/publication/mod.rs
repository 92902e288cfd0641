//! What AuthorizedKeys and KnownHosts have to publish: a simple model, which shares no code with the operator.

mod ending;
mod model;
mod text;

pub use self::{
    ending::{unpublished, unsettled},
    model::{KINDS, literal_keys, published_keys, selects, target_of, wanted},
    text::keys_in,
};
