//! What an accepted pair must not have become, as far as its status tells what it was.
//!
//! The rules of the CRD refuse such an edit. An object can be older than they are, come from a backup, or have been stored while they
//! were not there.

use super::Facts;
use crate::domain::{
    digest,
    immutable::ImmutableField,
    key::PublicKey,
    key_pair_id::KeyPairId,
    profile::Profile,
    reason::Refusal,
    region::Region,
    request::{Parameters, Source},
};

/// The refusal of each field that is not what it was when the pair was accepted. Nothing is told of what the status does not say.
pub(super) fn refusals(parameters: &Parameters, recorded: &Facts, region: &Region, source: &Source) -> Vec<Refusal> {
    let known_key = PublicKey::parse(&recorded.public_key).ok();
    let other_profile = known_key.as_ref().is_some_and(|key| is_of_other_profile(parameters, recorded, region, key));
    let other_key = match source {
        // A key that contradicts its fingerprint is not known: the operator goes by the spec then.
        Source::Import(key) => known_key.is_some() && recorded.is_of_another(key),
        Source::Generate(_) => false,
    };
    let other_kind = match (source, &known_key) {
        (Source::Generate(spec), Some(key)) => {
            parameters.generate.is_some() && (key.algorithm(), key.bits()) != (spec.algorithm(), spec.bits())
        }
        _ => false,
    };
    let other_name = !recorded.key_pair_name.is_empty() && recorded.key_pair_name != parameters.key_pair_name;
    let token = digest::of_text(&parameters.client_token);
    let other_token = recorded.request.as_ref().is_some_and(|request| request.client_token != token);
    let fields = [
        (other_profile, ImmutableField::Profile),
        (other_name, ImmutableField::KeyPairName),
        (other_key, ImmutableField::PublicKey),
        (other_kind, ImmutableField::Algorithm),
        (other_token, ImmutableField::ClientToken),
    ];
    let mut refusals: Vec<Refusal> =
        fields.into_iter().filter(|(changed, _)| *changed).map(|(_, field)| field.refusal()).collect();
    refusals.sort_by_key(|refusal| refusal.reason);
    refusals
}

/// Whether the fingerprint is in the form of another profile, and right in that.
fn is_of_other_profile(parameters: &Parameters, recorded: &Facts, region: &Region, key: &PublicKey) -> bool {
    let body = parameters.public_key.as_deref().unwrap_or(&recorded.public_key);
    let Some(id) = KeyPairId::parse(&recorded.id) else { return false };
    let is_form_of = |profile: Profile| {
        profile.fingerprint(key, body, region.effective_project(&parameters.project), &id) == recorded.fingerprint
    };
    !is_form_of(parameters.profile) && Profile::ALL.into_iter().any(is_form_of)
}
