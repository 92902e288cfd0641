//! Generated RSA keys have the properties that FIPS 186-5 requires, `openssl rsa -check` accepts them, and their primes are
//! distributed like random primes.
//!
//! `KEYPAIR_RSA_KEYS` sets the number of 2048-bit keys to check, and a tenth of it for longer keys and for keys of AWS-LC's own
//! generator. If it is set, openssl checks all of them.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a test stops at the first surprise, and counts what is few"
)]

use std::{
    collections::BTreeSet,
    env,
    io::Write as _,
    process::{Command, Stdio},
    sync::OnceLock,
};

use crypto_bigint::{BoxedUint, ConcatenatingMul as _, Gcd as _, NonZero};
use der::Decode as _;
use keypair_operator::domain::key::{Encoding, KeySpec, PrivateKey};
use keypair_operator::keygen::{RsaGenerator, generate, generate_with};
use pkcs1::RsaPrivateKeyRef;
use pkcs8::PrivateKeyInfoRef;

const EXPONENT: u64 = 65537;

fn wanted() -> Option<usize> {
    env::var("KEYPAIR_RSA_KEYS").ok().map(|number| number.parse().expect("KEYPAIR_RSA_KEYS should be a number"))
}

/// Keys of the default generator, shared by the tests: keys of 2048 bits, and fewer of 3072 and 4096.
fn keys() -> &'static [PrivateKey] {
    static KEYS: OnceLock<Vec<PrivateKey>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let short = wanted().unwrap_or(150);
        let long = wanted().map_or(3, |number| number.div_ceil(10));
        let kinds = [(KeySpec::Rsa2048, short), (KeySpec::Rsa3072, long), (KeySpec::Rsa4096, long)];
        kinds
            .iter()
            .flat_map(|(spec, number)| (0..*number).map(|_| generate(*spec).expect("key generation should succeed")))
            .collect()
    })
}

/// Keys of AWS-LC's own generator: fewer, because AWS-LC is responsible for its primes.
fn library_keys() -> &'static [PrivateKey] {
    static KEYS: OnceLock<Vec<PrivateKey>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let short = wanted().map_or(10, |number| number.div_ceil(10));
        let long = wanted().map_or(1, |number| number.div_ceil(100));
        let kinds = [(KeySpec::Rsa2048, short), (KeySpec::Rsa3072, long), (KeySpec::Rsa4096, long)];
        let generate = |spec| generate_with(spec, RsaGenerator::Library).expect("key generation should succeed");
        kinds.iter().flat_map(|(spec, number)| (0..*number).map(|_| generate(*spec))).collect()
    })
}

fn with_numbers<T>(key: &PrivateKey, look: impl FnOnce(&RsaPrivateKeyRef<'_>) -> T) -> T {
    let info = PrivateKeyInfoRef::from_der(key.pkcs8_der()).expect("PKCS#8");
    look(&RsaPrivateKeyRef::from_der(info.private_key.as_bytes()).expect("PKCS#1"))
}

/// Both primes as big-endian bytes.
fn primes(key: &PrivateKey) -> [Vec<u8>; 2] {
    with_numbers(key, |numbers| [numbers.prime1, numbers.prime2].map(|prime| prime.as_bytes().to_vec()))
}

fn number(bytes: &[u8]) -> BoxedUint {
    BoxedUint::from_be_slice_vartime(bytes)
}

fn remainder(bytes: &[u8], divisor: u64) -> u64 {
    bytes.iter().fold(0, |rest, byte| (rest << 8 | u64::from(*byte)) % divisor)
}

#[test]
fn every_rsa_key_meets_the_standard() {
    for key in keys().iter().chain(library_keys()) {
        let bits = key.bits();
        let half = bits / 2;
        with_numbers(key, |numbers| {
            assert_eq!(numbers.public_exponent.as_bytes(), [1, 0, 1]);
            let n = number(numbers.modulus.as_bytes());
            let [p, q, d] =
                [numbers.prime1, numbers.prime2, numbers.private_exponent].map(|part| number(part.as_bytes()));
            assert_eq!(p.concatenating_mul(&q), n);
            assert_eq!(n.bits_vartime(), bits);
            for prime in [numbers.prime1.as_bytes(), numbers.prime2.as_bytes()] {
                assert_eq!(prime.len() * 16, bits as usize);
                // The square root of 2^(2 half - 1) begins with these bits.
                assert!(
                    prime[..8] >= 0xb504_f333_f9de_6484_u64.to_be_bytes()[..],
                    "the prime is below the square root of 2^(2 half - 1)"
                );
                assert_ne!(remainder(prime, EXPONENT), 1, "p - 1 has a factor in common with the exponent");
            }
            assert!(p > q, "the larger prime should come first");
            assert!(p.wrapping_sub(&q).bits_vartime() > half - 100, "the primes are too close");
            assert!(d.bits_vartime() > half, "the private exponent is too small");
            // d is minimal: below the least common multiple of p - 1 and q - 1.
            let one = BoxedUint::one_with_precision(half);
            let [p, q] = [p.wrapping_sub(&one), q.wrapping_sub(&one)];
            let gcd: NonZero<BoxedUint> =
                NonZero::new(p.gcd(&q)).expect("the greatest common divisor should not be zero");
            let lcm = p.wrapping_div(&gcd).concatenating_mul(&q);
            assert!(d < lcm);
            let product = d.concatenating_mul(&BoxedUint::from(EXPONENT));
            let lcm: NonZero<BoxedUint> = NonZero::new(lcm).expect("the least common multiple should not be zero");
            assert_eq!(product.rem_vartime(&lcm), BoxedUint::one());
        });
    }
}

#[test]
fn no_prime_is_used_twice() {
    let primes: Vec<_> = keys().iter().chain(library_keys()).flat_map(primes).collect();
    assert_eq!(primes.iter().collect::<BTreeSet<_>>().len(), primes.len());
}

/// `openssl` tests the primes with its own number of rounds.
#[test]
fn openssl_accepts_the_keys() {
    let all = wanted().is_some();
    let mut checked = 0;
    for key in keys().iter().rev().take(if all { usize::MAX } else { 30 }).chain(library_keys()) {
        let pem = key.encode(Encoding::Pkcs1, "").expect("encoding should succeed");
        let child = Command::new("openssl")
            .args(["rsa", "-check", "-noout"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            println!("openssl is not installed, so it was not asked");
            return;
        };
        child.stdin.take().unwrap().write_all(pem.as_bytes()).expect("openssl should read the key");
        let output = child.wait_with_output().expect("openssl should exit");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success() && said.contains("RSA key ok"), "{said}");
        checked += 1;
    }
    println!("openssl accepted {checked} keys");
}

/// How far the counts are from a uniform distribution: Pearson's chi-squared statistic.
fn chi_square(counts: &[u32]) -> f64 {
    let expected = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
    counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum()
}

/// The value that [`chi_square`] of equally likely classes exceeds once in 10^11 times (Wilson and Hilferty's approximation), so that
/// correct primes practically never fail the test.
fn limit(classes: usize) -> f64 {
    let freedom = (classes - 1) as f64;
    let spread = 2.0 / (9.0 * freedom);
    freedom * (1.0 - spread + 6.71 * spread.sqrt()).powi(3)
}

/// Returns the class of a big-endian prime.
type Class = Box<dyn Fn(&[u8]) -> usize>;

/// Divides primes into classes that are equally likely for random primes.
struct Sorting {
    name: String,
    classes: usize,
    class: Class,
}

fn sortings() -> Vec<Sorting> {
    let mut sortings = Vec::new();
    let mut add = |name: String, classes: usize, class: Class| {
        sortings.push(Sorting { name, classes, class });
    };
    for prime in [3_u64, 5, 7, 11, 13, 17] {
        let classes = usize::try_from(prime - 1).unwrap();
        add(
            format!("the remainder by {prime}"),
            classes,
            Box::new(move |bytes| usize::try_from(remainder(bytes, prime) - 1).unwrap()),
        );
    }
    add("the last four bits".to_owned(), 8, Box::new(|bytes| usize::from(bytes[bytes.len() - 1] & 15) / 2));
    for part in 1..8 {
        let at = move |bytes: &[u8]| bytes[bytes.len() * part / 8];
        add(format!("four bits at {part}/8"), 16, Box::new(move |bytes| usize::from(at(bytes) >> 4)));
    }
    // The position of a prime between the square root and the end of the interval: practically uniform, because the density of
    // primes varies by less than a thousandth.
    let place = |bytes: &[u8]| {
        let first = u32::from_be_bytes(bytes[..4].try_into().unwrap());
        let root = 0.5_f64.sqrt();
        (f64::from(first) / 2_f64.powi(32) - root) / (1.0 - root)
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 16")]
    add("the place in the interval".to_owned(), 16, Box::new(move |bytes| ((place(bytes) * 16.0) as usize).min(15)));
    sortings
}

fn sort(sorting: &Sorting, primes: &[Vec<u8>]) -> f64 {
    let mut counts = vec![0; sorting.classes];
    for prime in primes {
        counts[(sorting.class)(prime)] += 1;
    }
    chi_square(&counts)
}

#[test]
fn primes_are_distributed_like_random_ones() {
    // Which prime is the larger one is not random, so use both primes of each key.
    let primes: Vec<_> = keys().iter().flat_map(primes).collect();
    for sorting in sortings() {
        let (found, limit) = (sort(&sorting, &primes), limit(sorting.classes));
        println!(
            "{}: {found:.1} of {} primes in {} classes, limit {limit:.1}",
            sorting.name,
            primes.len(),
            sorting.classes
        );
        assert!(found < limit, "{}: {found} exceeds {limit}", sorting.name);
    }
}

/// Changes a prime as a broken generator would.
type Spoil = fn(&mut Vec<u8>);

/// The same statistics detect primes of a broken generator.
#[test]
fn primes_of_a_broken_generator_are_detected() {
    let primes: Vec<_> = keys().iter().flat_map(primes).collect();
    let spoils: [(&str, Spoil); 3] = [
        ("four bits at 4/8", |prime| {
            let middle = prime.len() / 2;
            prime[middle] |= 0x40;
        }),
        ("the last four bits", |prime| *prime.last_mut().unwrap() |= 2),
        // Always in the upper half of the interval.
        ("the place in the interval", |prime| prime[0] |= 0xe0),
    ];
    for (name, spoil) in spoils {
        let mut broken = primes.clone();
        broken.iter_mut().for_each(spoil);
        let sorting = sortings().into_iter().find(|sorting| sorting.name == name).unwrap();
        assert!(sort(&sorting, &broken) > limit(sorting.classes), "{name}");
    }
}
