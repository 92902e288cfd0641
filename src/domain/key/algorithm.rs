//! Key algorithms, such as RSA and Ed25519.

use std::fmt;

/// A key algorithm, as `ssh-keygen -l` prints it in parentheses at the end of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RSA, RFC 4253 §6.6.
    Rsa,
    /// DSA, RFC 4253 §6.6.
    Dsa,
    /// ECDSA over a NIST curve, RFC 5656.
    Ecdsa,
    /// Ed25519, RFC 8709.
    Ed25519,
    /// ECDSA over nistp256 on a FIDO token, OpenSSH's PROTOCOL.u2f.
    EcdsaSk,
    /// Ed25519 on a FIDO token, OpenSSH's PROTOCOL.u2f.
    Ed25519Sk,
    /// ML-DSA-44 and Ed25519 together, draft-miller-sshm-mldsa44-ed25519-composite-sigs: OpenSSH 10.4 and later.
    MlDsa44Ed25519,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 7] =
        [Self::Rsa, Self::Dsa, Self::Ecdsa, Self::Ed25519, Self::EcdsaSk, Self::Ed25519Sk, Self::MlDsa44Ed25519];

    /// The algorithm with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The name shown in `status.algorithm`: `RSA`, `DSA`, `ECDSA`, `Ed25519`, `ECDSA-SK`,
    /// `Ed25519-SK` or `MLDSA44-Ed25519`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rsa => "RSA",
            Self::Dsa => "DSA",
            Self::Ecdsa => "ECDSA",
            Self::Ed25519 => "Ed25519",
            Self::EcdsaSk => "ECDSA-SK",
            Self::Ed25519Sk => "Ed25519-SK",
            Self::MlDsa44Ed25519 => "MLDSA44-Ed25519",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
