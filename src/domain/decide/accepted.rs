//! What the status records about an accepted pair.

use crate::domain::{
    digest,
    key::{Fingerprints, PublicKey},
    request::Parameters,
    rotation::RotationState,
};

/// What the status records about an accepted pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedKeyPair {
    /// `status.keyPairID`.
    pub id: String,
    /// `status.publicKey`: the normalised OpenSSH line. This and the other texts are empty where the status has no valid value.
    pub public_key: String,
    /// `status.algorithm`.
    pub algorithm: String,
    /// `status.bits`.
    pub bits: u32,
    /// `status.keyPairName`; empty if unknown.
    pub key_pair_name: String,
    /// The request with which the pair was accepted, if it has a client token; `None` if unknown or without a token.
    pub request: Option<AcceptedRequest>,
    /// `status.fingerprint`, in the profile's form.
    pub fingerprint: String,
    /// `status.fingerprints`.
    pub fingerprints: Fingerprints,
    /// `status.secretName`; `None` for an imported pair.
    pub secret_name: Option<String>,
    /// `status.secretVersion`: the resource version at which the Secret last held the right key.
    pub secret_version: Option<String>,
    /// What the status records about rotation.
    pub rotation: RotationState,
}

impl AcceptedKeyPair {
    /// Whether the status records another key than this one. A status that records no key contradicts none.
    pub(super) fn contradicts(&self, key: &PublicKey) -> bool {
        self.fingerprints != Fingerprints::default() && self.fingerprints != key.fingerprints()
    }
}

/// What is compared with other requests that have the same client token: the request as accepted, whatever was edited since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedRequest {
    /// The digest of the client token.
    pub client_token: String,
    /// [`Parameters::digest_without_project`].
    pub digest: String,
    /// The digest of the project as given; empty if none.
    pub project: String,
}

impl AcceptedRequest {
    /// The current request, if it has a client token.
    pub(super) fn of(parameters: &Parameters) -> Option<Self> {
        let Parameters { client_token, project, .. } = parameters;
        (!client_token.is_empty()).then(|| Self {
            client_token: digest::of_text(client_token),
            digest: parameters.digest_without_project(),
            project: digest::of_text(project),
        })
    }
}
