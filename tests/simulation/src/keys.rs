//! Key pairs for thousands of histories: generated once per process, and used in the same order in every history.

use std::{
    collections::BTreeMap,
    fmt,
    num::NonZeroU64,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use base64ct::{Base64, Encoding as _};
use futures::{FutureExt, future::BoxFuture};
use keypair_operator::{
    controller::KeySource,
    domain::key::{Algorithm, Encoding, KeySpec, PrivateKey},
    keygen,
};
use keypair_test_harness::Dice;
use serde_json::Value;

/// Generated keys by type, as PKCS#8 DER.
type Generated = BTreeMap<String, Vec<Arc<[u8]>>>;

/// All keys generated so far.
static KEYS: LazyLock<Mutex<Generated>> = LazyLock::new(Mutex::default);

/// The number of keys of each type that are reserved for users. The operator never gets one of them.
pub const OF_USERS: usize = 4;

/// Returns the key of this type and number.
///
/// # Panics
///
/// If key generation fails.
#[must_use]
pub fn key(spec: KeySpec, number: usize) -> PrivateKey {
    let der = {
        let mut keys = KEYS.lock().unwrap_or_else(PoisonError::into_inner);
        let of_kind = keys.entry(format!("{spec:?}")).or_default();
        while of_kind.len() <= number {
            let key = keygen::generate(spec).expect("key generation works");
            of_kind.push(key.pkcs8_der().into());
        }
        of_kind.get(number).map_or_else(|| Arc::from([]), Arc::clone)
    };
    PrivateKey::from_pkcs8_der(&der).expect("a generated key can be decoded")
}

/// A private key of a user, as a base64 value for `data` of a Secret.
///
/// # Panics
///
/// If the key cannot be encoded.
#[must_use]
pub fn users_entry(number: usize) -> String {
    let spec = if number.is_multiple_of(2) { KeySpec::Ed25519 } else { KeySpec::Rsa2048 };
    let encoding = if number.is_multiple_of(3) { Encoding::OpenSsh } else { Encoding::Pkcs8 };
    let text = key(spec, number % OF_USERS).encode(encoding, "").expect("a generated key can be encoded");
    Base64::encode_string(text.as_bytes())
}

/// The public key of a user, as an OpenSSH line.
#[must_use]
pub fn users_line(number: usize) -> Option<String> {
    let key = key(KeySpec::Ed25519, number % OF_USERS).public_key("somebody else").ok()?;
    Some(key.to_openssh())
}

/// Replaces each `$KEY<n>` with a private key of a user.
pub fn with_keys(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(number) = text.strip_prefix("$KEY").and_then(|number| number.parse().ok()) {
                *text = users_entry(number);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(with_keys),
        Value::Object(fields) => fields.values_mut().for_each(with_keys),
        _ => {}
    }
}

/// The keys that the operators of one history generate: never the same key twice.
pub struct Keys(Mutex<Given>);

struct Given {
    dice: Dice,
    numbers: BTreeMap<String, usize>,
}

impl Keys {
    /// The seed determines how long key generation takes.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(Given { dice: Dice::new(seed), numbers: BTreeMap::new() }))
    }

    fn next(&self, spec: KeySpec) -> PrivateKey {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = given.numbers.entry(format!("{spec:?}")).or_insert(OF_USERS);
        *number += 1;
        key(spec, *number - 1)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

/// The maximum time that the generation of an RSA key takes, in milliseconds.
const LONGEST: NonZeroU64 = NonZeroU64::new(2000).unwrap();

impl KeySource for Keys {
    fn at_once(&self, spec: KeySpec) -> Option<PrivateKey> {
        (spec.algorithm() != Algorithm::Rsa).then(|| self.next(spec))
    }

    fn generate(&self, spec: KeySpec) -> BoxFuture<'static, PrivateKey> {
        let delay = self.0.lock().unwrap_or_else(PoisonError::into_inner).dice.below(LONGEST.get());
        let key = self.next(spec);
        async move {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            key
        }
        .boxed()
    }
}
