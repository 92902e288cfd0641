//! Checks that the immutable fields of an accepted pair still have the values that its status records.
//!
//! The rules of the CRD refuse such an edit. But an object can be older than the rules, come from a backup, or have been stored while
//! the rules were absent.

use super::AcceptedKeyPair;
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

/// A refusal for each immutable field that has changed since the pair was accepted. Values that the status lacks are not checked.
pub(super) fn refusals(
    parameters: &Parameters,
    recorded: &AcceptedKeyPair,
    region: &Region,
    source: &Source,
) -> Vec<Refusal> {
    let known_key = PublicKey::parse(&recorded.public_key).ok();
    let other_profile = known_key.as_ref().is_some_and(|key| is_of_other_profile(parameters, recorded, region, key));
    let other_key = match source {
        // A recorded key that contradicts its fingerprint counts as unknown: the spec decides.
        Source::Import(key) => known_key.is_some() && recorded.contradicts(key),
        Source::Generate(_) => false,
    };
    let other_kind = match (source, &known_key) {
        (Source::Generate(spec), Some(key)) => {
            parameters.generate.is_some()
                && parameters.rotation.is_none()
                && (key.algorithm(), key.bits()) != (spec.algorithm(), spec.bits())
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

/// Whether the fingerprint is the right one in the form of another profile.
fn is_of_other_profile(parameters: &Parameters, recorded: &AcceptedKeyPair, region: &Region, key: &PublicKey) -> bool {
    let body = parameters.public_key.as_deref().unwrap_or(&recorded.public_key);
    let Some(id) = KeyPairId::parse(&recorded.id) else { return false };
    let is_form_of = |profile: Profile| {
        profile.fingerprint(key, body, region.effective_project(&parameters.project), &id) == recorded.fingerprint
    };
    !is_form_of(parameters.profile) && Profile::ALL.into_iter().any(is_form_of)
}
