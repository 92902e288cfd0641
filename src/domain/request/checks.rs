//! The checks of the parts of a request.

use super::{Generate, Parameters, Source};
use crate::domain::{
    key::{self, KeySpec, KeyType, PublicKey},
    profile::Profile,
    reason::{Parameter, Reason, Refusal},
    rules,
};

pub(super) fn missing_name(parameters: &Parameters) -> Option<Refusal> {
    parameters.key_pair_name.is_empty().then(|| {
        Refusal::new(
            Reason::MissingParameter,
            Parameter::KeyPairName,
            "is empty: set a name, or omit the field to use metadata.name",
        )
    })
}

pub(super) fn name(parameters: &Parameters) -> Option<Refusal> {
    let rules = parameters.profile.rules();
    let rule = if parameters.is_import() { rules.import_name } else { rules.generate_name };
    let name = &parameters.key_pair_name;
    let invalid = |detail| Refusal::new(Reason::InvalidKeyPairName, Parameter::KeyPairName, detail);
    if !name.is_empty() && !rule.allows(name) {
        return Some(invalid(format!("the name must be {} (profile {})", rule.words, parameters.profile)));
    }
    // The base64 of a short key fits into a name, and status and log repeat the name.
    key::holds_private_key(name)
        .then(|| invalid("this is a private key: set a name, and replace the exposed key".to_owned()))
}

pub(super) fn source(parameters: &Parameters) -> Result<Source, Refusal> {
    match (&parameters.public_key, parameters.generate) {
        (Some(_), Some(_)) => Err(Refusal::new(
            Reason::InvalidPublicKey,
            Parameter::PublicKey,
            "publicKey and generate are mutually exclusive: set publicKey to import a key, or omit it to generate a key pair",
        )),
        (Some(body), None) => import(parameters.profile, body).map(Source::Import),
        (None, generate) => generation(parameters.profile, generate.unwrap_or_default()).map(Source::Generate),
    }
}

pub(super) fn import(profile: Profile, body: &str) -> Result<PublicKey, Refusal> {
    let invalid = |detail: String| Refusal::new(Reason::InvalidPublicKey, Parameter::PublicKey, detail);
    if body.trim().is_empty() {
        return Err(Refusal::new(
            Reason::MissingParameter,
            Parameter::PublicKey,
            "is empty: set a public key, or omit the field to generate a key pair",
        ));
    }
    if body.chars().count() > rules::PUBLIC_KEY_MAX_CHARS {
        return Err(invalid(format!("must be at most {} characters", rules::PUBLIC_KEY_MAX_CHARS)));
    }
    let key = PublicKey::parse(body).map_err(|error| invalid(error.to_string()))?;
    let accepted = profile.rules().import_types;
    if accepted.contains(&key.key_type()) {
        Ok(key)
    } else {
        Err(invalid(format!(
            "profile {profile} does not accept a key of type {}: use one of {}",
            key.key_type().name(),
            accepted.iter().copied().map(KeyType::name).collect::<Vec<_>>().join(", "),
        )))
    }
}

pub(super) fn generation(profile: Profile, generate: Generate) -> Result<KeySpec, Refusal> {
    let invalid = |detail: String| Refusal::new(Reason::InvalidPublicKey, Parameter::Generate, detail);
    let offered = profile.rules().generates;
    if !offered.contains(&generate.algorithm) {
        return Err(invalid(format!(
            "profile {profile} generates only {} keys",
            offered.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(", "),
        )));
    }
    KeySpec::from_parts(generate.algorithm, generate.bits).ok_or_else(|| {
        let sizes = KeySpec::ALL
            .iter()
            .filter(|spec| spec.algorithm() == generate.algorithm)
            .map(|spec| spec.bits().to_string())
            .collect::<Vec<_>>();
        invalid(format!("the size of an {} key in bits must be one of: {}", generate.algorithm, sizes.join(", ")))
    })
}

pub(super) fn description(parameters: &Parameters) -> Option<Refusal> {
    let description = parameters.description.as_ref()?;
    (!rules::DESCRIPTION.allows(description)).then(|| {
        Refusal::new(
            Reason::InvalidDescription,
            Parameter::Description,
            format!("must be {}", rules::DESCRIPTION.words),
        )
    })
}

pub(super) fn tags(parameters: &Parameters) -> Vec<Refusal> {
    let tags = &parameters.tags;
    let refuse = |parameter, detail: String| Refusal::new(Reason::InvalidTag, parameter, detail);
    let mut refusals = Vec::new();
    if tags.len() > rules::MAX_TAGS {
        // Before schema validation there may be hundreds of thousands.
        return vec![refuse(Parameter::TagKey, format!("at most {} tags are allowed", rules::MAX_TAGS))];
    }
    for (index, (key, value)) in tags.iter().enumerate() {
        if !rules::TAG_KEY.allows(key) {
            refusals.push(refuse(Parameter::TagKey, format!("[{index}].key must be {}", rules::TAG_KEY.words)));
        }
        if !rules::TAG_VALUE.allows(value) {
            refusals.push(refuse(Parameter::TagValue, format!("[{index}].value must be {}", rules::TAG_VALUE.words)));
        }
        if tags.iter().take(index).any(|(earlier, _)| earlier == key) {
            refusals.push(refuse(Parameter::TagKey, format!("[{index}].key is a duplicate tag key")));
        }
    }
    refusals
}

pub(super) fn client_token(parameters: &Parameters) -> Option<Refusal> {
    (!rules::CLIENT_TOKEN.allows(&parameters.client_token)).then(|| {
        Refusal::new(
            Reason::InvalidClientToken,
            Parameter::ClientToken,
            format!("must be {}", rules::CLIENT_TOKEN.words),
        )
    })
}

pub(super) fn project(parameters: &Parameters) -> Option<Refusal> {
    // The documents have no code for a malformed project name, so it counts as a project that does not exist.
    (!rules::PROJECT.allows(&parameters.project)).then(|| {
        Refusal::new(
            Reason::ProjectNotFound,
            Parameter::Project,
            format!("the project name must be {}", rules::PROJECT.words),
        )
    })
}
