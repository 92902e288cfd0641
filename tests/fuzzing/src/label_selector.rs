//! `LabelSelector`, compared with a second implementation of the Kubernetes grammar, and with kube's evaluation.
//!
//! The first line of the data is the selector, and each further line is a label, `key=value`.

use std::collections::{BTreeMap, BTreeSet};

use keypair_operator::domain::label_selector::LabelSelector;
use kube::core::{Expression, Selector, SelectorExt as _};

/// Two parsers agree on whether a text is a selector, and on which labels it selects.
///
/// # Panics
///
/// If they disagree.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (selector, rest) = text.split_once('\n').unwrap_or((text, ""));
    let labels: BTreeMap<String, String> =
        rest.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect();
    let ours = selector.parse::<LabelSelector>();
    let theirs = Reader::new(selector).selector();
    match (&ours, &theirs) {
        (Ok(ours), Some(theirs)) => {
            same_selection(ours, theirs, &labels);
            // What kube formats parses as the same selector.
            let again: LabelSelector = theirs.to_string().parse().expect("kube formats a valid selector");
            same_selection(&again, theirs, &labels);
        }
        (Err(_), None) => {}
        (Ok(_), None) => panic!("{selector:?} is invalid, but accepted"),
        (Err(_), Some(_)) => panic!("{selector:?} is valid, but refused"),
    }
}

/// Compares the result for these labels, and for labels that make a difference: each key of the selector, with each of its
/// values.
fn same_selection(ours: &LabelSelector, theirs: &Selector, labels: &BTreeMap<String, String>) {
    assert_eq!(ours.selects(labels), theirs.matches(labels), "{theirs}: {labels:?}");
    for expression in theirs.clone() {
        let (key, values) = match expression {
            Expression::In(key, values) | Expression::NotIn(key, values) => (key, values),
            Expression::Equal(key, value) | Expression::NotEqual(key, value) => (key, BTreeSet::from([value])),
            Expression::Exists(key) | Expression::DoesNotExist(key) => (key, BTreeSet::new()),
        };
        for value in values.into_iter().chain([String::new()]) {
            let mut labels = labels.clone();
            labels.insert(key.clone(), value);
            assert_eq!(ours.selects(&labels), theirs.matches(&labels), "{theirs}: {labels:?}");
            labels.remove(&key);
            assert_eq!(ours.selects(&labels), theirs.matches(&labels), "{theirs}: {labels:?}");
        }
    }
}

/// A parser of the grammar of `k8s.io/apimachinery/pkg/labels`, token by token, without the operators `>` and `<`, which
/// compare numbers.
struct Reader<'a> {
    tokens: Vec<&'a str>,
    at: usize,
}

const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];
const SYMBOLS: [&str; 7] = ["==", "!=", "=", "!", "(", ")", ","];

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        let mut tokens = Vec::new();
        let mut rest = text.trim_start_matches(SPACE);
        while let Some(first) = rest.chars().next() {
            let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)).map(|symbol| symbol.len());
            let ends = |c: char| SPACE.contains(&c) || "=!(),<>".contains(c);
            let length = symbol.unwrap_or_else(|| rest.find(ends).unwrap_or(rest.len())).max(first.len_utf8());
            let (token, after) = rest.split_at(length);
            tokens.push(token);
            rest = after.trim_start_matches(SPACE);
        }
        Self { tokens, at: 0 }
    }

    fn next(&mut self) -> Option<&'a str> {
        let token = self.tokens.get(self.at).copied();
        self.at += 1;
        token
    }

    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.at).copied()
    }

    fn selector(mut self) -> Option<Selector> {
        let mut expressions = Vec::new();
        if self.peek().is_none() {
            return Some(expressions.into_iter().collect());
        }
        loop {
            expressions.push(self.requirement()?);
            match self.next() {
                None => return Some(expressions.into_iter().collect()),
                Some(",") => {}
                Some(_) => return None,
            }
        }
    }

    fn requirement(&mut self) -> Option<Expression> {
        let is_negated = self.peek() == Some("!");
        if is_negated {
            self.next();
        }
        let key = self.next().filter(|key| is_key(key))?.to_owned();
        if is_negated {
            return Some(Expression::DoesNotExist(key));
        }
        if matches!(self.peek(), None | Some(",")) {
            return Some(Expression::Exists(key));
        }
        match self.next()? {
            "in" => Some(Expression::In(key, self.values()?)),
            "notin" => Some(Expression::NotIn(key, self.values()?)),
            "=" | "==" => Some(Expression::Equal(key, self.value()?)),
            "!=" => Some(Expression::NotEqual(key, self.value()?)),
            _ => None,
        }
    }

    /// A value, which may be empty, up to a comma, a parenthesis or the end.
    fn value(&mut self) -> Option<String> {
        match self.peek() {
            None | Some("," | ")") => Some(String::new()),
            Some(value) => {
                self.at += 1;
                Some(value).filter(|value| is_value(value)).map(str::to_owned)
            }
        }
    }

    fn values(&mut self) -> Option<BTreeSet<String>> {
        let mut values = BTreeSet::new();
        if self.next()? != "(" {
            return None;
        }
        loop {
            values.insert(self.value()?);
            match self.next()? {
                "," => {}
                ")" => return Some(values),
                _ => return None,
            }
        }
    }
}

/// A qualified name: an optional DNS subdomain with a slash, and a name, which is like a value but not empty.
fn is_key(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let is_label = |label: &str| {
        let within = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty() && label.chars().all(within) && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_prefix = |prefix: &str| prefix.len() <= 253 && prefix.split('.').all(is_label);
    !name.is_empty() && is_value(name) && prefix.is_none_or(is_prefix)
}

fn is_value(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends_well = |end: Option<&u8>| end.is_none_or(u8::is_ascii_alphanumeric);
    text.len() <= 63
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
        && ends_well(bytes.first())
        && ends_well(bytes.last())
}

/// Selectors of every kind, with labels.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let selectors = [
        "",
        "tier",
        "!zone",
        "tier=gold",
        "tier==gold",
        "tier!=silver",
        "tier in (gold, silver)",
        "zone notin (a,b)",
        "a in(b)",
        "example.com/region=",
        "tier in (gold,silver),!zone,example.com/region",
        "in in (in)",
        "notin notin (notin),in",
        "a in ()",
        "a,b",
        "a b",
        "=b",
        "a in b",
        "a in (b",
        "!",
        "a=b=c",
        "a>1",
        "a,,b",
        "a,",
        "-a",
        "A.b/c",
        "a=-",
        "! a",
        "a != b",
        "a\tin (b)",
    ];
    selectors.iter().map(|selector| format!("{selector}\ntier=gold\nexample.com/region=\na=b").into_bytes()).collect()
}
