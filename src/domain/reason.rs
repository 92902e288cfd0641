//! Why a `KeyPair` is not Ready, and the types of each cloud API's error table.

mod parameter;

use std::fmt;

pub use self::parameter::{Parameter, ParameterNames};
use super::display;

/// Why a `KeyPair` is not Ready: the `reason` of its `Ready` condition, of `status.error`, of its Events and of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A parameter that the API requires is empty.
    MissingParameter,
    /// The key pair name breaks the profile's name rule.
    InvalidKeyPairName,
    /// Another key pair in the namespace has the name.
    KeyPairNameConflict,
    /// The profile does not accept the public key or the requested kind of key.
    InvalidPublicKey,
    /// The description breaks its rule.
    InvalidDescription,
    /// A tag breaks the rule of tag keys or of tag values.
    InvalidTag,
    /// The client token breaks its rule.
    InvalidClientToken,
    /// The settings of the Secret contradict each other or the key. Specific to Kubernetes: no cloud API has a Secret.
    InvalidSecret,
    /// The settings of the rotation are invalid. Specific to Kubernetes: no cloud API has a rotation.
    InvalidRotation,
    /// The namespace has reached its quota of key pairs.
    QuotaExceeded,
    /// The namespace is not a region.
    RegionNotFound,
    /// The project is not one of those that the namespace lists.
    ProjectNotFound,
    /// An older request has the same client token and other parameters.
    IdempotentParameterMismatch,
    /// An older request with the same client token is still in process.
    IdempotentProcessing,
    /// A Secret of that name exists and does not belong to this `KeyPair`.
    SecretConflict,
    /// The Secret with the private key is gone.
    PrivateKeyLost,
    /// The Secret holds another private key than the one generated.
    PrivateKeyMismatch,
    /// A request for the Secret is refused or keeps failing. An administrator may have to act.
    InternalError,
}

impl Reason {
    /// Every reason, in the order of the reference table.
    pub const ALL: [Self; 18] = [
        Self::MissingParameter,
        Self::InvalidKeyPairName,
        Self::KeyPairNameConflict,
        Self::InvalidPublicKey,
        Self::InvalidDescription,
        Self::InvalidTag,
        Self::InvalidClientToken,
        Self::InvalidSecret,
        Self::InvalidRotation,
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

    /// The reason in `CamelCase`, as conditions and Events require.
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
            Self::InvalidRotation => "InvalidRotation",
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

    /// Whether only an edit of the `KeyPair` can help; kstatus calls that stalled.
    ///
    /// The other causes can go away without one: another key pair is deleted, a namespace labelled, a Secret restored.
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
                | Self::InvalidRotation
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One row of a profile's error table. In `code` and `message`, `{parameter}` is a placeholder for the cloud's name of the parameter,
/// and `{detail}` for what is wrong with this object and what to do.
#[derive(Debug)]
pub struct ErrorRow {
    /// The reason that the row is for.
    pub reason: Reason,
    /// The parameter that the row is for; `None` for any.
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
    /// The reason.
    pub reason: Reason,
    /// The parameter at fault.
    pub parameter: Parameter,
    /// What is wrong and what to do; never contains a byte of a key, a control character or an invisible character.
    pub detail: String,
}

impl Refusal {
    /// A refusal with its message. Every message of status, Events, webhook and `lint` passes through here, so this is where text from
    /// others is made safe to show.
    pub fn new(reason: Reason, parameter: Parameter, detail: impl AsRef<str>) -> Self {
        Self { reason, parameter, detail: display::sentence(detail.as_ref()) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.parameter.field(), self.detail)
    }
}

/// The error that the cloud API would return.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The operator's reason.
    pub reason: Reason,
    /// The cloud's error code.
    pub code: String,
    /// The cloud's message.
    pub message: String,
    /// The HTTP status that the cloud API would return.
    pub http_status: u16,
}
