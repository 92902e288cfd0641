//! What the ledger needs of a request, in bounded size.

use serde::{Deserialize, Serialize};

use super::{
    digest,
    region::{OWN_PREFIX_MAX, Region},
    request::{self, Parameters, TokenUse},
};

/// The longest name in bytes that is kept as it is. The ledger compares names and never shows them, so the digest of a longer
/// name is enough.
const MAX_NAME_BYTES: usize = 64;

/// A request as the ledger sees it, independent of its namespace: see [`Self::is_valid_in`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestSummary {
    is_valid: bool,
    key_pair_name: String,
    project: String,
    /// The beginning of the name of the Secret of a generated pair; `None`: the pair is imported.
    secret: Option<String>,
    token: Option<TokenSummary>,
}

/// A client token, and what is compared with another request that has the same token, except the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct TokenSummary {
    /// The digest of the token.
    token: String,
    is_named: bool,
    digest: String,
    /// The digest of the project with which the pair was accepted; `None`: the requested project applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    project: Option<String>,
}

impl Parameters {
    /// The use of the client token, if there is one.
    #[must_use]
    pub fn token_use(&self, region: &Region) -> Option<TokenUse> {
        RequestSummary::of(self).token_use(region)
    }
}

impl RequestSummary {
    /// The summary of a request.
    #[must_use]
    pub fn of(parameters: &Parameters) -> Self {
        let is_valid = request::check(parameters).is_ok();
        let token = (!parameters.client_token.is_empty()).then(|| TokenSummary {
            token: digest::of_text(&parameters.client_token),
            is_named: parameters.is_named,
            digest: parameters.digest_without_project(),
            project: None,
        });
        Self {
            is_valid,
            key_pair_name: bounded(&parameters.key_pair_name),
            project: bounded(&parameters.project),
            secret: (!parameters.is_import()).then(|| name_prefix(&parameters.secret.name)),
            token,
        }
    }

    /// The summary of an accepted pair, which later edits of its spec do not change.
    ///
    /// `key_pair_name` is the name with which it was accepted, if known. `request` has the digests of its client token, of
    /// the other parameters ([`Parameters::digest_without_project`]) and of its project.
    #[must_use]
    pub fn accepted_as(mut self, key_pair_name: Option<&str>, request: Option<[&str; 3]>) -> Self {
        if let Some(name) = key_pair_name {
            self.key_pair_name = bounded(name);
        }
        if let Some([token, digest, project]) = request {
            let is_named = self.token.as_ref().is_some_and(|token| token.is_named);
            self.token = Some(TokenSummary {
                token: token.to_owned(),
                is_named,
                digest: digest.to_owned(),
                project: Some(project.to_owned()),
            });
        }
        self
    }

    /// The summary of a `KeyPair` that could be decoded only in part, and so does not count as valid. `is_comparable`: the
    /// digest of its parameters is known.
    #[must_use]
    pub fn into_partial(self, is_comparable: bool) -> Self {
        let token = self
            .token
            .map(|token| TokenSummary { digest: if is_comparable { token.digest } else { String::new() }, ..token });
        Self { is_valid: false, token, ..self }
    }

    /// Whether the request is valid in this namespace.
    #[must_use]
    pub fn is_valid_in(&self, region: &Region) -> bool {
        let secret = self.secret.as_deref().and_then(|name| region.reserved(name));
        self.is_valid && secret.is_none() && region.refusals(&self.project).is_empty()
    }

    /// The key pair name, or the digest of a long one.
    #[must_use]
    pub fn key_pair_name(&self) -> &str {
        &self.key_pair_name
    }

    /// The use of the client token, if there is one.
    #[must_use]
    pub fn token_use(&self, region: &Region) -> Option<TokenUse> {
        let TokenSummary { token, is_named, digest: compared, project } = self.token.as_ref()?;
        let project = match project.as_deref() {
            Some("") => digest::of_text(region.effective_project("")),
            Some(accepted) => accepted.to_owned(),
            None => digest::of_text(region.effective_project(&self.project)),
        };
        Some(TokenUse::new(token, *is_named, compared, &project))
    }
}

/// `text`, or its digest if it is long. The digest never equals a valid name, project or token.
fn bounded(text: &str) -> String {
    if text.len() <= MAX_NAME_BYTES { text.to_owned() } else { format!("\0{}", digest::hex(&digest::of_parts([text]))) }
}

/// The part of a Secret's name that decides whether the name is reserved for the operator.
fn name_prefix(name: &str) -> String {
    name.chars().take(OWN_PREFIX_MAX + 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{profile::Profile, secret::SecretSettings};

    fn parameters(name: &str) -> Parameters {
        Parameters {
            profile: Profile::UCloud,
            key_pair_name: name.to_owned(),
            is_named: true,
            public_key: None,
            generate: None,
            description: None,
            project: String::new(),
            tags: Vec::new(),
            client_token: String::new(),
            secret: SecretSettings::named("web".to_owned()),
            rotation: None,
            share_with: Vec::new(),
        }
    }

    #[test]
    fn a_summary_is_as_valid_as_its_request() {
        let region = Region::with_quota(1);
        for (name, project) in [("web", ""), ("", ""), ("a b", ""), ("web", "a/b"), ("web", "shop")] {
            let parameters = Parameters { project: project.to_owned(), ..parameters(name) };
            let own = |prefix: &str| Region { own_prefix: prefix.to_owned(), ..region.clone() };
            for region in [&region, &Region { exists: false, ..region.clone() }, &own("web"), &own("we")] {
                let is_valid = request::check_in(region, &parameters, None).is_ok();
                assert_eq!(RequestSummary::of(&parameters).is_valid_in(region), is_valid, "{name:?} {project:?}");
            }
        }
    }

    #[test]
    fn size_is_bounded_and_long_names_still_differ() {
        let long = |last: char| {
            let text: String = std::iter::repeat_n('n', 1_000_000).chain([last]).collect();
            let long = Parameters { project: text.clone(), client_token: text.clone(), ..parameters(&text) };
            RequestSummary::of(&Parameters { description: Some(text), ..long })
        };
        let (one, other) = (long('a'), long('b'));
        assert_ne!(one.key_pair_name(), other.key_pair_name());
        assert_ne!(one.token, other.token);
        assert!(serde_json::to_string(&one).unwrap().len() < 512);
    }
}
