//! The request of a `KeyPair`, and its validation.
//!
//! [`check`] is an ordered list of small checks. The first refusal is what the cloud API would have answered. It returns all
//! refusals, so that a user can correct everything at once.

mod checks;

use std::sync::Arc;

use self::checks::{client_token, description, missing_name, name, project, source, tags};
use super::{
    digest,
    key::{Algorithm, KeySpec, PublicKey},
    profile::Profile,
    reason::Refusal,
    region::Region,
    rotation::{self, RotationTexts},
    secret::SecretSettings,
    share_with::check_share_with,
};

/// The request parameters as written, with `metadata.name` where it is the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// The profile whose rules apply.
    pub profile: Profile,
    /// The key pair name.
    pub key_pair_name: String,
    /// Whether `spec.keyPairName` is set; otherwise the name is `metadata.name`.
    pub is_named: bool,
    /// The public key to import.
    pub public_key: Option<String>,
    /// What to generate, if set.
    pub generate: Option<Generate>,
    /// The description.
    pub description: Option<String>,
    /// The project; empty: the default project.
    pub project: String,
    /// The tags, as pairs of key and value.
    pub tags: Vec<(String, String)>,
    /// The client token; empty: none.
    pub client_token: String,
    /// The Secret of a generated pair.
    pub secret: SecretSettings,
    /// The rotation of a generated pair, as written.
    pub rotation: Option<RotationTexts>,
    /// The other namespaces whose publications may select the public keys.
    pub share_with: Vec<String>,
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

/// The source of a key pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// This public key is imported.
    Import(PublicKey),
    /// A key pair of this kind is generated.
    Generate(KeySpec),
}

/// Checks everything that depends on the request alone.
///
/// # Errors
///
/// Every refusal, in the order of [`Reason`](super::reason::Reason); never empty.
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
    refusals.extend(rotation::check(parameters).err().into_iter().flatten());
    refusals.extend(project(parameters));
    refusals.extend(check_share_with(&parameters.share_with));
    // A missing public key comes before a malformed name, as in the documents; the sort is stable.
    refusals.sort_by_key(|refusal| refusal.reason);
    match source {
        Ok(source) if refusals.is_empty() => Ok(source),
        _ => Err(refusals),
    }
}

/// Like [`check`], and also checks everything that depends on the namespace. `held` is the name of the Secret that the pair
/// already has.
///
/// # Errors
///
/// As [`check`].
pub fn check_in(region: &Region, parameters: &Parameters, held: Option<&str>) -> Result<Source, Vec<Refusal>> {
    let mut here = region.refusals(&parameters.project);
    let secret = Some(parameters.secret.name.as_str()).filter(|name| !parameters.is_import() && held != Some(*name));
    // Dropped below if `check` refuses the settings of the Secret, too.
    here.extend(secret.and_then(|name| region.reserved(name)));
    match check(parameters) {
        Ok(source) if here.is_empty() => Ok(source),
        Ok(_) => Err(here),
        Err(mut refusals) => {
            // One refusal for each reason: a malformed project is never in the list either.
            let known = |refusal: &Refusal| refusals.iter().any(|known| known.reason == refusal.reason);
            let new: Vec<Refusal> = here.into_iter().filter(|refusal| !known(refusal)).collect();
            refusals.extend(new);
            refusals.sort_by_key(|refusal| refusal.reason);
            Err(refusals)
        }
    }
}

/// A client token, and what is compared with another request that has the same token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenUse {
    /// The digest of the token.
    pub token: Arc<str>,
    /// Whether the request sets a key pair name.
    pub is_named: bool,
    /// The digest of every other request parameter: profile, key, description, project and tags.
    pub digest: [u8; 32],
}

impl TokenUse {
    /// Replaces the digest of a request that could be decoded only in part.
    const UNKNOWN: [u8; 32] = [0; 32];

    /// The use of a client token. `token` and `project` are digests of the two; `digest` is that of every other request
    /// parameter, and empty if these are unknown.
    #[must_use]
    pub fn new(token: &str, is_named: bool, digest: &str, project: &str) -> Self {
        let digest = if digest.is_empty() { Self::UNKNOWN } else { digest::of_parts([digest, project]) };
        Self { token: token.into(), is_named, digest }
    }

    /// Whether the request parameters are known, so that they can be compared.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.digest != Self::UNKNOWN
    }
}

impl Parameters {
    /// The digest, in hex, of every parameter in which two requests with the same client token must agree, except the name
    /// and the project, which depends on the namespace.
    ///
    /// White space around a key, an explicit default and the order of tags do not change the digest.
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

    /// Whether the pair is imported rather than generated.
    #[must_use]
    pub fn is_import(&self) -> bool {
        self.public_key.is_some()
    }
}
