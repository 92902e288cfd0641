//! Parses, checks and encodes public and private keys.
//!
//! This module is pure: its output depends only on its input. It uses no clock, randomness, file or network. Key generation needs
//! randomness, so it is in [`crate::keygen`].
//!
//! A text becomes a [`PublicKey`] in these steps:
//!
//! ```text
//! body ─┬─ line     (type base64 comment) ─┐
//!       ├─ rfc4716  (---- BEGIN SSH2 …)    ├─► key blob ─► blob | certificate ─► PublicKey
//!       └─ pem      (-----BEGIN PUBLIC …)  ┘
//! ```
//!
//! Every form is first converted to the RFC 4253 key blob, and the checks are made on the blob, so that a rule such as "the point
//! is on the curve" exists once. Likewise, a [`PrivateKey`] converts every form to a PKCS#8 document.
//!
//! No error of this module contains key bytes from its input, which can be a private key that was pasted by mistake.

mod algorithm;
mod armor;
mod blob;
mod certificate;
mod comment;
mod curve;
mod encoded;
mod error;
mod fingerprint;
mod key_type;
mod line;
mod pem;
mod private_key;
mod private_key_detector;
mod public_key;
mod rfc4716;
mod second_key;
mod signature;
mod spec;
pub(crate) mod wire;

pub use self::algorithm::Algorithm;
pub use self::error::PublicKeyError;
pub use self::fingerprint::{Fingerprints, is_fingerprint, is_sha256, md5_colons, md5_hex, sha256_base64};
pub use self::key_type::{BARE_TOKENS, CertificateVersion, KeyType};
pub use self::private_key::{Encoding, PrivateKey, PrivateKeyError};
pub use self::private_key_detector::{PRIVATE_KEY_MARKERS, holds_private_key};
pub use self::public_key::PublicKey;
pub use self::spec::KeySpec;

/// The maximum size of a key in bits, as in OpenSSH.
pub const MAX_BITS: u32 = 16384;
