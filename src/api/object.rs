//! Deserializes the types of the API from JSON objects only.
//!
//! The code that serde derives for a struct also accepts an array of its fields: `spec: []` would be a `KeyPair` with every
//! default. The API server rejects such an object. But the object may have been stored before the CRD had a schema, and `lint` and
//! the webhook read unvalidated input. So the types of the API use the derived code through [`Object`], which accepts fields by
//! name only, at any depth.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
    forward_to_deserialize_any,
};

/// A deserializer that accepts only an object for a struct.
pub struct Object<D>(pub D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Object<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_struct(name, fields, Fields(visitor))
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// A visitor of a struct that accepts its fields by name, not by position.
struct Fields<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Fields<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(map)
    }
}

/// Implements `Deserialize` and `Serialize` for types with `#[serde(remote = "Self")]`, so that they are read from objects only.
macro_rules! read_from_objects {
    ($($type:ty),+ $(,)?) => {$(
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                // `#[serde(remote)]` derives an inherent function of this name; this is not a call of the trait method.
                <$type>::deserialize($crate::api::object::Object(deserializer))
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                <$type>::serialize(self, serializer)
            }
        }
    )+};
}

pub(crate) use read_from_objects;

/// A struct of another crate, read from an object only. Structs nested in it may still be arrays.
#[derive(Debug)]
pub struct FromObject<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for FromObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(Object(deserializer)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use kube::core::DeserializeGuard;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use crate::api::KeyPair;

    fn whole() -> Value {
        let time = "2026-01-01T00:00:00Z";
        json!({
            "metadata": { "name": "web", "namespace": "shop", "uid": "1" },
            "spec": {
                "profile": "UCloud",
                "generate": { "algorithm": "ECDSA", "bits": 256 },
                "tags": [{ "key": "k", "value": "v" }],
                "secret": {
                    "name": "web",
                    "template": {
                        "type": "Opaque", "labels": { "a": "b" }, "annotations": { "c": "d" }, "stringData": { "e": "f" },
                    },
                    "keys": { "privateKey": "a", "publicKey": "b" },
                },
            },
            "status": {
                "fingerprints": { "md5": "a", "sha256": "b" },
                "error": { "reason": "a", "code": "b", "message": "c", "httpStatus": 400 },
                "conditions": [
                    { "type": "Ready", "status": "True", "reason": "a", "message": "b", "lastTransitionTime": time },
                ],
            },
        })
    }

    /// The JSON pointers of all objects in `value`.
    fn objects(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.push(at.to_owned());
                fields.iter().for_each(|(name, value)| objects(value, &format!("{at}/{name}"), found));
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(index, item)| objects(item, &format!("{at}/{index}"), found));
            }
            _ => {}
        }
    }

    /// Whether `value` is accepted as text, as a `Value`, and by the guard of the watch.
    fn is_read(value: &Value) -> [bool; 3] {
        fn by<T: DeserializeOwned>(value: &Value) -> Option<T> {
            serde_json::from_str(&value.to_string()).ok()
        }
        [
            by::<KeyPair>(value).is_some(),
            serde_json::from_value::<KeyPair>(value.clone()).is_ok(),
            by::<DeserializeGuard<KeyPair>>(value).is_some_and(|guard| guard.0.is_ok()),
        ]
    }

    #[test]
    fn an_array_is_refused_as_an_object_at_any_depth() {
        assert_eq!(is_read(&whole()), [true; 3]);
        let mut places = Vec::new();
        objects(&whole(), "", &mut places);
        // The API server stores nothing but objects, so the whole is one.
        places.retain(|place| !place.is_empty());
        assert!(places.len() >= 13, "{places:?}");
        for place in places {
            let mut object = whole();
            let there = object.pointer_mut(&place).unwrap();
            let fields: Vec<Value> = there.as_object().unwrap().values().cloned().collect();
            for array in [json!([]), Value::Array(fields)] {
                *object.pointer_mut(&place).unwrap() = array;
                assert_eq!(is_read(&object), [false; 3], "{place}: {object}");
            }
        }
    }

    #[test]
    fn a_decoded_key_pair_encodes_to_the_same_json() {
        let mut written = serde_json::to_value(serde_json::from_value::<KeyPair>(whole()).unwrap()).unwrap();
        let defaults = written.pointer_mut("/spec/secret").unwrap().as_object_mut().unwrap();
        defaults.retain(|field, _| !["encoding", "deletionPolicy", "onLoss"].contains(&field.as_str()));
        written.as_object_mut().unwrap().retain(|field, _| !["apiVersion", "kind"].contains(&field.as_str()));
        assert_eq!(written, whole());
    }
}
