//! Why a `KeyPair` is not Ready, and the words in which each cloud API says so.

use std::fmt;

use super::display;

/// Why a `KeyPair` is not Ready: the `reason` of its `Ready` condition, of `status.error`, of its Events and of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A parameter that the API requires is empty.
    MissingParameter,
    /// The key pair name breaks the profile's name rule.
    InvalidKeyPairName,
    /// Another key pair of the namespace has the name.
    KeyPairNameConflict,
    /// The public key, or the kind of key asked for, is not one that the profile takes.
    InvalidPublicKey,
    /// The description breaks its rule.
    InvalidDescription,
    /// A tag breaks the rule of keys or of values.
    InvalidTag,
    /// The client token breaks its rule.
    InvalidClientToken,
    /// The settings of the Secret contradict each other or the key. Kubernetes only: no cloud API has a Secret.
    InvalidSecret,
    /// The namespace holds as many key pairs as its quota allows.
    QuotaExceeded,
    /// The namespace is not a region.
    RegionNotFound,
    /// The project is not one of the namespace's.
    ProjectNotFound,
    /// An older request has the same client token and other parameters.
    IdempotentParameterMismatch,
    /// An older request with the same client token is still under way.
    IdempotentProcessing,
    /// A Secret of that name exists and belongs to somebody else.
    SecretConflict,
    /// The Secret with the private key is gone.
    PrivateKeyLost,
    /// The Secret holds another private key than the one generated.
    PrivateKeyMismatch,
    /// The operator failed in a way that is not the user's to mend.
    InternalError,
}

impl Reason {
    /// Every reason, in the order of the contract's table.
    pub const ALL: [Self; 17] = [
        Self::MissingParameter,
        Self::InvalidKeyPairName,
        Self::KeyPairNameConflict,
        Self::InvalidPublicKey,
        Self::InvalidDescription,
        Self::InvalidTag,
        Self::InvalidClientToken,
        Self::InvalidSecret,
        Self::QuotaExceeded,
        Self::RegionNotFound,
        Self::ProjectNotFound,
        Self::IdempotentParameterMismatch,
        Self::IdempotentProcessing,
        Self::SecretConflict,
        Self::PrivateKeyLost,
        Self::PrivateKeyMismatch,
        Self::InternalError,
    ];

    /// The reason in `CamelCase`, as conditions and Events want it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingParameter => "MissingParameter",
            Self::InvalidKeyPairName => "InvalidKeyPairName",
            Self::KeyPairNameConflict => "KeyPairNameConflict",
            Self::InvalidPublicKey => "InvalidPublicKey",
            Self::InvalidDescription => "InvalidDescription",
            Self::InvalidTag => "InvalidTag",
            Self::InvalidClientToken => "InvalidClientToken",
            Self::InvalidSecret => "InvalidSecret",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::RegionNotFound => "RegionNotFound",
            Self::ProjectNotFound => "ProjectNotFound",
            Self::IdempotentParameterMismatch => "IdempotentParameterMismatch",
            Self::IdempotentProcessing => "IdempotentProcessing",
            Self::SecretConflict => "SecretConflict",
            Self::PrivateKeyLost => "PrivateKeyLost",
            Self::PrivateKeyMismatch => "PrivateKeyMismatch",
            Self::InternalError => "InternalError",
        }
    }

    /// The reason of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// Whether nothing but an edit of the `KeyPair` can help, which kstatus calls stalled.
    ///
    /// The others may pass without one: another key pair is deleted, a namespace labelled, a Secret restored.
    #[must_use]
    pub const fn needs_edit(self) -> bool {
        matches!(
            self,
            Self::MissingParameter
                | Self::InvalidKeyPairName
                | Self::InvalidPublicKey
                | Self::InvalidDescription
                | Self::InvalidTag
                | Self::InvalidClientToken
                | Self::InvalidSecret
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an error is about, by the name that Kubernetes users know; [`ParameterNames`] has the cloud's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Parameter {
    /// `spec.profile`.
    Profile,
    /// `spec.keyPairName`, or `metadata.name` in its place.
    KeyPairName,
    /// `spec.publicKey`.
    PublicKey,
    /// `spec.generate`.
    Generate,
    /// `spec.description`.
    Description,
    /// The keys of `spec.tags`.
    TagKey,
    /// The values of `spec.tags`.
    TagValue,
    /// `spec.clientToken`.
    ClientToken,
    /// `spec.project`.
    Project,
    /// The namespace.
    Region,
    /// The number of key pairs in the namespace.
    Quota,
    /// `spec.secret`, or the Secret itself.
    Secret,
}

impl Parameter {
    /// The field of the `KeyPair` to look at.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Profile => "spec.profile",
            Self::KeyPairName => "spec.keyPairName",
            Self::PublicKey => "spec.publicKey",
            Self::Generate => "spec.generate",
            Self::Description => "spec.description",
            Self::TagKey | Self::TagValue => "spec.tags",
            Self::ClientToken => "spec.clientToken",
            Self::Project => "spec.project",
            Self::Region | Self::Quota => "metadata.namespace",
            Self::Secret => "spec.secret",
        }
    }
}

/// What a cloud API calls the parameters that its messages name.
#[derive(Debug)]
pub struct ParameterNames {
    /// The key pair name.
    pub key_pair_name: &'static str,
    /// The public key body.
    pub public_key: &'static str,
    /// The description.
    pub description: &'static str,
    /// The key of a tag.
    pub tag_key: &'static str,
    /// The value of a tag.
    pub tag_value: &'static str,
    /// The client token.
    pub client_token: &'static str,
    /// The project.
    pub project: &'static str,
    /// The region.
    pub region: &'static str,
    /// The key pairs of a region, as a number.
    pub quota: &'static str,
}

impl ParameterNames {
    /// The cloud's name of `parameter`; what only Kubernetes has keeps its own.
    #[must_use]
    pub const fn get(&self, parameter: Parameter) -> &'static str {
        match parameter {
            Parameter::KeyPairName => self.key_pair_name,
            Parameter::Profile | Parameter::PublicKey | Parameter::Generate => self.public_key,
            Parameter::Description => self.description,
            Parameter::TagKey => self.tag_key,
            Parameter::TagValue => self.tag_value,
            Parameter::ClientToken => self.client_token,
            Parameter::Project => self.project,
            Parameter::Region => self.region,
            Parameter::Quota => self.quota,
            Parameter::Secret => "Secret",
        }
    }
}

/// One row of a profile's table of errors. `{parameter}` in `code` and `message` stands for the cloud's name of the
/// parameter, `{detail}` for what is wrong with this object and what to do.
#[derive(Debug)]
pub struct ErrorRow {
    /// The reason that the row answers.
    pub reason: Reason,
    /// The parameter that the row is for; `None`: any.
    pub parameter: Option<Parameter>,
    /// The cloud's error code; UCloud's is its `RetCode` as text.
    pub code: &'static str,
    /// The cloud's message.
    pub message: &'static str,
    /// The HTTP status.
    pub http_status: u16,
}

impl ErrorRow {
    /// A row for every parameter.
    #[must_use]
    pub const fn new(reason: Reason, http_status: u16, code: &'static str, message: &'static str) -> Self {
        Self { reason, parameter: None, code, message, http_status }
    }

    /// A row for one parameter.
    #[must_use]
    pub const fn of(
        reason: Reason,
        parameter: Parameter,
        http_status: u16,
        code: &'static str,
        message: &'static str,
    ) -> Self {
        Self { reason, parameter: Some(parameter), code, message, http_status }
    }

    /// Whether this row is the one for `refusal`.
    #[must_use]
    pub fn answers(&self, refusal: &Refusal) -> bool {
        self.reason == refusal.reason && self.parameter.is_none_or(|parameter| parameter == refusal.parameter)
    }
}

/// What is wrong with one `KeyPair`: the reason, where, and a sentence that says what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// About what.
    pub parameter: Parameter,
    /// What is wrong here and what to do; never holds a byte of a key, a control character or an invisible one.
    pub detail: String,
}

impl Refusal {
    /// A refusal with its sentence. All that status, Events, webhook and `lint` say goes through here, so this is where
    /// whatever others wrote in it is made safe to show.
    pub fn new(reason: Reason, parameter: Parameter, detail: impl AsRef<str>) -> Self {
        Self { reason, parameter, detail: display::sentence(detail.as_ref()) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.parameter.field(), self.detail)
    }
}

/// What the cloud API would have answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// Why, in the operator's own vocabulary.
    pub reason: Reason,
    /// The cloud's error code.
    pub code: String,
    /// The cloud's message.
    pub message: String,
    /// The HTTP status that the cloud would have answered with.
    pub http_status: u16,
}
