//! Key pairs for thousands of histories: generated once in a process, and handed out in the same order in each history.

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

/// Keys by their kind, as PKCS#8 in DER.
type Generated = BTreeMap<String, Vec<Arc<[u8]>>>;

/// Those that there are so far.
static KEYS: LazyLock<Mutex<Generated>> = LazyLock::new(Mutex::default);

/// How many keys of each kind users have of their own. The operator is given others.
pub const OF_USERS: usize = 4;

/// The key of this kind and number.
///
/// # Panics
///
/// Where no key can be generated.
#[must_use]
pub fn key(spec: KeySpec, number: usize) -> PrivateKey {
    let der = {
        let mut keys = KEYS.lock().unwrap_or_else(PoisonError::into_inner);
        let of_kind = keys.entry(format!("{spec:?}")).or_default();
        while of_kind.len() <= number {
            let key = keygen::generate(spec).expect("no key can be generated");
            of_kind.push(key.pkcs8_der().into());
        }
        of_kind.get(number).map_or_else(|| Arc::from([]), Arc::clone)
    };
    PrivateKey::from_pkcs8_der(&der).expect("a key that was generated is one")
}

/// The entry `data` of a Secret, in base64, with a key of a user.
///
/// # Panics
///
/// Where the key cannot be written.
#[must_use]
pub fn users_entry(number: usize) -> String {
    let spec = if number.is_multiple_of(2) { KeySpec::Ed25519 } else { KeySpec::Rsa2048 };
    let encoding = if number.is_multiple_of(3) { Encoding::OpenSsh } else { Encoding::Pkcs8 };
    let text = key(spec, number % OF_USERS).encode(encoding, "").expect("a key can be written");
    Base64::encode_string(text.as_bytes())
}

/// Puts entries with private keys where they are named.
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

/// What the operators of one history are given: never the same key twice.
pub struct Keys(Mutex<Given>);

struct Given {
    dice: Dice,
    numbers: BTreeMap<String, usize>,
}

impl Keys {
    /// From this seed delays are drawn.
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

/// The longest time that an RSA key takes, in milliseconds.
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
