//! The documentation tables about errors and profiles.

use std::fmt::Write as _;

use keypair_operator::domain::{
    key::{BARE_TOKENS, KeyType},
    profile::Profile,
    reason::{Parameter, Reason, Refusal},
    text_rule::TextRule,
};

/// The parameters that a reason can be about; the first represents the reason if the answer is the same for all.
pub fn parameters(reason: Reason) -> &'static [Parameter] {
    match reason {
        Reason::MissingParameter => &[Parameter::KeyPairName, Parameter::PublicKey],
        Reason::InvalidKeyPairName | Reason::KeyPairNameConflict => &[Parameter::KeyPairName],
        Reason::InvalidPublicKey => &[Parameter::PublicKey],
        Reason::InvalidDescription => &[Parameter::Description],
        Reason::InvalidTag => &[Parameter::TagKey, Parameter::TagValue],
        Reason::InvalidClientToken | Reason::IdempotentParameterMismatch | Reason::IdempotentProcessing => {
            &[Parameter::ClientToken]
        }
        Reason::QuotaExceeded => &[Parameter::Quota],
        Reason::RegionNotFound => &[Parameter::Region],
        Reason::ProjectNotFound => &[Parameter::Project],
        Reason::InvalidRotation => &[Parameter::Rotation],
        Reason::InvalidSecret
        | Reason::SecretConflict
        | Reason::PrivateKeyLost
        | Reason::PrivateKeyMismatch
        | Reason::InternalError => &[Parameter::Secret],
    }
}

pub fn table() -> String {
    let columns = columns();
    let names = |column: &Vec<Profile>| column.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut table = format!("| reason | {} |\n", columns.iter().map(names).collect::<Vec<_>>().join(" | "));
    writeln!(table, "|---{}|", "|---".repeat(columns.len())).unwrap();
    for reason in Reason::ALL {
        for parameter in parameters(reason) {
            let cells: Vec<String> = columns.iter().map(|column| cell(column[0], reason, *parameter)).collect();
            writeln!(table, "| `{reason}` | {} |", cells.join(" | ")).unwrap();
        }
    }
    table
}

/// The profiles, grouped if all their answers are the same.
fn columns() -> Vec<Vec<Profile>> {
    let answers = |profile: Profile| -> Vec<String> {
        let questions =
            Reason::ALL.into_iter().flat_map(|reason| parameters(reason).iter().map(move |one| (reason, one)));
        questions.map(|(reason, parameter)| cell(profile, reason, *parameter)).collect()
    };
    let mut columns: Vec<Vec<Profile>> = Vec::new();
    for profile in Profile::ALL {
        match columns.iter_mut().find(|column| answers(column[0]) == answers(profile)) {
            Some(column) => column.push(profile),
            None => columns.push(vec![profile]),
        }
    }
    columns
}

fn cell(profile: Profile, reason: Reason, parameter: Parameter) -> String {
    let error = profile.error(&Refusal::new(reason, parameter, "*what to do*"));
    format!("`{}` {}<br>{}", error.code, error.http_status, error.message)
}

pub fn profiles() -> String {
    let mut table =
        "| profile | name of an import | name of a generated pair | key types on import | generates | fingerprint |\n\
                     |---|---|---|---|---|---|\n"
            .to_owned();
    for profile in Profile::ALL {
        let rules = profile.rules();
        let words = |rule: &TextRule| rule.words.to_owned();
        let bare = BARE_TOKENS.iter().map(|(token, _)| *token);
        let types = if rules.import_types.len() == KeyType::ALL.len() {
            "all that OpenSSH knows".to_owned()
        } else {
            let names = rules.import_types.iter().copied().map(KeyType::name);
            names.chain(bare).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        };
        let generates = rules.generates.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(", ");
        let fingerprint = rules.fingerprint.description().replace('|', "\\|");
        let generate_name = if std::ptr::eq(rules.import_name, rules.generate_name) {
            "the same".to_owned()
        } else {
            words(rules.generate_name)
        };
        writeln!(
            table,
            "| `{profile}` | {} | {generate_name} | {types} | {generates} | {fingerprint} |",
            words(rules.import_name)
        )
        .unwrap();
    }
    table
}

/// The reasons that the user can fix, each with a link to the section that explains how.
pub fn reasons() -> String {
    let mut table = "| reason of `Ready=False` | `Stalled` | what to do |\n|---|---|---|\n".to_owned();
    for reason in Reason::ALL {
        let stalled = if reason.needs_edit() { "True: only an edit of the KeyPair helps" } else { "absent" };
        let anchor = reason.as_str().to_lowercase();
        writeln!(table, "| `{reason}` | {stalled} | [Troubleshooting](troubleshooting.md#{anchor}) |").unwrap();
    }
    table
}
