//! The fields that are immutable once a pair is accepted.
//!
//! Effective values are compared: an explicit default or a final newline is no change. The CEL rules of the CRD are generated
//! from the same table.

use super::{
    key::KeySpec,
    reason::{Parameter, Reason, Refusal},
    request::Parameters,
};

/// An immutable field of the spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImmutableField {
    /// `spec.profile`.
    Profile,
    /// `spec.keyPairName`, or `metadata.name` if it is not set.
    KeyPairName,
    /// `spec.publicKey`, without surrounding white space.
    PublicKey,
    /// `spec.generate.algorithm`.
    Algorithm,
    /// `spec.generate.bits`.
    Bits,
    /// `spec.clientToken`.
    ClientToken,
}

impl ImmutableField {
    /// Every immutable field.
    pub const ALL: [Self; 6] =
        [Self::Profile, Self::KeyPairName, Self::PublicKey, Self::Algorithm, Self::Bits, Self::ClientToken];

    /// The path of the field below `spec`.
    #[must_use]
    pub const fn path(self) -> &'static [&'static str] {
        match self {
            Self::Profile => &["profile"],
            Self::KeyPairName => &["keyPairName"],
            Self::PublicKey => &["publicKey"],
            Self::Algorithm => &["generate", "algorithm"],
            Self::Bits => &["generate", "bits"],
            Self::ClientToken => &["clientToken"],
        }
    }

    /// The reason for which a change is refused, and the parameter.
    #[must_use]
    pub const fn about(self) -> (Reason, Parameter) {
        match self {
            Self::Profile => (Reason::InvalidPublicKey, Parameter::Profile),
            Self::KeyPairName => (Reason::InvalidKeyPairName, Parameter::KeyPairName),
            Self::PublicKey => (Reason::InvalidPublicKey, Parameter::PublicKey),
            Self::Algorithm | Self::Bits => (Reason::InvalidPublicKey, Parameter::Generate),
            Self::ClientToken => (Reason::InvalidClientToken, Parameter::ClientToken),
        }
    }

    /// What is wrong with a change, and what to do instead.
    #[must_use]
    pub fn words(self) -> String {
        let path = self.path().join(".");
        let remedy = if self.may_change_with_rotation() {
            "set rotation to replace the key, or create another KeyPair instead"
        } else {
            "create another KeyPair instead"
        };
        format!("{path} is immutable once the key pair is accepted: {remedy}")
    }

    /// The refusal of a change.
    #[must_use]
    pub fn refusal(self) -> Refusal {
        let (reason, parameter) = self.about();
        Refusal::new(reason, parameter, self.words())
    }

    /// Whether the field may change, because a rotation generates the next key as it says.
    #[must_use]
    pub const fn may_change_with_rotation(self) -> bool {
        matches!(self, Self::Algorithm | Self::Bits)
    }

    fn differs(self, before: &Parameters, after: &Parameters) -> bool {
        if self.may_change_with_rotation() && after.rotation.is_some() {
            return false;
        }
        let generate = |parameters: &Parameters| parameters.generate.unwrap_or_default();
        let bits = |parameters: &Parameters| {
            let generate = generate(parameters);
            let default = || KeySpec::from_parts(generate.algorithm, None).map_or(0, KeySpec::bits);
            generate.bits.unwrap_or_else(default)
        };
        match self {
            Self::Profile => before.profile != after.profile,
            Self::KeyPairName => before.key_pair_name != after.key_pair_name,
            Self::PublicKey => {
                let [before, after] =
                    [before, after].map(|parameters| parameters.public_key.as_deref().unwrap_or_default().trim());
                before != after
            }
            Self::Algorithm => generate(before).algorithm != generate(after).algorithm,
            Self::Bits => bits(before) != bits(after),
            Self::ClientToken => before.client_token != after.client_token,
        }
    }
}

/// The refusals of an update of an accepted pair, one for each immutable field that changes.
#[must_use]
pub fn refusals(before: &Parameters, after: &Parameters) -> Vec<Refusal> {
    let changed = ImmutableField::ALL.into_iter().filter(|field| field.differs(before, after));
    changed.map(ImmutableField::refusal).collect()
}
