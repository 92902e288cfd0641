//! KeyPairs: the rules of the CustomResourceDefinition.
//!
//! The CEL rules are not evaluated. The domain's own checks replace them; `tests/cel` shows that these agree with the rules as a real API
//! server evaluates them.

use keypair_operator::{
    api::{KeyPair, translate},
    domain::{
        display::first_invisible,
        immutable,
        key::{BARE_TOKENS, KeyType, holds_private_key},
        profile::Profile,
        reason::{Parameter, Reason, Refusal},
        request::{self, Parameters},
        rules::{PUBLIC_KEY_MAX_CHARS, SECRET_NAME},
    },
};
use serde_json::Value;

use super::{failure::Mistake, object};

/// The rules that a change of `spec` breaks, as the mistakes in the object.
pub(super) fn mistakes(before: Option<&Value>, after: &Value) -> Vec<Mistake> {
    let mut found = Vec::new();
    let Some(new) = read(after) else { return found };
    let old = before.filter(|before| !object::text(before, "/status/keyPairID").is_empty()).and_then(read);
    let mut refusals = old.map(|old| immutable::refusals(&old, &new)).unwrap_or_default();
    if let Err(broken) = request::check(&new) {
        refusals.extend(broken.into_iter().filter(|refusal| is_rule(refusal, &new)));
    }
    // Where the domain refuses the type of a key, a rule refuses the first word of the line.
    let is_told = refusals.iter().any(|refusal| refusal.parameter == Parameter::PublicKey);
    if !is_told && new.public_key.as_deref().is_some_and(|key| key_breaks_rule(&new, key)) {
        refusals.push(Refusal::new(Reason::InvalidPublicKey, Parameter::PublicKey, "The public key cannot be read."));
    }
    if !refusals.is_empty() {
        // A single rule checks everything. Its message lists what is wrong with each field.
        let words: Vec<String> = refusals.iter().map(|refusal| words(new.profile, refusal)).collect();
        let words = format!("Invalid value: {}", words.join(" "));
        found.push(Mistake { reason: "FieldValueInvalid", field: "spec".to_owned(), words });
    }
    found
}

fn read(object: &Value) -> Option<Parameters> {
    let key_pair: KeyPair = serde_json::from_value(object.clone()).ok()?;
    Some(translate::parameters(&key_pair))
}

fn words(profile: Profile, refusal: &Refusal) -> String {
    let error = profile.error(refusal);
    let (message, detail) = (error.message.trim_end_matches('.'), &refusal.detail);
    format!("{}: {message}. {detail} ({})", error.code, refusal.parameter.field())
}

/// Whether a rule of the CRD refuses the same as the domain. CEL cannot tell whether a key can be parsed.
fn is_rule(refusal: &Refusal, parameters: &Parameters) -> bool {
    // No rule repeats what is wrong with `metadata.name`.
    let takes_name = parameters.secret.name == parameters.key_pair_name && !parameters.is_named;
    if refusal.parameter == Parameter::Secret && takes_name && !SECRET_NAME.allows(&parameters.secret.name) {
        return false;
    }
    let about_key = refusal.reason == Reason::InvalidPublicKey && parameters.is_import();
    !about_key || parameters.public_key.as_deref().is_some_and(|key| key_breaks_rule(parameters, key))
}

/// Whether a public key breaks the CRD's rules: what it must not contain, and how it must begin.
fn key_breaks_rule(parameters: &Parameters, key: &str) -> bool {
    const BLOCKS: [&str; 3] =
        ["---- BEGIN SSH2 PUBLIC KEY ----", "-----BEGIN PUBLIC KEY-----", "-----BEGIN RSA PUBLIC KEY-----"];
    let types = parameters.profile.rules().import_types;
    let allowed = |family: &[KeyType]| family.iter().all(|key_type| types.contains(key_type));
    let bare = BARE_TOKENS.iter().filter(|(_, family)| allowed(family)).map(|(token, _)| *token);
    let mut tokens = types.iter().map(|key_type| key_type.name()).chain(bare);
    let body = key.trim();
    let begins_well = body.is_empty()
        || BLOCKS.iter().any(|block| body.starts_with(block))
        || tokens.any(|token| body.strip_prefix(token).is_some_and(|rest| rest.starts_with([' ', '\t'])));
    !begins_well
        || parameters.generate.is_some()
        || first_invisible(key).is_some()
        || holds_private_key(key)
        || key.chars().count() > PUBLIC_KEY_MAX_CHARS
}
