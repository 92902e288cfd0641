//! The key type names that precede the base64 in an OpenSSH line and begin a key blob.

use std::fmt;

use super::algorithm::Algorithm;

/// An OpenSSH key type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyType {
    /// `ssh-rsa`, RFC 4253 §6.6.
    Rsa,
    /// `ssh-dss`, RFC 4253 §6.6.
    Dss,
    /// `ecdsa-sha2-nistp256`, RFC 5656 §3.1.
    EcdsaP256,
    /// `ecdsa-sha2-nistp384`, RFC 5656 §3.1.
    EcdsaP384,
    /// `ecdsa-sha2-nistp521`, RFC 5656 §3.1.
    EcdsaP521,
    /// `ssh-ed25519`, RFC 8709 §4.
    Ed25519,
    /// `sk-ecdsa-sha2-nistp256@openssh.com`, PROTOCOL.u2f.
    SkEcdsaP256,
    /// `sk-ssh-ed25519@openssh.com`, PROTOCOL.u2f.
    SkEd25519,
    /// `ssh-mldsa44-ed25519@openssh.com`, draft-miller-sshm-mldsa44-ed25519-composite-sigs.
    MlDsa44Ed25519,
    /// `ssh-rsa-cert-v00@openssh.com`, PROTOCOL.certkeys of OpenSSH 5.4.
    RsaCertV00,
    /// `ssh-dss-cert-v00@openssh.com`, PROTOCOL.certkeys of OpenSSH 5.4.
    DssCertV00,
    /// `ssh-rsa-cert-v01@openssh.com`, PROTOCOL.certkeys.
    RsaCertV01,
    /// `ssh-dss-cert-v01@openssh.com`, PROTOCOL.certkeys.
    DssCertV01,
    /// `ecdsa-sha2-nistp256-cert-v01@openssh.com`, PROTOCOL.certkeys.
    EcdsaP256CertV01,
    /// `ecdsa-sha2-nistp384-cert-v01@openssh.com`, PROTOCOL.certkeys.
    EcdsaP384CertV01,
    /// `ecdsa-sha2-nistp521-cert-v01@openssh.com`, PROTOCOL.certkeys.
    EcdsaP521CertV01,
    /// `ssh-ed25519-cert-v01@openssh.com`, PROTOCOL.certkeys.
    Ed25519CertV01,
    /// `sk-ecdsa-sha2-nistp256-cert-v01@openssh.com`, PROTOCOL.u2f.
    SkEcdsaP256CertV01,
    /// `sk-ssh-ed25519-cert-v01@openssh.com`, PROTOCOL.u2f.
    SkEd25519CertV01,
    /// `ssh-mldsa44-ed25519-cert-v01@openssh.com`, PROTOCOL.certkeys.
    MlDsa44Ed25519CertV01,
}

/// The version of an OpenSSH certificate's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateVersion {
    /// OpenSSH 5.4 and 5.5. The nonce is near the end.
    V00,
    /// OpenSSH 5.6 and later. The nonce comes first.
    V01,
}

/// Short names that may precede the base64 instead of a type name, each with its types.
///
/// Alibaba Cloud's `ImportKeyPair` lists `rsa`, `dsa` and `ecdsa`.
pub const BARE_TOKENS: &[(&str, &[KeyType])] = &[
    ("rsa", &[KeyType::Rsa]),
    ("dsa", &[KeyType::Dss]),
    ("ecdsa", &[KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::EcdsaP521]),
];

impl KeyType {
    /// Every key type, plain keys first.
    pub const ALL: &[Self] = &[
        Self::Rsa,
        Self::Dss,
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::EcdsaP521,
        Self::Ed25519,
        Self::SkEcdsaP256,
        Self::SkEd25519,
        Self::MlDsa44Ed25519,
        Self::RsaCertV00,
        Self::DssCertV00,
        Self::RsaCertV01,
        Self::DssCertV01,
        Self::EcdsaP256CertV01,
        Self::EcdsaP384CertV01,
        Self::EcdsaP521CertV01,
        Self::Ed25519CertV01,
        Self::SkEcdsaP256CertV01,
        Self::SkEd25519CertV01,
        Self::MlDsa44Ed25519CertV01,
    ];

    /// The name as OpenSSH writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rsa => "ssh-rsa",
            Self::Dss => "ssh-dss",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384",
            Self::EcdsaP521 => "ecdsa-sha2-nistp521",
            Self::Ed25519 => "ssh-ed25519",
            Self::SkEcdsaP256 => "sk-ecdsa-sha2-nistp256@openssh.com",
            Self::SkEd25519 => "sk-ssh-ed25519@openssh.com",
            Self::MlDsa44Ed25519 => "ssh-mldsa44-ed25519@openssh.com",
            Self::RsaCertV00 => "ssh-rsa-cert-v00@openssh.com",
            Self::DssCertV00 => "ssh-dss-cert-v00@openssh.com",
            Self::RsaCertV01 => "ssh-rsa-cert-v01@openssh.com",
            Self::DssCertV01 => "ssh-dss-cert-v01@openssh.com",
            Self::EcdsaP256CertV01 => "ecdsa-sha2-nistp256-cert-v01@openssh.com",
            Self::EcdsaP384CertV01 => "ecdsa-sha2-nistp384-cert-v01@openssh.com",
            Self::EcdsaP521CertV01 => "ecdsa-sha2-nistp521-cert-v01@openssh.com",
            Self::Ed25519CertV01 => "ssh-ed25519-cert-v01@openssh.com",
            Self::SkEcdsaP256CertV01 => "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
            Self::SkEd25519CertV01 => "sk-ssh-ed25519-cert-v01@openssh.com",
            Self::MlDsa44Ed25519CertV01 => "ssh-mldsa44-ed25519-cert-v01@openssh.com",
        }
    }

    /// The key type with exactly this name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|key_type| key_type.name() == name)
    }

    /// The algorithm of the key; for a certificate, of the certified key.
    #[must_use]
    pub const fn algorithm(self) -> Algorithm {
        match self.plain() {
            Self::Rsa => Algorithm::Rsa,
            Self::Dss => Algorithm::Dsa,
            Self::Ed25519 => Algorithm::Ed25519,
            Self::SkEcdsaP256 => Algorithm::EcdsaSk,
            Self::SkEd25519 => Algorithm::Ed25519Sk,
            Self::MlDsa44Ed25519 => Algorithm::MlDsa44Ed25519,
            _ => Algorithm::Ecdsa,
        }
    }

    /// The type of the certified key; for a plain key, the type itself.
    #[must_use]
    pub const fn plain(self) -> Self {
        match self {
            Self::Rsa | Self::RsaCertV00 | Self::RsaCertV01 => Self::Rsa,
            Self::Dss | Self::DssCertV00 | Self::DssCertV01 => Self::Dss,
            Self::EcdsaP256 | Self::EcdsaP256CertV01 => Self::EcdsaP256,
            Self::EcdsaP384 | Self::EcdsaP384CertV01 => Self::EcdsaP384,
            Self::EcdsaP521 | Self::EcdsaP521CertV01 => Self::EcdsaP521,
            Self::Ed25519 | Self::Ed25519CertV01 => Self::Ed25519,
            Self::SkEcdsaP256 | Self::SkEcdsaP256CertV01 => Self::SkEcdsaP256,
            Self::SkEd25519 | Self::SkEd25519CertV01 => Self::SkEd25519,
            Self::MlDsa44Ed25519 | Self::MlDsa44Ed25519CertV01 => Self::MlDsa44Ed25519,
        }
    }

    /// The version of the certificate, or `None` for a plain key.
    #[must_use]
    pub const fn certificate_version(self) -> Option<CertificateVersion> {
        match self {
            Self::Rsa
            | Self::Dss
            | Self::EcdsaP256
            | Self::EcdsaP384
            | Self::EcdsaP521
            | Self::Ed25519
            | Self::SkEcdsaP256
            | Self::SkEd25519
            | Self::MlDsa44Ed25519 => None,
            Self::RsaCertV00 | Self::DssCertV00 => Some(CertificateVersion::V00),
            Self::RsaCertV01
            | Self::DssCertV01
            | Self::EcdsaP256CertV01
            | Self::EcdsaP384CertV01
            | Self::EcdsaP521CertV01
            | Self::Ed25519CertV01
            | Self::SkEcdsaP256CertV01
            | Self::SkEd25519CertV01
            | Self::MlDsa44Ed25519CertV01 => Some(CertificateVersion::V01),
        }
    }

    /// Whether keys of this type are certificates.
    #[must_use]
    pub const fn is_certificate(self) -> bool {
        self.certificate_version().is_some()
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_type_name_is_unique() {
        for &key_type in KeyType::ALL {
            assert_eq!(KeyType::from_name(key_type.name()), Some(key_type));
        }
        assert_eq!(KeyType::from_name("ssh-rsa "), None);
        assert_eq!(KeyType::from_name("rsa"), None);
    }

    #[test]
    fn a_name_says_whether_it_is_a_certificate() {
        for &key_type in KeyType::ALL {
            assert_eq!(key_type.name().contains("-cert-v0"), key_type.is_certificate(), "{key_type}");
            assert!(!key_type.plain().is_certificate());
            assert_eq!(key_type.plain().algorithm(), key_type.algorithm());
        }
    }

    #[test]
    fn bare_tokens_are_not_type_names() {
        for (token, types) in BARE_TOKENS {
            assert_eq!(KeyType::from_name(token), None);
            assert!(types.iter().all(|key_type| !key_type.is_certificate()));
        }
    }
}
