//! Public keys in PEM (RFC 7468): `SubjectPublicKeyInfo` (RFC 5280 §4.1) and PKCS#1 (RFC 8017
//! §A.1.1).

use der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use der::{Decode as _, ErrorKind};
use spki::SubjectPublicKeyInfoRef;

use super::armor::{self, ArmorError};
use super::blob::{self, ED25519_LENGTH};
use super::curve::Curve;
use super::error::PublicKeyError;

/// RFC 8017 §A.1.
pub(super) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// RFC 8017 §A.2.3.
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
/// RFC 3279 §2.3.2.
const DSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10040.4.1");
/// RFC 5480 §2.1.1.
pub(super) const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// RFC 8410 §3.
pub(super) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The label in the first line of a PEM block, such as `PUBLIC KEY`.
///
/// `None` also if the lines are joined into one, as by a folded YAML scalar.
pub(super) fn label(text: &str) -> Option<&str> {
    text.lines()
        .next()?
        .trim()
        .strip_prefix("-----BEGIN ")?
        .strip_suffix("-----")
        .filter(|label| !label.contains("-----"))
}

/// The base64 lines of a PEM block with this label. `text` must contain nothing else.
pub(super) fn inner_lines<'a>(text: &'a str, label: &str) -> Result<Vec<&'a str>, ArmorError> {
    armor::inner_lines(text, &format!("-----END {label}-----"))
}

/// The key blob of a PEM public key.
pub(super) fn parse(body: &str) -> Result<Vec<u8>, PublicKeyError> {
    let label = label(body).ok_or(PublicKeyError::BrokenArmor)?;
    let convert = match label {
        "PUBLIC KEY" => from_spki,
        "RSA PUBLIC KEY" => from_pkcs1,
        _ => return Err(PublicKeyError::UnsupportedPem),
    };
    let der = armor::decode(&inner_lines(body, label)?)?;
    convert(&der)
}

fn from_spki(der: &[u8]) -> Result<Vec<u8>, PublicKeyError> {
    let info = SubjectPublicKeyInfoRef::from_der(der)?;
    let key = info.subject_public_key.as_bytes().ok_or(PublicKeyError::Malformed)?;
    let parameters = info.algorithm.parameters;
    match info.algorithm.oid {
        RSA if parameters.is_none_or(AnyRef::is_null) => from_pkcs1(key),
        // Parameters would restrict the key to PSS with one hash, and SSH does not use PSS.
        RSA_PSS if parameters.is_none() => from_pkcs1(key),
        DSA => from_dsa(parameters.ok_or(PublicKeyError::Malformed)?, key),
        EC => {
            // Other parameters specify a curve explicitly, and whether such a curve is safe cannot be checked.
            let named = parameters.and_then(|parameters| parameters.decode_as::<ObjectIdentifier>().ok());
            let curve = named.and_then(Curve::from_oid).ok_or(PublicKeyError::UnsupportedCurve)?;
            Ok(blob::ecdsa(curve, key))
        }
        ED25519 if parameters.is_none() && key.len() == ED25519_LENGTH => Ok(blob::ed25519(key)),
        RSA | ED25519 => Err(PublicKeyError::Malformed),
        _ => Err(PublicKeyError::UnsupportedPemAlgorithm),
    }
}

fn from_pkcs1(der: &[u8]) -> Result<Vec<u8>, PublicKeyError> {
    let key = pkcs1::RsaPublicKeyRef::from_der(der)?;
    Ok(blob::rsa(key.public_exponent.as_bytes(), key.modulus.as_bytes()))
}

/// `Dss-Parms` (RFC 3279 §2.3.2) are `SEQUENCE { p, q, g }`; the key is the INTEGER `y`.
fn from_dsa(parameters: AnyRef<'_>, key: &[u8]) -> Result<Vec<u8>, PublicKeyError> {
    let y = UintRef::from_der(key)?;
    let [p, q, g] = parameters.sequence(|reader| {
        let numbers = [UintRef::decode(reader)?, UintRef::decode(reader)?, UintRef::decode(reader)?];
        Ok::<_, der::Error>(numbers)
    })?;
    Ok(blob::dss([p.as_bytes(), q.as_bytes(), g.as_bytes(), y.as_bytes()]))
}

impl From<der::Error> for PublicKeyError {
    fn from(error: der::Error) -> Self {
        match error.kind() {
            ErrorKind::TrailingData { .. } => Self::TrailingBytes,
            _ => Self::Malformed,
        }
    }
}

impl From<ArmorError> for PublicKeyError {
    fn from(error: ArmorError) -> Self {
        match error {
            ArmorError::NoEnd => Self::BrokenArmor,
            ArmorError::SecondBlock => Self::SeveralKeys,
            ArmorError::TextAfterEnd => Self::TextAfterKey,
            ArmorError::NotBase64 => Self::NotBase64,
        }
    }
}
