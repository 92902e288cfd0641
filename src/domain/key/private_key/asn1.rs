//! Private keys in DER: PKCS#8 (RFC 5208, RFC 5958), PKCS#1 (RFC 8017 §A.1.2), SEC 1 (RFC 5915),
//! Ed25519 (RFC 8410 §7).

use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use der::{Decode as _, Encode};
use pkcs1::RsaPrivateKeyRef;
use pkcs8::PrivateKeyInfoRef;
use sec1::{EcParameters, EcPrivateKey};
use spki::AlgorithmIdentifierRef;
use zeroize::Zeroizing;

use super::super::curve::Curve;
use super::super::pem::{EC, ED25519, RSA};
use super::super::wire::Reader;
use super::error::PrivateKeyError;
use super::material::Material;

/// Reads a PKCS#8 document, v1 or v2.
pub(super) fn read_pkcs8(der: &[u8]) -> Result<Material<'_>, PrivateKeyError> {
    let info = PrivateKeyInfoRef::from_der(der)?;
    let key = info.private_key.as_bytes();
    let parameters = info.algorithm.parameters;
    let public = info.public_key.map(|bits| bits.as_bytes().ok_or(PrivateKeyError::Malformed)).transpose()?;
    match info.algorithm.oid {
        RSA if parameters.is_none_or(AnyRef::is_null) => read_pkcs1(key),
        EC => {
            let named = parameters.and_then(|parameters| parameters.decode_as::<ObjectIdentifier>().ok());
            let curve = named.and_then(Curve::from_oid).ok_or(PrivateKeyError::UnsupportedCurve)?;
            read_sec1(key, Some(curve))
        }
        ED25519 if parameters.is_none() => {
            let seed = <&OctetStringRef>::from_der(key)?.as_bytes();
            Ok(Material::Ed25519 { seed, public })
        }
        RSA | ED25519 => Err(PrivateKeyError::Malformed),
        _ => Err(PrivateKeyError::UnsupportedAlgorithm),
    }
}

/// Reads an `RSAPrivateKey`.
pub(super) fn read_pkcs1(der: &[u8]) -> Result<Material<'_>, PrivateKeyError> {
    Ok(Material::Rsa(RsaPrivateKeyRef::from_der(der)?))
}

/// Reads an `ECPrivateKey`. The curve is named inside it, outside as in PKCS#8, or in both places alike.
pub(super) fn read_sec1(der: &[u8], outer: Option<Curve>) -> Result<Material<'_>, PrivateKeyError> {
    let key = EcPrivateKey::from_der(der)?;
    let inner = match key.parameters.and_then(EcParameters::named_curve) {
        Some(oid) => Some(Curve::from_oid(oid).ok_or(PrivateKeyError::UnsupportedCurve)?),
        None => None,
    };
    let curve = inner.or(outer).ok_or(PrivateKeyError::UnsupportedCurve)?;
    if outer.is_some_and(|outer| outer != curve) {
        return Err(PrivateKeyError::Inconsistent);
    }
    if key.private_key.len() != curve.field_length() {
        return Err(PrivateKeyError::Malformed);
    }
    Ok(Material::Ecdsa { curve, scalar: key.private_key, point: key.public_key })
}

/// Writes a PKCS#8 document of version 1, with nothing optional in it.
///
/// Version 2 could hold an Ed25519 public key, but OpenSSL 3.0 does not read it.
pub(super) fn write_pkcs8(material: &Material<'_>, public_blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
    let curve_oid;
    let (oid, parameters, key) = match material {
        Material::Rsa(_) => (RSA, Some(AnyRef::NULL), write_pkcs1(material)?),
        Material::Ecdsa { curve, scalar, .. } => {
            curve_oid = curve.oid();
            let point = ecdsa_point(public_blob)?;
            let key = to_der(&EcPrivateKey { private_key: scalar, parameters: None, public_key: Some(point) })?;
            (EC, Some(AnyRef::from(&curve_oid)), key)
        }
        Material::Ed25519 { seed, .. } => (ED25519, None, to_der(&OctetStringRef::new(seed)?)?),
    };
    let algorithm = AlgorithmIdentifierRef { oid, parameters };
    to_der(&PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(&key)?))
}

/// Writes an `RSAPrivateKey`.
pub(super) fn write_pkcs1(material: &Material<'_>) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
    let Material::Rsa(key) = material else {
        return Err(PrivateKeyError::UnsupportedAlgorithm);
    };
    to_der(key)
}

/// Writes a standalone `ECPrivateKey`, with its curve and point.
pub(super) fn write_sec1(material: &Material<'_>) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
    let Material::Ecdsa { curve, scalar, point } = *material else {
        return Err(PrivateKeyError::UnsupportedAlgorithm);
    };
    let parameters = Some(EcParameters::NamedCurve(curve.oid()));
    to_der(&EcPrivateKey { private_key: scalar, parameters, public_key: point })
}

/// The point within the blob of an ECDSA key (RFC 5656 §3.1).
fn ecdsa_point(blob: &[u8]) -> Result<&[u8], PrivateKeyError> {
    let mut reader = Reader::new(blob);
    let _type = reader.string()?;
    let _curve = reader.string()?;
    Ok(reader.string()?)
}

/// DER in a buffer of exactly its length: growing would leave a copy behind.
fn to_der(value: &impl Encode) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
    let length = usize::try_from(value.encoded_len()?).map_err(|_| PrivateKeyError::Malformed)?;
    let mut der = Zeroizing::new(vec![0; length]);
    value.encode_to_slice(&mut der)?;
    Ok(der)
}
