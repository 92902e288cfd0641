//! The text of a publication.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Entry, Layout, Line, Publication, PublishedKey, PublishedKeys, PublishedPair, Resolved, Source,
    bounds::TARGET_MAX_BYTES, hosts, login,
};
use crate::domain::{digest, rules::DATA_KEY};

/// The data of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The data of the target: all of it.
    pub data: BTreeMap<String, String>,
    /// The number of different keys in it.
    pub keys: usize,
    /// The number of pairs that have a key in it.
    pub key_pairs: usize,
    /// The number of different certificates that are left out, because sshd and ssh accept no certificate in such a line.
    pub certificates: usize,
    /// Whether lines are left out because the data would be too large.
    pub is_too_large: bool,
    /// The keys of pairs that are in it: what a rotation waits for.
    pub published: PublishedKeys,
}

/// The text of the keys that the entries select. `uid` is that of the publication; `resolved` has an element for each of its entries.
///
/// The lines are in the order of the entries, in an entry in that of the names, and for a pair in that of the revisions. Revoked keys
/// precede the others: if the data would be too large, it has the first lines, and ssh finds a revocation wherever it is.
#[must_use]
pub fn render(publication: &Publication, uid: &str, resolved: &[Resolved]) -> Rendered {
    let literals = publication.entries.iter().map(|entry| literals(publication, entry.as_ref())).collect::<Vec<_>>();
    let mut text = Text::new(publication);
    let entries = publication.entries.iter().zip(resolved).zip(&literals);
    let mut entries: Vec<_> =
        entries.filter_map(|((entry, resolved), literals)| Some((entry.as_ref()?, resolved, literals))).collect();
    entries.sort_by_key(|(entry, ..)| !entry.line.revokes());
    for (entry, resolved, literals) in entries {
        let prefixes = prefixes(entry, publication.hash_hosts.then_some(uid));
        let prefixes: Vec<_> =
            prefixes.into_iter().map(|prefix| (text.number_of(&entry.line, &prefix), prefix)).collect();
        // ssh revokes a certificate by its line. Those of pairs are not kept whole, since there may be many long ones.
        let keeps_certificates = entry.line.revokes() && matches!(entry.source, Source::PublicKeys(_));
        let mut pairs: Vec<&PublishedPair> = resolved.pairs.iter().map(AsRef::as_ref).collect();
        pairs.sort_by_key(|pair| (&pair.namespace, &pair.name));
        let of_pairs = pairs.into_iter().flat_map(|pair| pair.keys.iter().map(move |key| (Owner::of(pair), key)));
        let literals = literals.iter().map(|(owner, key)| (owner.clone(), key));
        for (owner, key) in of_pairs.chain(literals) {
            if key.is_certificate && !keeps_certificates {
                text.certificates.insert(&key.line);
            } else {
                text.add(&prefixes, &owner, key);
            }
        }
    }
    text.finish()
}

/// What precedes a key on each of its lines.
fn prefixes(entry: &Entry, salt: Option<&str>) -> Vec<String> {
    match &entry.line {
        Line::Login(options) => vec![login::text(options)],
        Line::Hosts { hosts, marker } => hosts::prefixes(hosts, *marker, salt),
    }
}

/// The literal keys of an entry, which have the name of the publication.
fn literals(publication: &Publication, entry: Option<&Entry>) -> Vec<(Owner, PublishedKey)> {
    let Some(Entry { source: Source::PublicKeys(keys), .. }) = entry else { return Vec::new() };
    let owner = Owner {
        namespace: publication.namespace.as_str().into(),
        name: publication.name.as_str().into(),
        has_several_keys: false,
        is_pair: false,
    };
    keys.iter().filter_map(|key| Some((owner.clone(), PublishedKey::from_line(1, &key.to_openssh())?))).collect()
}

/// What a comment names.
#[derive(Debug, Clone)]
struct Owner {
    namespace: Arc<str>,
    name: Arc<str>,
    has_several_keys: bool,
    is_pair: bool,
}

impl Owner {
    fn of(pair: &PublishedPair) -> Self {
        Self {
            namespace: pair.namespace.clone(),
            name: pair.name.clone(),
            has_several_keys: pair.keys.len() > 1,
            is_pair: true,
        }
    }

    fn comment(&self, revision: u32) -> String {
        let Self { namespace, name, .. } = self;
        if self.has_several_keys { format!("{namespace}/{name}#{revision}") } else { format!("{namespace}/{name}") }
    }

    /// The data key of the layout `EntryPerKey`. A name may have dots, and a key two lines, so `taken` names are possible, and the longest
    /// are too long.
    fn data_key(&self, number: usize, key: &PublishedKey, taken: &BTreeMap<String, String>) -> String {
        let Self { namespace, name, .. } = self;
        let revision = if self.has_several_keys { format!(".{}", key.revision) } else { String::new() };
        let data_key = format!("{namespace}.{name}{revision}");
        if data_key.len() <= DATA_KEY.max_chars && !taken.contains_key(&data_key) {
            return data_key;
        }
        // No namespace or name has an underscore.
        let digest = digest::hex(&digest::of_parts([&**namespace, name, &revision, &key.line, &number.to_string()]));
        let length = DATA_KEY.max_chars - digest.len() - 1;
        format!("{}_{digest}", data_key.chars().take(length).collect::<String>())
    }
}

type KeyOfPair = (Arc<str>, Arc<str>, Arc<str>);

/// The data, while lines are added.
struct Text<'a> {
    /// The data key of the layout `File`; `None`: a data key for each line.
    file: Option<&'a str>,
    data: BTreeMap<String, String>,
    bytes: usize,
    is_too_large: bool,
    prefixes: BTreeMap<String, usize>,
    /// The keys in the data, each with the numbers of what precedes it on its lines.
    lines: BTreeMap<Arc<str>, BTreeSet<usize>>,
    pairs: BTreeSet<(Arc<str>, Arc<str>)>,
    certificates: BTreeSet<&'a str>,
    complete: BTreeSet<KeyOfPair>,
    incomplete: BTreeSet<KeyOfPair>,
}

impl<'a> Text<'a> {
    fn new(publication: &'a Publication) -> Self {
        // Without a valid target, nothing is written; but the numbers and what is left out are told.
        let key = publication.target.as_ref().map_or(publication.kind.default_data_key(), |target| &target.key);
        let file = (publication.layout == Layout::File).then_some(key);
        Self {
            file,
            data: file.iter().map(|key| ((*key).to_owned(), String::new())).collect(),
            bytes: file.map_or(0, str::len),
            is_too_large: false,
            prefixes: BTreeMap::new(),
            lines: BTreeMap::new(),
            pairs: BTreeSet::new(),
            certificates: BTreeSet::new(),
            complete: BTreeSet::new(),
            incomplete: BTreeSet::new(),
        }
    }

    /// The number of what precedes a key. Two lines are the same if it and the key are the same.
    ///
    /// sshd reads the first line of a key, but it distinguishes a certificate authority from the key itself.
    fn number_of(&mut self, line: &Line, prefix: &str) -> usize {
        if let Line::Login(options) = line {
            return usize::from(options.cert_authority == Some(true));
        }
        let next = self.prefixes.len();
        *self.prefixes.entry(prefix.to_owned()).or_insert(next)
    }

    fn add(&mut self, prefixes: &[(usize, String)], owner: &Owner, key: &PublishedKey) {
        let mut there = self.lines.remove(&key.line).unwrap_or_default();
        let mut placed = 0;
        for (number, prefix) in prefixes {
            if there.contains(number) || self.push(*number, prefix, owner, key) {
                there.insert(*number);
                placed += 1;
            }
        }
        if owner.is_pair {
            if placed > 0 {
                self.pairs.insert((owner.namespace.clone(), owner.name.clone()));
            }
            let set = if placed == prefixes.len() { &mut self.complete } else { &mut self.incomplete };
            set.insert((owner.namespace.clone(), owner.name.clone(), key.line.clone()));
        }
        if !there.is_empty() {
            self.lines.insert(key.line.clone(), there);
        }
    }

    /// Whether there is room for the line. After one without, none is made any more, so that the data has the first lines, and so that
    /// the effort for a text does not grow with what has no room in it.
    fn push(&mut self, number: usize, prefix: &str, owner: &Owner, key: &PublishedKey) -> bool {
        if self.is_too_large {
            return false;
        }
        let space = if prefix.is_empty() { "" } else { " " };
        let line = format!("{prefix}{space}{} {}\n", key.line, owner.comment(key.revision));
        let data_key = self.file.map_or_else(|| owner.data_key(number, key, &self.data), str::to_owned);
        let more = line.len() + if self.file.is_some() { 0 } else { data_key.len() };
        self.is_too_large = self.bytes + more > TARGET_MAX_BYTES;
        if !self.is_too_large {
            self.bytes += more;
            self.data.entry(data_key).or_default().push_str(&line);
        }
        !self.is_too_large
    }

    fn finish(self) -> Rendered {
        let Self { complete, incomplete, .. } = self;
        Rendered {
            data: self.data,
            keys: self.lines.len(),
            key_pairs: self.pairs.len(),
            certificates: self.certificates.len(),
            is_too_large: self.is_too_large,
            published: PublishedKeys::new(complete.into_iter().filter(|key| !incomplete.contains(key))),
        }
    }
}
