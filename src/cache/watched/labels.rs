//! The labels of `KeyPair`s, in bounded size.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

pub use crate::domain::label_selector::MAX_LABEL_BYTES;

/// The labels of an object.
pub type Labels = BTreeMap<String, String>;

/// The labels of a `KeyPair` that decide which selectors match it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PairLabels<L = Labels> {
    /// It has none.
    #[default]
    None,
    /// These.
    Some(L),
    /// They are larger than [`MAX_LABEL_BYTES`]: no selector matches the pair.
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
                let (mut labels, mut bytes) = (Labels::new(), 0_usize);
                while let Some(key) = map.next_key::<String>()? {
                    if bytes > MAX_LABEL_BYTES {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let value = map.next_value::<String>()?;
                    bytes = bytes.saturating_add(key.len()).saturating_add(value.len());
                    labels.insert(key, value);
                }
                Ok(KnownLabels(match () {
                    () if bytes > MAX_LABEL_BYTES => PairLabels::TooLarge,
                    () if labels.is_empty() => PairLabels::None,
                    () => PairLabels::Some(labels),
                }))
            }
        }

        deserializer.deserialize_any(Bounded)
    }
}
