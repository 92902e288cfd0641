//! Key material: what a public key body and a private key may be, and how they are written.
//!
//! Everything here is pure: the same input gives the same answer on every machine at every time. No
//! clock, no randomness of its own, no file, no network. Drawing new keys needs randomness and is
//! therefore in [`crate::keygen`].
//!
//! A public key comes in as text and leaves as a [`PublicKey`]:
//!
//! ```text
//! body ─┬─ line     (type base64 comment) ─┐
//!       ├─ rfc4716  (---- BEGIN SSH2 …)    ├─► key blob ─► blob | certificate ─► PublicKey
//!       └─ pem      (-----BEGIN PUBLIC …)  ┘
//! ```
//!
//! All forms are first turned into the RFC 4253 key blob, and only the blob is judged, so that a
//! rule such as "the point is on the curve" exists once. A [`PrivateKey`] likewise takes every form
//! to one PKCS#8 document.
//!
//! No error of this module contains a byte of its input: an input can be a private key pasted by
//! mistake.

mod algorithm;
mod another;
mod armor;
mod blob;
mod certificate;
mod comment;
mod curve;
mod encoded;
mod error;
mod fingerprint;
mod key_type;
mod leak;
mod line;
mod pem;
mod private_key;
mod public_key;
mod rfc4716;
mod signature;
mod spec;
pub(crate) mod wire;

pub use self::algorithm::Algorithm;
pub use self::error::PublicKeyError;
pub use self::fingerprint::{Fingerprints, is_fingerprint, is_sha256, md5_colons, md5_hex, sha256_base64};
pub use self::key_type::{BARE_TOKENS, CertificateVersion, KeyType};
pub use self::leak::{PRIVATE_KEY_MARKERS, holds_private_key};
pub use self::private_key::{Encoding, PrivateKey, PrivateKeyError};
pub use self::public_key::PublicKey;
pub use self::spec::KeySpec;

/// The size of the longest key that is read, in bits, as OpenSSH.
pub const MAX_BITS: u32 = 16384;
