//! What a `KeyPair` asks for, and every check that needs nothing but the request itself.
//!
//! [`check`] is an ordered list of small checks. The first refusal is what the cloud API would have answered; all of them
//! together are what a person wants to mend in one go.

use std::sync::Arc;

use super::{
    digest,
    key::{self, Algorithm, KeySpec, KeyType, PublicKey},
    profile::Profile,
    reason::{Parameter, Reason, Refusal},
    region::Region,
    request_summary::RequestSummary,
    rules,
    secret::SecretSettings,
};

/// What a `KeyPair` asks for, as written, with `metadata.name` for everything that defaults to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// Whose rules apply.
    pub profile: Profile,
    /// The key pair name.
    pub key_pair_name: String,
    /// Whether the request gives that name itself, so that it is not `metadata.name`.
    pub is_named: bool,
    /// The public key to import.
    pub public_key: Option<String>,
    /// What to generate, where it is said.
    pub generate: Option<Generate>,
    /// A description for people.
    pub description: Option<String>,
    /// The project; empty: the default one.
    pub project: String,
    /// Tags as key and value.
    pub tags: Vec<(String, String)>,
    /// The client token; empty: none.
    pub client_token: String,
    /// The Secret of a generated pair.
    pub secret: SecretSettings,
}

/// The kind of key pair to generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generate {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The size in bits; `None`: the algorithm's default.
    pub bits: Option<u32>,
}

impl Default for Generate {
    fn default() -> Self {
        Self { algorithm: Algorithm::Rsa, bits: None }
    }
}

/// Where the key pair of a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The public key was given.
    Import(PublicKey),
    /// The key pair is to be generated.
    Generate(KeySpec),
}

/// Checks everything that can be known from the request alone.
///
/// # Errors
///
/// Everything that is wrong, in the order of the contract's table of reasons; never empty.
pub fn check(parameters: &Parameters) -> Result<Source, Vec<Refusal>> {
    let source = source(parameters);
    let mut refusals: Vec<Refusal> = [missing_name(parameters), name(parameters)].into_iter().flatten().collect();
    if let Err(refusal) = &source {
        refusals.push(refusal.clone());
    }
    refusals.extend(description(parameters));
    refusals.extend(tags(parameters));
    refusals.extend(client_token(parameters));
    if let Ok(Source::Generate(spec)) = &source {
        refusals.extend(parameters.secret.refusals(spec.algorithm()));
    }
    refusals.extend(parameters.secret.size_refusal());
    refusals.extend(project(parameters));
    // A missing public key comes before a malformed name, as in the documents; the sort is stable.
    refusals.sort_by_key(|refusal| refusal.reason);
    match source {
        Ok(source) if refusals.is_empty() => Ok(source),
        _ => Err(refusals),
    }
}

/// The same, and everything that depends on the namespace. `held` is the name of the Secret that the pair has already.
///
/// # Errors
///
/// As [`check`].
pub fn check_in(region: &Region, parameters: &Parameters, held: Option<&str>) -> Result<Source, Vec<Refusal>> {
    let mut here = region.refusals(&parameters.project);
    let secret = Some(parameters.secret.name.as_str()).filter(|name| !parameters.is_import() && held != Some(*name));
    // `check` has said so already if the settings of the Secret are wrong by themselves, too.
    here.extend(secret.and_then(|name| region.reserved(name)));
    match check(parameters) {
        Ok(source) if here.is_empty() => Ok(source),
        Ok(_) => Err(here),
        Err(mut refusals) => {
            // A malformed project is in no list either: once is enough.
            let known = |refusal: &Refusal| refusals.iter().any(|known| known.reason == refusal.reason);
            let new: Vec<Refusal> = here.into_iter().filter(|refusal| !known(refusal)).collect();
            refusals.extend(new);
            refusals.sort_by_key(|refusal| refusal.reason);
            Err(refusals)
        }
    }
}

/// A client token, and what is compared with another request that has the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenUse {
    /// The digest of the token.
    pub token: Arc<str>,
    /// Whether the request gives a key pair name.
    pub is_named: bool,
    /// The digest of every other request parameter: profile, key, description, project and tags.
    pub digest: [u8; 32],
}

impl TokenUse {
    /// Stands for the digest of what is not known, since its object could be read in part only.
    const UNKNOWN: [u8; 32] = [0; 32];

    /// The use of the token with this digest by a request of the project with this digest, of which everything else is in `digest`; empty:
    /// that is not known.
    #[must_use]
    pub fn new(token: &str, is_named: bool, digest: &str, project: &str) -> Self {
        let digest = if digest.is_empty() { Self::UNKNOWN } else { digest::of_parts([digest, project]) };
        Self { token: token.into(), is_named, digest }
    }

    /// Whether it can be compared with another.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.digest != Self::UNKNOWN
    }
}

impl Parameters {
    /// The client token, if there is one, and what is compared with another request that has it.
    #[must_use]
    pub fn token_use(&self, region: &Region) -> Option<TokenUse> {
        RequestSummary::of(self).token_use(region)
    }

    /// The digest, in hex, of every parameter that two requests with one client token must have in common, but for the name
    /// and the project, which depends on the namespace.
    ///
    /// What means the same is the same: white space around a key, a default that is written out, the order of tags.
    #[must_use]
    pub fn digest_without_project(&self) -> String {
        let generate = self.generate.unwrap_or_default();
        let spec = KeySpec::from_parts(generate.algorithm, generate.bits);
        let key = match &self.public_key {
            Some(body) => format!("import {}", body.trim()),
            None => format!("generate {} {}", generate.algorithm, spec.map_or(0, KeySpec::bits)),
        };
        let mut tags: Vec<&(String, String)> = self.tags.iter().collect();
        tags.sort_unstable();
        let fixed = [self.profile.as_str(), &key, self.description.as_deref().unwrap_or_default()];
        let tags = tags.into_iter().flat_map(|(key, value)| [key.as_str(), value.as_str()]);
        digest::hex(&digest::of_parts(fixed.into_iter().chain(tags)))
    }

    /// Whether the pair is imported; otherwise it is generated.
    #[must_use]
    pub fn is_import(&self) -> bool {
        self.public_key.is_some()
    }
}

fn missing_name(parameters: &Parameters) -> Option<Refusal> {
    parameters.key_pair_name.is_empty().then(|| {
        Refusal::new(
            Reason::MissingParameter,
            Parameter::KeyPairName,
            "is empty: give a name, or leave the field out to use metadata.name",
        )
    })
}

fn name(parameters: &Parameters) -> Option<Refusal> {
    let rules = parameters.profile.rules();
    let rule = if parameters.is_import() { rules.import_name } else { rules.generate_name };
    let name = &parameters.key_pair_name;
    let invalid = |detail| Refusal::new(Reason::InvalidKeyPairName, Parameter::KeyPairName, detail);
    if !name.is_empty() && !rule.allows(name) {
        return Some(invalid(format!("the name must be {} (profile {})", rule.words, parameters.profile)));
    }
    // The base64 of a short key fits into a name, which status and log repeat.
    key::holds_private_key(name).then(|| invalid("this is a private key: give a name, and replace the key".to_owned()))
}

fn source(parameters: &Parameters) -> Result<Source, Refusal> {
    match (&parameters.public_key, parameters.generate) {
        (Some(_), Some(_)) => Err(Refusal::new(
            Reason::InvalidPublicKey,
            Parameter::PublicKey,
            "publicKey and generate exclude each other: give a public key to import it, or leave it out to have a pair generated",
        )),
        (Some(body), None) => import(parameters.profile, body).map(Source::Import),
        (None, generate) => generation(parameters.profile, generate.unwrap_or_default()).map(Source::Generate),
    }
}

fn import(profile: Profile, body: &str) -> Result<PublicKey, Refusal> {
    let invalid = |detail: String| Refusal::new(Reason::InvalidPublicKey, Parameter::PublicKey, detail);
    if body.trim().is_empty() {
        return Err(Refusal::new(
            Reason::MissingParameter,
            Parameter::PublicKey,
            "is empty: give a public key, or leave the field out to have a pair generated",
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
            "profile {profile} takes no key of type {}: it takes {}",
            key.key_type().name(),
            accepted.iter().copied().map(KeyType::name).collect::<Vec<_>>().join(", "),
        )))
    }
}

fn generation(profile: Profile, generate: Generate) -> Result<KeySpec, Refusal> {
    let invalid = |detail: String| Refusal::new(Reason::InvalidPublicKey, Parameter::Generate, detail);
    let offered = profile.rules().generates;
    if !offered.contains(&generate.algorithm) {
        return Err(invalid(format!(
            "profile {profile} generates {} keys only",
            offered.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(", "),
        )));
    }
    KeySpec::from_parts(generate.algorithm, generate.bits).ok_or_else(|| {
        let sizes = KeySpec::ALL
            .iter()
            .filter(|spec| spec.algorithm() == generate.algorithm)
            .map(|spec| spec.bits().to_string())
            .collect::<Vec<_>>();
        invalid(format!("bits of a {} key must be {}", generate.algorithm, sizes.join(", ")))
    })
}

fn description(parameters: &Parameters) -> Option<Refusal> {
    let description = parameters.description.as_ref()?;
    (!rules::DESCRIPTION.allows(description)).then(|| {
        Refusal::new(
            Reason::InvalidDescription,
            Parameter::Description,
            format!("must be {}", rules::DESCRIPTION.words),
        )
    })
}

fn tags(parameters: &Parameters) -> Vec<Refusal> {
    let tags = &parameters.tags;
    let refuse = |parameter, detail: String| Refusal::new(Reason::InvalidTag, parameter, detail);
    let mut refusals = Vec::new();
    if tags.len() > rules::MAX_TAGS {
        // There may be hundreds of thousands, before the schema has been looked at.
        return vec![refuse(Parameter::TagKey, format!("there may be at most {} tags", rules::MAX_TAGS))];
    }
    for (index, (key, value)) in tags.iter().enumerate() {
        if !rules::TAG_KEY.allows(key) {
            refusals.push(refuse(Parameter::TagKey, format!("[{index}].key must be {}", rules::TAG_KEY.words)));
        }
        if !rules::TAG_VALUE.allows(value) {
            refusals.push(refuse(Parameter::TagValue, format!("[{index}].value must be {}", rules::TAG_VALUE.words)));
        }
        if tags.iter().take(index).any(|(earlier, _)| earlier == key) {
            refusals.push(refuse(Parameter::TagKey, format!("[{index}].key stands in an earlier tag already")));
        }
    }
    refusals
}

fn client_token(parameters: &Parameters) -> Option<Refusal> {
    (!rules::CLIENT_TOKEN.allows(&parameters.client_token)).then(|| {
        Refusal::new(
            Reason::InvalidClientToken,
            Parameter::ClientToken,
            format!("must be {}", rules::CLIENT_TOKEN.words),
        )
    })
}

fn project(parameters: &Parameters) -> Option<Refusal> {
    // A name that no project can have is a project that does not exist: the documents have no code of its own for it.
    (!rules::PROJECT.allows(&parameters.project)).then(|| {
        Refusal::new(
            Reason::ProjectNotFound,
            Parameter::Project,
            format!("no project can have this name: it must be {}", rules::PROJECT.words),
        )
    })
}
