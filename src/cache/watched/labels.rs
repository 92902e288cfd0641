//! The labels of `KeyPair`s, in bounded size.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use crate::domain::label_selector::are_selectable;

/// Ends each key and each value. No label contains it.
const END: char = '\0';

/// The labels of an object in one piece of memory, in the order of their keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(Box<str>);

impl Labels {
    /// The keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut texts = self.0.split_terminator(END);
        std::iter::from_fn(move || Some((texts.next()?, texts.next()?)))
    }

    /// The value of the label with this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(other, _)| *other == key).map(|(_, value)| value)
    }
}

impl From<&BTreeMap<String, String>> for Labels {
    fn from(labels: &BTreeMap<String, String>) -> Self {
        let mut text = String::new();
        for part in labels.iter().flat_map(|(key, value)| [key, value]) {
            text.push_str(part);
            text.push(END);
        }
        Self(text.into())
    }
}

/// The labels of a `KeyPair` that decide which selectors match it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PairLabels<L = Labels> {
    /// It has none.
    #[default]
    None,
    /// These.
    Some(L),
    /// They are too large or too many ([`are_selectable`]): no selector matches the pair.
    TooLarge,
}

impl PairLabels<Arc<Labels>> {
    /// Whether both are the same labels.
    pub fn is_same(&self, other: &PairLabels) -> bool {
        match (self, other) {
            (Self::None, PairLabels::None) | (Self::TooLarge, PairLabels::TooLarge) => true,
            (Self::Some(one), PairLabels::Some(other)) => **one == *other,
            _ => false,
        }
    }
}

/// The labels, if they are not too large.
#[derive(Default)]
pub(super) struct KnownLabels(pub(super) PairLabels);

impl<'de> Deserialize<'de> for KnownLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;

        impl<'de> Visitor<'de> for Bounded {
            type Value = KnownLabels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(KnownLabels::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut labels, mut bytes) = (BTreeMap::new(), 0_usize);
                let mut is_too_large = false;
                while let Some(key) = map.next_key::<String>()? {
                    if is_too_large {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let value = map.next_value::<String>()?;
                    bytes = bytes.saturating_add(key.len()).saturating_add(value.len());
                    let is_valid = !key.contains(END) && !value.contains(END);
                    labels.insert(key, value);
                    is_too_large = !are_selectable(labels.len(), bytes) || !is_valid;
                }
                Ok(KnownLabels(match () {
                    () if is_too_large => PairLabels::TooLarge,
                    () if labels.is_empty() => PairLabels::None,
                    () => PairLabels::Some(Labels::from(&labels)),
                }))
            }
        }

        deserializer.deserialize_any(Bounded)
    }
}
