//! Which keys a publication selects, and the lines that its text must have.

use std::collections::BTreeSet;

use base64ct::{Base64, Encoding as _};
use serde_json::Value;

use crate::oracle::facts::{is_replay, name, namespace, ready, text};

/// The plurals of the publications.
pub const KINDS: [&str; 2] = ["authorizedkeys", "knownhosts"];

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// What precedes the key.
    pub prefix: Prefix,
    /// Type and base64.
    pub key: String,
    /// The comment.
    pub comment: String,
}

/// What precedes the key on a line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Prefix {
    /// The options, in any order.
    Options(BTreeSet<String>),
    /// A marker, and names of hosts or a hash.
    Hosts(String, String),
    /// A marker, and the name of a host that must be hashed.
    Hashed(String, String),
}

/// What the status and the target of a publication have to say.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The reason of the first problem, apart from those of the target.
    pub reason: Option<&'static str>,
    /// The lines, in order.
    pub lines: Vec<Line>,
    /// The number of pairs of which a key is in the text.
    pub key_pairs: usize,
}

impl Wanted {
    /// The different keys.
    pub fn keys(&self) -> BTreeSet<&str> {
        self.lines.iter().map(|line| line.key.as_str()).collect()
    }
}

/// The problems of entries, from the first to the last reason that the status may have.
const PROBLEMS: [&str; 4] = ["InvalidEntry", "NotShared", "KeyPairNotFound", "NothingSelected"];

/// The plural, the name and, with the layout `File`, the entry of the target.
pub fn target_of(publication: &Value) -> (&'static str, &str, Option<&str>) {
    let is_of_hosts = text(publication, "/kind") == Some("KnownHosts");
    let of = |kind: &str| publication.pointer(&format!("/spec/target/{kind}")).filter(|target| target.is_object());
    let (plural, target) = of("secret").map_or_else(|| ("configmaps", of("configMap")), |it| ("secrets", Some(it)));
    let field = |field: &str| target.and_then(|target| target.get(field)).and_then(Value::as_str);
    let key = field("key").unwrap_or(if is_of_hosts { "known_hosts" } else { "authorized_keys" });
    let is_file = text(publication, "/spec/layout") != Some("EntryPerKey");
    (plural, field("name").unwrap_or_else(|| name(publication)), is_file.then_some(key))
}

/// Type and base64 of a line.
fn key_of(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    Some(format!("{} {}", words.next()?, words.next()?))
}

fn is_certificate(key: &str) -> bool {
    key.split(' ').next().is_some_and(|kind| kind.contains("-cert-v0"))
}

/// The revisions and keys that a `KeyPair` offers.
pub fn published_keys(key_pair: &Value) -> Vec<(u64, String)> {
    let is_deleting = key_pair.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null());
    let (status, reason) = ready(key_pair);
    let keeps_keys = ["SecretConflict", "PrivateKeyLost", "PrivateKeyMismatch", "InternalError"].contains(&reason);
    let is_offered = status == "True" || status == "False" && keeps_keys;
    if is_deleting || is_replay(key_pair) || !is_offered || text(key_pair, "/status/keyPairID").is_none() {
        return Vec::new();
    }
    let revision = |of: &Value, pointer| of.pointer(pointer).and_then(Value::as_u64);
    let all = key_pair.pointer("/status/keys").and_then(Value::as_array).into_iter().flatten();
    let mut keys: Vec<(u64, String)> =
        all.filter_map(|key| Some((revision(key, "/revision")?, key_of(text(key, "/publicKey")?)?))).collect();
    if keys.is_empty() {
        let only = text(key_pair, "/status/publicKey").and_then(key_of);
        keys.extend(only.map(|key| (revision(key_pair, "/status/revision").unwrap_or(1), key)));
    }
    keys.sort();
    keys
}

/// Whether publications of another namespace may select a `KeyPair`.
fn shares_with(key_pair: &Value, other: &str) -> bool {
    let shared = key_pair.pointer("/spec/shareWith").and_then(Value::as_array).into_iter().flatten();
    shared.filter_map(Value::as_str).any(|shared| shared == "*" || shared == other)
}

fn has_labels(key_pair: &Value, selector: &Value) -> bool {
    let label =
        |key: &str| key_pair.pointer("/metadata/labels").and_then(|labels| labels.get(key)).and_then(Value::as_str);
    let equal = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let expressions = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
    let holds = |expression: &Value| {
        let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
        let label = label(text(expression, "/key").unwrap_or_default());
        let is_one = values.filter_map(Value::as_str).any(|value| label == Some(value));
        match text(expression, "/operator") {
            Some("In") => is_one,
            Some("NotIn") => !is_one,
            Some("Exists") => label.is_some(),
            _ => label.is_none(),
        }
    };
    equal.into_iter().all(|(key, value)| label(key) == value.as_str()) && expressions.into_iter().all(holds)
}

/// Whether a text is an OpenSSH public key, as far as the histories distinguish.
fn is_public_key(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let (Some(kind), Some(blob)) = (words.next(), words.next()) else { return false };
    Base64::decode_vec(blob).is_ok_and(|blob| blob.get(4..4 + kind.len()) == Some(kind.as_bytes()))
}

fn texts<'a>(of: &'a Value, field: &str) -> Vec<&'a str> {
    of.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

fn entries(publication: &Value) -> impl Iterator<Item = &Value> {
    publication.pointer("/spec/entries").and_then(Value::as_array).into_iter().flatten()
}

/// The literal keys of a publication.
pub fn literal_keys(publication: &Value) -> Vec<String> {
    entries(publication).flat_map(|entry| texts(entry, "publicKeys")).filter_map(key_of).collect()
}

fn is_host(host: &str) -> bool {
    !host.ends_with("]:22")
}

/// Whether an entry is invalid in a way that the CRD does not refuse.
fn is_invalid(entry: &Value) -> bool {
    texts(entry, "publicKeys").iter().any(|line| !is_public_key(line))
        || texts(entry, "hosts").iter().any(|host| !is_host(host))
}

fn revokes(entry: &Value) -> bool {
    text(entry, "/marker") == Some("Revoked")
}

/// Whether an entry revokes a key, whatever is invalid in it.
fn revokes_something(entry: &Value) -> bool {
    let keys = texts(entry, "publicKeys");
    revokes(entry)
        && (keys.is_empty() || keys.into_iter().any(is_public_key))
        && texts(entry, "hosts").into_iter().any(|host| is_host(host) && !host.starts_with('!'))
}

/// The `KeyPair`s that an entry selects, in the order of their names, or the problem.
fn selected<'a>(publication: &Value, entry: &Value, key_pairs: &[&'a Value]) -> Result<Vec<&'a Value>, &'static str> {
    if is_invalid(entry) && !revokes_something(entry) {
        return Err("InvalidEntry");
    }
    let own = namespace(publication);
    let place = text(entry, "/namespace").unwrap_or(own);
    let visible = |key_pair: &&&Value| namespace(key_pair) == place && (place == own || shares_with(key_pair, own));
    if let Some(wanted) = text(entry, "/keyPair") {
        let found = key_pairs.iter().filter(visible).find(|key_pair| name(key_pair) == wanted).copied();
        return match found {
            None if place != own => Err("NotShared"),
            Some(found) if !published_keys(found).is_empty() => Ok(vec![found]),
            _ => Err("KeyPairNotFound"),
        };
    }
    let Some(selector) = entry.get("selector") else { return Ok(Vec::new()) };
    let is_selected = |key_pair: &&&Value| {
        visible(key_pair) && has_labels(key_pair, selector) && !published_keys(key_pair).is_empty()
    };
    let mut found: Vec<&Value> = key_pairs.iter().filter(is_selected).copied().collect();
    found.sort_by_key(|key_pair| name(key_pair).to_owned());
    if found.is_empty() { Err("NothingSelected") } else { Ok(found) }
}

/// Whether a valid entry of a publication selects a `KeyPair`.
pub fn selects(publication: &Value, key_pair: &Value, key_pairs: &[&Value]) -> bool {
    let is_it = |found: &&Value| (namespace(found), name(found)) == (namespace(key_pair), name(key_pair));
    entries(publication).any(|entry| selected(publication, entry, key_pairs).is_ok_and(|found| found.iter().any(is_it)))
}

/// What a publication has to publish of these `KeyPair`s.
pub fn wanted(publication: &Value, key_pairs: &[&Value]) -> Wanted {
    let is_of_hosts = text(publication, "/kind") == Some("KnownHosts");
    let is_hashed = publication.pointer("/spec/hashHosts") == Some(&Value::Bool(true));
    let (mut wanted, mut problems) = (Wanted::default(), BTreeSet::new());
    let mut pairs = BTreeSet::new();
    let mut of_lines: Vec<&Value> = entries(publication).collect();
    of_lines.sort_by_key(|entry| !revokes(entry));
    for entry in of_lines {
        if is_invalid(entry) {
            problems.insert(PROBLEMS.iter().position(|known| *known == "InvalidEntry"));
        }
        let found = match selected(publication, entry, key_pairs) {
            Ok(found) => found,
            Err(problem) => {
                problems.insert(PROBLEMS.iter().position(|known| *known == problem));
                continue;
            }
        };
        let mut keys: Vec<(String, String)> = Vec::new();
        for key_pair in found {
            let of_pair = published_keys(key_pair);
            for (revision, key) in &of_pair {
                let number = if of_pair.len() > 1 { format!("#{revision}") } else { String::new() };
                keys.push((key.clone(), format!("{}/{}{number}", namespace(key_pair), name(key_pair))));
                pairs.insert((namespace(key_pair), name(key_pair), key.clone()));
            }
        }
        let own = format!("{}/{}", namespace(publication), name(publication));
        let literals = texts(entry, "publicKeys").into_iter().filter(|line| is_public_key(line));
        keys.extend(literals.filter_map(key_of).map(|key| (key, own.clone())));
        let prefixes = if is_of_hosts { hosts(entry, is_hashed) } else { vec![Prefix::Options(options(entry))] };
        for (key, comment) in keys.into_iter().filter(|(key, _)| !is_certificate(key)) {
            for prefix in &prefixes {
                let is_same = |line: &Line| line.key == key && is_same_prefix(&line.prefix, prefix);
                if !wanted.lines.iter().any(is_same) {
                    wanted.lines.push(Line { prefix: prefix.clone(), key: key.clone(), comment: comment.clone() });
                }
            }
        }
    }
    wanted.reason = problems.first().copied().flatten().and_then(|number| PROBLEMS.get(number).copied());
    let keys: BTreeSet<String> = wanted.lines.iter().map(|line| line.key.clone()).collect();
    pairs.retain(|(_, _, key)| keys.contains(key));
    wanted.key_pairs = pairs.iter().map(|(namespace, name, _)| (namespace, name)).collect::<BTreeSet<_>>().len();
    wanted
}

/// Whether a key has one line with both: sshd tells only a certificate authority from the key itself.
fn is_same_prefix(one: &Prefix, other: &Prefix) -> bool {
    let is_authority = |options: &BTreeSet<String>| options.contains("cert-authority");
    match (one, other) {
        (Prefix::Options(one), Prefix::Options(other)) => is_authority(one) == is_authority(other),
        _ => one == other,
    }
}

fn hosts(entry: &Value, is_hashed: bool) -> Vec<Prefix> {
    let marker = match text(entry, "/marker") {
        Some("CertAuthority") => "@cert-authority",
        Some("Revoked") => "@revoked",
        _ => "",
    };
    let hosts: Vec<&str> = texts(entry, "hosts").into_iter().filter(|host| is_host(host)).collect();
    if is_hashed {
        return hosts.iter().map(|host| Prefix::Hashed(marker.to_owned(), (*host).to_owned())).collect();
    }
    vec![Prefix::Hosts(marker.to_owned(), hosts.join(","))]
}

/// The options of an entry, as sshd(8) describes them.
fn options(entry: &Value) -> BTreeSet<String> {
    let mut options = BTreeSet::new();
    let Some(of) = entry.get("options").filter(|options| options.is_object()) else { return options };
    let flag = |field: &str| of.get(field).and_then(Value::as_bool);
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\\\""));
    for (field, option) in [("restrict", "restrict"), ("certAuthority", "cert-authority")] {
        options.extend((flag(field) == Some(true)).then(|| option.to_owned()));
    }
    for (field, option) in [
        ("pty", "pty"),
        ("portForwarding", "port-forwarding"),
        ("agentForwarding", "agent-forwarding"),
        ("x11Forwarding", "x11-forwarding"),
        ("userRC", "user-rc"),
    ] {
        options.extend(flag(field).map(|allows| if allows { option.to_owned() } else { format!("no-{option}") }));
    }
    for (field, option) in [("from", "from"), ("principals", "principals")] {
        let list = texts(of, field).join(",");
        options.extend((!list.is_empty()).then(|| format!("{option}={}", quoted(&list))));
    }
    options.extend(texts(of, "permitOpen").iter().map(|to| format!("permitopen={}", quoted(to))));
    options.extend(text(of, "/command").map(|command| format!("command={}", quoted(command))));
    let environment = of.get("environment").and_then(Value::as_object).into_iter().flatten();
    options.extend(environment.map(|(name, value)| {
        format!("environment={}", quoted(&format!("{name}={}", value.as_str().unwrap_or_default())))
    }));
    let digits = |time: &str| time.chars().filter(char::is_ascii_digit).collect::<String>();
    options
        .extend(text(of, "/expiryTime").map(|time| format!("expiry-time={}", quoted(&format!("{}Z", digits(time))))));
    options
}
