//! The immutable fields of an accepted key pair: the table of [`ImmutableField`] in CEL.

use super::{
    expression::quote,
    tree::{Node, check, variable, when},
};
use crate::domain::{
    immutable::ImmutableField,
    key::{Algorithm, KeySpec},
    request::Generate,
};

/// The checks that the effective values stay those of `stored`.
pub fn checks(stored: &str) -> Vec<Node> {
    // Only the fields of `generate` may change with a rotation.
    let (generate, others): (Vec<_>, Vec<_>) =
        ImmutableField::ALL.into_iter().partition(|field| field.may_change_with_rotation());
    let nodes = |fields: Vec<ImmutableField>| fields.into_iter().map(unchanged).collect::<Vec<_>>();
    let generate = when("(has(old.generate) || generate.hasValue()) && !has(spec.rotation)", nodes(generate));
    vec![variable("old", format!("{stored}.spec"), [nodes(others), vec![generate]].concat())]
}

/// The check that the effective value of `field` stays the same.
fn unchanged(field: ImmutableField) -> Node {
    let (before, after) = match field {
        ImmutableField::Profile => ("old.profile".into(), "profile".into()),
        ImmutableField::KeyPairName => ("old.?keyPairName".into(), "keyPairName".into()),
        ImmutableField::PublicKey => ("old.?publicKey".into(), "publicKey".into()),
        ImmutableField::Algorithm => (algorithm("old.?generate"), algorithm("generate")),
        ImmutableField::Bits => (bits("old.?generate"), bits("generate")),
        ImmutableField::ClientToken => ("old.?clientToken".into(), "clientToken".into()),
    };
    // Most values are the same as before. Otherwise, their effective values are compared, in variables: the API server has no bound for
    // the cost of comparing the values of functions.
    let effective = |value: &str| match field {
        ImmutableField::KeyPairName => format!("{value}.orValue(objectName)"),
        // The white space around a key is no part of it.
        ImmutableField::PublicKey => format!("[?{value}].map(key, key.trim())"),
        ImmutableField::ClientToken => format!("{value}.orValue('')"),
        ImmutableField::Profile | ImmutableField::Algorithm | ImmutableField::Bits => value.to_owned(),
    };
    let same = format!(
        "before == after || [{}].all(before, [{}].all(after, before == after))",
        effective("before"),
        effective("after")
    );
    let same = check(field.path().join("."), field.about(), same, format!("{}.", field.words()));
    variable("before", before, vec![variable("after", after, vec![same.into()])])
}

/// The CEL expression for the algorithm that the optional `generate` requests.
pub fn algorithm(generate: &str) -> String {
    format!("{generate}.?algorithm.orValue({})", quote(Generate::default().algorithm.name()))
}

fn bits(generate: &str) -> String {
    let default = |algorithm| KeySpec::from_parts(algorithm, None).map_or(0, KeySpec::bits);
    format!(
        "{generate}.?bits.orValue({} == '{}' ? {} : {})",
        algorithm(generate),
        Algorithm::Rsa,
        default(Algorithm::Rsa),
        // The defaults of ECDSA and Ed25519 are the same number.
        default(Algorithm::Ecdsa),
    )
}
