//! The expected errors, copied by hand from the four cloud documents.

use std::sync::LazyLock;

use keypair_operator::domain::profile::Profile;
use serde_json::{Value, json};

/// The names of all profiles.
pub static PROFILES: LazyLock<[&str; Profile::ALL.len()]> = LazyLock::new(|| Profile::ALL.map(Profile::as_str));

/// The profile with this name. Expectations use `match`, so that the compiler reports a missing profile.
pub fn profile(name: &str) -> Profile {
    Profile::ALL.into_iter().find(|profile| profile.as_str() == name).unwrap_or_else(|| panic!("no profile {name}"))
}

/// The answer of a cloud: code, message and HTTP status.
pub type Answer = (&'static str, &'static str, u16);

/// A mistake, and the answers of Alibaba, Volcengine (and OpenSSH) and UCloud.
struct Row {
    fault: &'static str,
    alibaba: Answer,
    volcengine: Answer,
    ucloud: Answer,
}

const fn row(fault: &'static str, alibaba: Answer, volcengine: Answer, ucloud: Answer) -> Row {
    Row { fault, alibaba, volcengine, ucloud }
}

/// A mistake to which all clouds except UCloud give the same answer.
const fn same(fault: &'static str, answer: Answer, ucloud: Answer) -> Row {
    Row { fault, alibaba: answer, volcengine: answer, ucloud }
}

/// The fault is the reason, followed by a slash and its subject if the answers depend on the subject.
const ROWS: &[Row] = &[
    row(
        "MissingParameter/KeyPairName",
        (
            "MissingParameter",
            "The input parameter “KeyPairName” that is mandatory for processing this request is not supplied.",
            400,
        ),
        ("MissingParameter.KeyPairName", "The required parameter KeyPairName is not supplied.", 400),
        ("220", "Missing params [KeyPairName]", 400),
    ),
    row(
        "MissingParameter/PublicKey",
        (
            "MissingParameter",
            "The input parameter “PublicKeyBody” that is mandatory for processing this request is not supplied.",
            400,
        ),
        ("MissingParameter.PublicKey", "The required parameter PublicKey is not supplied.", 400),
        ("220", "Missing params [PublicKeyBody]", 400),
    ),
    row(
        "InvalidKeyPairName",
        ("InvalidKeyPairName.Malformed", "Specified Key Pair name is not valid.", 400),
        ("InvalidKeyPairName.Malformed", "The specified KeyPairName is malformed.", 400),
        ("230", "Params [KeyPairName] not available", 400),
    ),
    row(
        "KeyPairNameConflict",
        ("InvalidKeyPairName.Malformed", "Specified Key Pair name is not valid.", 400),
        ("InvalidKeyPairName.Conflict", "The specified KeyPairName already exists.", 409),
        ("230", "Params [KeyPairName] not available", 409),
    ),
    row(
        "InvalidPublicKey",
        ("InvalidPublicKeyBody.Malformed", "The PublicKeyBody format is not supported.", 400),
        ("InvalidKeyPairPublicKey.Malformed", "The specified KeyPairPublicKey is malformed.", 400),
        ("230", "Params [PublicKeyBody] not available", 400),
    ),
    same(
        "InvalidDescription",
        ("InvalidKeyPairDescription.Malformed", "The specified KeyPairDescription is malformed.", 400),
        ("230", "Params [Description] not available", 400),
    ),
    same(
        "InvalidTag/Key",
        ("InvalidTagKey.Malformed", "The specified Tag.n.Key is malformed.", 400),
        ("230", "Params [Tag] not available", 400),
    ),
    same(
        "InvalidTag/Value",
        ("InvalidTagValue.Malformed", "The specified Tag.n.Value is malformed.", 400),
        ("230", "Params [Tag] not available", 400),
    ),
    same(
        "InvalidClientToken",
        ("InvalidClientToken.Malformed", "The specified ClientToken is malformed.", 400),
        ("230", "Params [ClientToken] not available", 400),
    ),
    row(
        "QuotaExceeded",
        ("QuotaExceed.KeyPair", "The key pair quota exceeds.", 403),
        (
            "LimitExceeded.MaximumKeyPairs",
            "You've reached the limit on the number of KeyPairs that you can create.",
            400,
        ),
        ("230", "Params [KeyPairs] not available", 400),
    ),
    same(
        "RegionNotFound",
        ("InvalidRegionId.NotFound", "The specified RegionId does not exist.", 404),
        ("230", "Params [Region] not available", 404),
    ),
    same(
        "IdempotentParameterMismatch",
        (
            "IdempotentParameterMismatch",
            "The request uses the same client token as a previous, but non-identical request. Do not reuse a client token with different requests, unless the requests are identical.",
            400,
        ),
        ("230", "Params [ClientToken] not available", 400),
    ),
    same(
        "IdempotentProcessing",
        (
            "IdempotentProcessing",
            "The request uses the same client token as a previous one that is still in process.",
            412,
        ),
        ("230", "Params [ClientToken] not available", 412),
    ),
    same(
        "ProjectNotFound",
        ("InvalidProject.NotFound", "The specified Project does not exist.", 404),
        ("292", "Params [ProjectId] not available", 404),
    ),
    same(
        "InvalidSecret",
        ("InvalidSecret.Malformed", "The specified Secret is malformed.", 400),
        ("230", "Params [Secret] not available", 400),
    ),
    same(
        "InvalidRotation",
        ("InvalidParameter", "The specified parameter Rotation is invalid.", 400),
        ("230", "Params [Rotation] not available", 400),
    ),
];

/// The answer of the cloud of profile `name` to `fault`.
pub fn answer(name: &str, fault: &str) -> Answer {
    let row = ROWS.iter().find(|row| row.fault == fault).unwrap_or_else(|| panic!("no row for {fault}"));
    match profile(name) {
        Profile::Alibaba => row.alibaba,
        Profile::UCloud => row.ucloud,
        Profile::Volcengine | Profile::OpenSSH => row.volcengine,
    }
}

/// The code of an error that the user did not cause.
pub fn internal_error_code(name: &str) -> &'static str {
    match profile(name) {
        Profile::UCloud => "1000",
        Profile::Alibaba | Profile::Volcengine | Profile::OpenSSH => "InternalError",
    }
}

/// Whether the cloud's document offers only RSA.
pub fn generates_only_rsa(name: &str) -> bool {
    match profile(name) {
        Profile::Alibaba => true,
        Profile::UCloud | Profile::Volcengine | Profile::OpenSSH => false,
    }
}

/// Whether the fingerprint covers the project as well.
pub fn hashes_project(name: &str) -> bool {
    match profile(name) {
        Profile::UCloud => true,
        Profile::Alibaba | Profile::Volcengine | Profile::OpenSSH => false,
    }
}

/// The reason of a fault.
pub fn reason(fault: &str) -> &str {
    fault.split('/').next().unwrap_or_default()
}

/// `status.error` for `fault`.
pub fn status_error(profile: &str, fault: &str) -> Value {
    let (code, message, http_status) = answer(profile, fault);
    json!({ "reason": reason(fault), "code": code, "message": message, "httpStatus": http_status })
}

/// Whether only an edit of the KeyPair can resolve the fault.
pub fn needs_edit(fault: &str) -> bool {
    !["KeyPairNameConflict", "QuotaExceeded", "ProjectNotFound"].contains(&reason(fault))
}
