//! The values of arguments.

use std::time::Duration;

use clap::{ValueEnum, builder::PossibleValue};

use crate::{
    api::key_pair::{GenerateAlgorithm, SecretEncoding},
    domain::{key::Encoding, rules},
};

impl ValueEnum for GenerateAlgorithm {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::RSA, Self::ECDSA, Self::Ed25519]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::RSA => "RSA",
            Self::ECDSA => "ECDSA",
            Self::Ed25519 => "Ed25519",
        }))
    }
}

impl ValueEnum for SecretEncoding {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::PKCS8, Self::OpenSSH, Self::PKCS1, Self::SEC1]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let encoding = match self {
            Self::PKCS8 => Encoding::Pkcs8,
            Self::OpenSSH => Encoding::OpenSsh,
            Self::PKCS1 => Encoding::Pkcs1,
            Self::SEC1 => Encoding::Sec1,
        };
        Some(PossibleValue::new(encoding.name()))
    }
}

/// Parses the name of an object, which becomes part of a path.
pub fn name(text: &str) -> Result<String, String> {
    let rule = &rules::SECRET_NAME;
    if rule.allows(text) { Ok(text.to_owned()) } else { Err(format!("the name must be {}", rule.words)) }
}

/// Parses the name of a namespace.
pub fn namespace(text: &str) -> Result<String, String> {
    let is_label = rules::SECRET_NAME.allows(text) && !text.contains('.') && text.len() <= 63;
    if is_label { Ok(text.to_owned()) } else { Err("this cannot be the name of a namespace".to_owned()) }
}

/// Parses a duration as kubectl writes it.
pub fn duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration =
        text.parse().map_err(|_| "expected a duration such as 30s, 5m or 1h30m".to_owned())?;
    Duration::try_from(duration).map_err(|_| "the duration must not be negative".to_owned())
}

/// Parses a destination of ssh, which must not look like one of its flags.
pub fn host(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('-') {
        return Err("expected [USER@]HOST; flags of ssh follow after --".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_kubectl() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for text in ["", "5", "-1s", "soon"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
