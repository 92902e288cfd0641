//! The checks of the spec of a publication.

use super::{
    Entry, EntryParameters, LabelSelector, Layout, Line, Mistake, Publication, PublicationKind, PublicationParameters,
    Source, Target, TargetKind, TargetParameters,
    bounds::{
        MAX_ENTRIES, MAX_PUBLIC_KEYS, NAMESPACE, PUBLIC_KEY, RESERVED_TARGETS, RESERVED_TARGETS_WORDS, SPEC_MAX_BYTES,
    },
    hosts, login,
};
use crate::domain::{
    key::PublicKey,
    region::Region,
    rules::{DATA_KEY, SECRET_NAME},
    secret::RELEASE_NAME_PREFIX,
};

/// Collects mistakes below a field.
struct Mistakes<'a> {
    found: &'a mut Vec<Mistake>,
    prefix: String,
}

impl Mistakes<'_> {
    fn add(&mut self, field: &str, detail: impl Into<String>) {
        let separator = if self.prefix.is_empty() || field.is_empty() { "" } else { "." };
        self.found.push(Mistake { field: format!("{}{separator}{field}", self.prefix), detail: detail.into() });
    }

    fn add_below(&mut self, parent: &str, mistakes: Vec<(String, String)>) {
        for (field, detail) in mistakes {
            self.add(&format!("{parent}{field}"), detail);
        }
    }
}

/// The valid parts of a spec, and what is wrong with the rest.
#[must_use]
pub fn check(parameters: &PublicationParameters) -> Publication {
    let mut found = Vec::new();
    if parameters.is_too_large {
        let detail = format!(
            "must be smaller: a spec has at most {SPEC_MAX_BYTES} bytes as JSON, so no entry is published: use several objects, or selectors"
        );
        found.push(Mistake { field: "entries".to_owned(), detail });
    }
    if parameters.entries.len() > MAX_ENTRIES {
        let detail = format!("at most {MAX_ENTRIES} entries are allowed; the others are ignored: use selectors");
        found.push(Mistake { field: "entries".to_owned(), detail });
    }
    let mut entries = Vec::new();
    for (index, entry) in parameters.entries.iter().enumerate().take(MAX_ENTRIES) {
        let before = found.len();
        let checked =
            check_entry(parameters, entry, &mut Mistakes { found: &mut found, prefix: format!("entries[{index}]") });
        entries.push(checked.filter(|entry| found.len() == before || revokes_something(entry)));
    }
    let before = found.len();
    let target = check_target(parameters, &mut Mistakes { found: &mut found, prefix: "target".to_owned() });
    let target = target.filter(|_| found.len() == before);
    if parameters.kind == PublicationKind::KnownHosts && parameters.layout != Layout::File {
        found.push(Mistake { field: "layout".to_owned(), detail: "must be File".to_owned() });
    }
    Publication {
        kind: parameters.kind,
        namespace: parameters.namespace.clone(),
        name: parameters.name.clone(),
        entries,
        target,
        layout: if parameters.kind == PublicationKind::KnownHosts { Layout::File } else { parameters.layout },
        hash_hosts: parameters.hash_hosts && parameters.kind == PublicationKind::KnownHosts,
        mistakes: found,
    }
}

/// Whether what is valid in an entry with mistakes counts. A mistake must not take back a revocation.
fn revokes_something(entry: &Entry) -> bool {
    let has_host = matches!(&entry.line, Line::Hosts { hosts, .. } if hosts.iter().any(|host| !host.starts_with('!')));
    let has_key = !matches!(&entry.source, Source::PublicKeys(keys) if keys.is_empty());
    entry.line.revokes() && has_host && has_key
}

/// Like [`check`], and also checks what depends on the namespace: the names that are reserved for the operator's own objects.
#[must_use]
pub fn check_in(region: Option<&Region>, parameters: &PublicationParameters) -> Publication {
    let mut publication = check(parameters);
    // The namespace of the operator, which exists all the time, is known.
    let Some(region) = region else { return publication };
    if let Some(target) = publication.target.take_if(|target| region.reserves(&target.name)) {
        let field = match target.kind {
            TargetKind::ConfigMap => "target.configMap.name",
            TargetKind::Secret => "target.secret.name",
        };
        let prefix = &region.own_prefix;
        let detail = format!(
            "(default: metadata.name) must not be {prefix} or begin with {prefix}- in the operator's own namespace, where these names are reserved for its own objects: set another name"
        );
        publication.mistakes.push(Mistake { field: field.to_owned(), detail });
    }
    publication
}

/// The entry without what is invalid; it is valid only if no mistake is added.
fn check_entry(
    parameters: &PublicationParameters,
    entry: &EntryParameters,
    mistakes: &mut Mistakes<'_>,
) -> Option<Entry> {
    let source = check_source(parameters, entry, mistakes);
    let line = match parameters.kind {
        PublicationKind::AuthorizedKeys => {
            mistakes.add_below("options.", login::mistakes(&entry.options));
            Line::Login(entry.options.clone())
        }
        PublicationKind::KnownHosts => {
            mistakes.add_below("", hosts::mistakes(&entry.hosts, parameters.hash_hosts));
            Line::Hosts { hosts: hosts::normalized(&hosts::valid(&entry.hosts)), marker: entry.marker }
        }
    };
    source.map(|source| Entry { source, line })
}

fn check_source(
    parameters: &PublicationParameters,
    entry: &EntryParameters,
    mistakes: &mut Mistakes<'_>,
) -> Option<Source> {
    let is_namespace = entry.namespace.as_ref().is_none_or(|namespace| NAMESPACE.allows(namespace));
    if !is_namespace {
        mistakes.add("namespace", format!("must be {}", NAMESPACE.words));
    }
    let namespace = entry.namespace.clone().unwrap_or_else(|| parameters.namespace.clone());
    match (&entry.key_pair, &entry.selector, &entry.public_keys) {
        (Some(name), None, None) => {
            let is_name = SECRET_NAME.allows(name);
            if !is_name {
                mistakes.add("keyPair", format!("must be {}", SECRET_NAME.words));
            }
            (is_namespace && is_name).then(|| Source::KeyPair { namespace, name: name.clone() })
        }
        (None, Some(selector), None) => match LabelSelector::from_parameters(selector) {
            Ok(selector) => is_namespace.then_some(Source::Selector { namespace, selector }),
            Err(found) => {
                mistakes.add_below("selector.", found);
                None
            }
        },
        (None, None, Some(keys)) => {
            if entry.namespace.is_some() {
                mistakes.add("namespace", "has no meaning for publicKeys: omit it");
            }
            Some(Source::PublicKeys(check_public_keys(keys, mistakes)))
        }
        _ => {
            let fields = match parameters.kind {
                PublicationKind::AuthorizedKeys => "keyPair and selector",
                PublicationKind::KnownHosts => "keyPair, selector and publicKeys",
            };
            mistakes.add("", format!("must set exactly one of {fields}"));
            None
        }
    }
}

fn check_public_keys(keys: &[String], mistakes: &mut Mistakes<'_>) -> Vec<PublicKey> {
    if keys.is_empty() {
        mistakes.add("publicKeys", "must not be empty: list a public key");
    }
    if keys.len() > MAX_PUBLIC_KEYS {
        mistakes.add("publicKeys", format!("at most {MAX_PUBLIC_KEYS} keys are allowed: use several entries"));
    }
    let mut parsed = Vec::new();
    for (index, key) in keys.iter().enumerate().take(MAX_PUBLIC_KEYS) {
        let field = format!("publicKeys[{index}]");
        if !PUBLIC_KEY.allows(key) {
            mistakes.add(&field, format!("must be {}", PUBLIC_KEY.words));
            continue;
        }
        match PublicKey::parse(key) {
            Ok(key) => parsed.push(key),
            Err(error) => mistakes.add(&field, error.to_string()),
        }
    }
    parsed
}

/// The target; it is valid only if no mistake is added.
fn check_target(parameters: &PublicationParameters, mistakes: &mut Mistakes<'_>) -> Option<Target> {
    let TargetParameters { config_map, secret } = &parameters.target;
    let (kind, field, (name, key)) = match (config_map, secret) {
        (Some(config_map), None) => (TargetKind::ConfigMap, "configMap", config_map.clone()),
        (None, Some(secret)) => (TargetKind::Secret, "secret", secret.clone()),
        (None, None) => (TargetKind::ConfigMap, "configMap", (None, None)),
        (Some(_), Some(_)) => {
            mistakes.add("", "configMap and secret are mutually exclusive: set one of them");
            return None;
        }
    };
    let target = Target {
        kind,
        name: name.unwrap_or_else(|| parameters.name.clone()),
        key: key.unwrap_or_else(|| parameters.kind.default_data_key().to_owned()),
    };
    if !SECRET_NAME.allows(&target.name) {
        mistakes.add(&format!("{field}.name"), format!("must be {}", SECRET_NAME.words));
    }
    // Helm also keeps releases in ConfigMaps, if it is told to.
    if target.name.starts_with(RELEASE_NAME_PREFIX) {
        let detail = format!(
            "(default: metadata.name) must not begin with {RELEASE_NAME_PREFIX}, which Helm uses for its releases: set another name"
        );
        mistakes.add(&format!("{field}.name"), detail);
    }
    if RESERVED_TARGETS.contains(&target.name.as_str()) {
        let detail = format!("(default: metadata.name) must not be {RESERVED_TARGETS_WORDS}: set another name");
        mistakes.add(&format!("{field}.name"), detail);
    }
    if !DATA_KEY.allows(&target.key) {
        mistakes.add(&format!("{field}.key"), format!("must be {}", DATA_KEY.words));
    }
    Some(target)
}
