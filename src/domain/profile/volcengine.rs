//! Volcengine ECS `ImportKeyPair`. Its errors are the neutral ones: the default of every other profile.

use super::{EVERY_ALGORITHM, FingerprintForm, ProfileRules};
use crate::domain::{
    key::KeyType,
    reason::{ErrorRow, Parameter, ParameterNames, Reason},
    text_rule::TextRule,
};

static NAME: TextRule = TextRule::new(
    2,
    64,
    r"[a-zA-Z0-9]+(?:[.-][a-zA-Z0-9]+)*",
    "2 to 64 characters: Latin letters, digits, '-' and '.', beginning and ending with a letter or digit, with no two of '-' and '.' in a row",
);

/// The document's message for an internal error, then what to do about it.
pub(super) const INTERNAL_MESSAGE: &str = "An internal error has occurred. {detail}";

pub(super) const INTERNAL_ERROR: ErrorRow =
    ErrorRow::new(Reason::InternalError, 500, "InternalError", INTERNAL_MESSAGE);

pub(super) static ERRORS: &[ErrorRow] = &[
    ErrorRow::new(
        Reason::MissingParameter,
        400,
        "MissingParameter.{parameter}",
        "The required parameter {parameter} is not supplied.",
    ),
    ErrorRow::new(
        Reason::InvalidKeyPairName,
        400,
        "InvalidKeyPairName.Malformed",
        "The specified KeyPairName is malformed.",
    ),
    ErrorRow::new(
        Reason::KeyPairNameConflict,
        409,
        "InvalidKeyPairName.Conflict",
        "The specified KeyPairName already exists.",
    ),
    ErrorRow::new(
        Reason::InvalidPublicKey,
        400,
        "InvalidKeyPairPublicKey.Malformed",
        "The specified KeyPairPublicKey is malformed.",
    ),
    ErrorRow::new(
        Reason::InvalidDescription,
        400,
        "InvalidKeyPairDescription.Malformed",
        "The specified KeyPairDescription is malformed.",
    ),
    ErrorRow::of(
        Reason::InvalidTag,
        Parameter::TagValue,
        400,
        "InvalidTagValue.Malformed",
        "The specified Tag.n.Value is malformed.",
    ),
    ErrorRow::new(Reason::InvalidTag, 400, "InvalidTagKey.Malformed", "The specified Tag.n.Key is malformed."),
    ErrorRow::new(
        Reason::InvalidClientToken,
        400,
        "InvalidClientToken.Malformed",
        "The specified ClientToken is malformed.",
    ),
    ErrorRow::new(Reason::InvalidSecret, 400, "InvalidSecret.Malformed", "The specified Secret is malformed."),
    ErrorRow::new(Reason::InvalidRotation, 400, "InvalidParameter", "The specified parameter {parameter} is invalid."),
    ErrorRow::new(
        Reason::QuotaExceeded,
        400,
        "LimitExceeded.MaximumKeyPairs",
        "You've reached the limit on the number of KeyPairs that you can create.",
    ),
    ErrorRow::new(Reason::RegionNotFound, 404, "InvalidRegionId.NotFound", "The specified RegionId does not exist."),
    ErrorRow::new(Reason::ProjectNotFound, 404, "InvalidProject.NotFound", "The specified Project does not exist."),
    ErrorRow::new(
        Reason::IdempotentParameterMismatch,
        400,
        "IdempotentParameterMismatch",
        "The request uses the same client token as a previous, but non-identical request. Do not reuse a client token with different requests, unless the requests are identical.",
    ),
    ErrorRow::new(
        Reason::IdempotentProcessing,
        412,
        "IdempotentProcessing",
        "The request uses the same client token as a previous one that is still in process.",
    ),
    ErrorRow::new(Reason::SecretConflict, 500, "InternalError", INTERNAL_MESSAGE),
    ErrorRow::new(Reason::PrivateKeyLost, 500, "InternalError", INTERNAL_MESSAGE),
    ErrorRow::new(Reason::PrivateKeyMismatch, 500, "InternalError", INTERNAL_MESSAGE),
    INTERNAL_ERROR,
];

/// The document's names of the parameters; those of the tags are Alibaba Cloud's.
pub(super) const PARAMETERS: ParameterNames = ParameterNames {
    key_pair_name: "KeyPairName",
    public_key: "PublicKey",
    description: "Description",
    tag_key: "Tag.n.Key",
    tag_value: "Tag.n.Value",
    client_token: "ClientToken",
    project: "ProjectName",
    region: "Region",
    quota: "KeyPairs",
};

pub(super) static RULES: ProfileRules = ProfileRules {
    import_name: &NAME,
    generate_name: &NAME,
    import_types: KeyType::ALL,
    generates: EVERY_ALGORITHM,
    fingerprint: FingerprintForm::Md5Plain,
    parameters: PARAMETERS,
    errors: ERRORS,
};
