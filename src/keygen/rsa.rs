//! RSA key pairs as FIPS 186-5 A.1.3 makes them, from probable primes. `docs/rsa-generation.md` argues each step.
//!
//! Every candidate is drawn anew, and the first one that passes is taken: so each prime of the interval is as likely as any
//! other. Two candidates are tested at the same time, but in their order.

use std::cmp::Ordering;

use der::Encode as _;
use pkcs1::{RsaPrivateKeyRef, UintRef};
use zeroize::Zeroizing;

use super::KeygenError;
use super::bignum::{ArithmeticError, Number, Power, Scratch};
use super::primes::Candidate;
use super::random::Random;
use super::sieve::{self, EXPONENT};

/// How often a prime is tested: once beside another candidate, then in pairs. FIPS 186-5 wants 5 rounds for primes of 1024
/// bits, and 4 for longer ones.
const ROUNDS: usize = 5;

/// The first 64 bits of the square root of 2. No candidate may be less, as a fraction of the greatest.
const ROOT_OF_TWO: u64 = 0xb504_f333_f9de_6484;

/// Generates a key pair with a modulus of `bits` bits, as an `RSAPrivateKey` in DER.
///
/// What AWS-LC would refuse, such as numbers that do not belong together, is left to whoever reads it.
pub(super) fn generate(bits: usize, random: &mut impl Random) -> Result<Zeroizing<Vec<u8>>, KeygenError> {
    let mut scratch = Scratch::new()?;
    let p = find_prime(bits, 5 * bits, None, random, &mut scratch)?;
    let q = find_prime(bits, 10 * bits, Some(p.number()), random, &mut scratch)?;
    // The larger one is `p`, so that `q` is below it, as the last exponentiation needs it.
    let [p, q] = if p.number().compare(q.number()) == Ordering::Less { [q, p] } else { [p, q] };
    Key::new(bits, &p, &q, &mut scratch)?.to_der()
}

/// Steps 4 and 5: draws candidates of half of `bits` until one is prime, far enough from the `other` prime.
fn find_prime(
    bits: usize,
    attempts: usize,
    other: Option<&Number>,
    random: &mut impl Random,
    scratch: &mut Scratch,
) -> Result<Candidate, KeygenError> {
    let mut search = Search::new(bits, attempts, other);
    while let Some(first) = search.next(random, scratch)? {
        // Where the attempts are used up, the last candidate has two rounds instead.
        let second = search.next(random, scratch)?;
        let [one, two] = Candidate::round([&first, second.as_ref().unwrap_or(&first)], random, scratch)?;
        for (candidate, passed) in [(Some(first), one), (second, two)] {
            if let Some(candidate) = candidate.filter(|_| passed)
                && candidate.passes_rounds(ROUNDS - 1, random, scratch)?
            {
                return Ok(candidate);
            }
        }
    }
    Err(KeygenError::NoPrime)
}

/// How many candidates are drawn at a time: drawing them one by one takes longer.
const BATCH: usize = 16;

/// The candidates for one prime.
struct Search<'a> {
    /// Those of the modulus.
    bits: usize,
    /// How many more may be tried, and drawn: more than a third of what is drawn is too small to be tried.
    attempts: usize,
    draws: usize,
    other: Option<&'a Number>,
    /// Random bytes for candidates, of which so many are used.
    drawn: Zeroizing<Vec<u8>>,
    used: usize,
}

impl<'a> Search<'a> {
    fn new(bits: usize, attempts: usize, other: Option<&'a Number>) -> Self {
        let length = BATCH * bits / 16;
        Self { bits, attempts, draws: 4 * attempts, other, drawn: Zeroizing::new(vec![0; length]), used: length }
    }

    /// Steps 4.2 and 4.3: an odd number of half the bits, big-endian.
    fn draw(&mut self, random: &mut impl Random) -> Result<&[u8], KeygenError> {
        if self.used == self.drawn.len() {
            random.fill(&mut self.drawn)?;
            self.used = 0;
        }
        let length = self.bits / 16;
        let candidate = self.drawn.get_mut(self.used..self.used + length).ok_or(KeygenError::Generation)?;
        self.used += length;
        // A number without its highest bit would be thrown away in step 4.4; with it, all others stay as likely as they were.
        candidate.first_mut().into_iter().for_each(|byte| *byte |= 0x80);
        candidate.last_mut().into_iter().for_each(|byte| *byte |= 1);
        Ok(candidate)
    }

    /// The next candidate that small primes leave over and whose `p - 1` has no factor in common with the exponent. `None`:
    /// no more may be drawn.
    fn next(&mut self, random: &mut impl Random, scratch: &mut Scratch) -> Result<Option<Candidate>, KeygenError> {
        let mut words = Zeroizing::new(vec![0; self.bits / 128]);
        while self.attempts > 0 && self.draws > 0 {
            self.draws -= 1;
            let bytes = self.draw(random)?;
            words.iter_mut().zip(sieve::words(bytes)).for_each(|(word, value)| *word = value);
            // Step 4.4. That the first bits are those of the root happens once in 2^64 times; it counts as less.
            if words.last().is_none_or(|highest| *highest <= ROOT_OF_TWO) {
                continue;
            }
            // The exponent is prime, so it has a factor in common with multiples of it only.
            let promising = !sieve::has_small_factor(&words) && sieve::modulo_exponent(&words) != 1;
            let number = if promising { Some(Number::from_be_bytes(bytes)?) } else { None };
            self.attempts -= 1;
            if let Some(number) = number
                && self.is_far_enough(&number)?
            {
                return Ok(Some(Candidate::new(number, scratch)?));
            }
        }
        Ok(None)
    }

    /// Step 5.5: whether the difference is greater than two to the power of half the bits less 100.
    fn is_far_enough(&self, number: &Number) -> Result<bool, KeygenError> {
        let Some(other) = self.other else {
            return Ok(true);
        };
        let [less, greater] = if number.compare(other) == Ordering::Less { [number, other] } else { [other, number] };
        Ok(greater.minus(less)?.compare(&power_of_two(self.bits / 2 - 100)?) == Ordering::Greater)
    }
}

/// The numbers of RFC 8017 §A.1.2, but for the public exponent, each big-endian.
struct Key {
    modulus: Zeroizing<Vec<u8>>,
    private_exponent: Zeroizing<Vec<u8>>,
    prime1: Zeroizing<Vec<u8>>,
    prime2: Zeroizing<Vec<u8>>,
    exponent1: Zeroizing<Vec<u8>>,
    exponent2: Zeroizing<Vec<u8>>,
    coefficient: Zeroizing<Vec<u8>>,
}

impl Key {
    /// The key of two primes, of which `p` is the larger one.
    fn new(bits: usize, p: &Candidate, q: &Candidate, scratch: &mut Scratch) -> Result<Self, KeygenError> {
        let (whole, half) = (bits / 8, bits / 16);
        let modulus = p.number().times(q.number(), scratch)?;
        if modulus.bits() != bits {
            return Err(KeygenError::Refused);
        }
        let [one, two] = [Number::from_word(1)?, Number::from_word(2)?];
        let [p_less_one, q_less_one] = [p.number().minus(&one)?, q.number().minus(&one)?];
        let gcd = p_less_one.gcd(&q_less_one, scratch)?;
        let lcm = p_less_one.divided_by(&gcd, scratch)?.times(&q_less_one, scratch)?;
        let private_exponent = inverse_of_exponent(&lcm, whole, scratch)?;
        if private_exponent.compare(&power_of_two(bits / 2)?) != Ordering::Greater {
            return Err(KeygenError::Refused);
        }
        // By Fermat's theorem, which takes the same time for every `q`.
        let power = Power { modulus: p.modulus(), base: q.number(), exponent: &p.number().minus(&two)? };
        Ok(Self {
            modulus: modulus.to_be_bytes(whole)?,
            private_exponent: private_exponent.to_be_bytes(whole)?,
            prime1: p.number().to_be_bytes(half)?,
            prime2: q.number().to_be_bytes(half)?,
            exponent1: inverse_of_exponent(&p_less_one, half, scratch)?.to_be_bytes(half)?,
            exponent2: inverse_of_exponent(&q_less_one, half, scratch)?.to_be_bytes(half)?,
            coefficient: power.compute(scratch)?.to_be_bytes(half)?,
        })
    }

    fn to_der(&self) -> Result<Zeroizing<Vec<u8>>, KeygenError> {
        let exponent = EXPONENT.to_be_bytes();
        let key = RsaPrivateKeyRef {
            modulus: UintRef::new(&self.modulus)?,
            public_exponent: UintRef::new(&exponent)?,
            private_exponent: UintRef::new(&self.private_exponent)?,
            prime1: UintRef::new(&self.prime1)?,
            prime2: UintRef::new(&self.prime2)?,
            exponent1: UintRef::new(&self.exponent1)?,
            exponent2: UintRef::new(&self.exponent2)?,
            coefficient: UintRef::new(&self.coefficient)?,
            other_prime_infos: None,
        };
        // In a buffer of exactly its length, so that nothing is left behind by growth.
        let length = usize::try_from(key.encoded_len()?).map_err(|_| KeygenError::Generation)?;
        let mut der = Zeroizing::new(vec![0; length]);
        key.encode_to_slice(&mut der)?;
        Ok(der)
    }
}

/// `1 / EXPONENT` modulo a number of at most `length` bytes.
///
/// It is `(1 + k number) / EXPONENT` for the one `k` below the exponent for which that is an integer. So no number as long as
/// a prime goes through Euclid's algorithm, whose steps show in timings and caches what it is about.
fn inverse_of_exponent(number: &Number, length: usize, scratch: &mut Scratch) -> Result<Number, KeygenError> {
    let words = Zeroizing::new(sieve::words(&number.to_be_bytes(length)?).collect::<Vec<_>>());
    let factor = EXPONENT - sieve::inverse_modulo_exponent(sieve::modulo_exponent(&words));
    let multiple = number.times(&Number::from_word(factor)?, scratch)?.plus(&Number::from_word(1)?)?;
    Ok(multiple.divided_by(&Number::from_word(EXPONENT)?, scratch)?)
}

fn power_of_two(exponent: usize) -> Result<Number, ArithmeticError> {
    let mut bytes = vec![0; exponent / 8 + 1];
    bytes.first_mut().into_iter().for_each(|byte| *byte = 1 << (exponent % 8));
    Number::from_be_bytes(&bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::VecDeque;

    use aws_lc_rs::rand::SystemRandom;
    use der::Decode as _;

    use super::super::random::RandomError;
    use super::*;

    /// Of 256 bits, the first two set.
    pub(in super::super) const PRIMES: [&str; 3] = [
        "f37bf96a531f017cf4ced850bd7831be4357eae1ab744e88b25622c7071ff5c9",
        "fbcf8de8d359c706fc377f4c0ada61e5786b5be3e5febd0c1adbecb1d4c1c3c5",
        "e9273aa899641e82ad815fe236c94fb4167d90c80e2f58c39c1b82d81b91ae29",
    ];
    /// One prime and the next.
    pub(in super::super) const NEIGHBOURS: [&str; 2] = [
        "b73efc9c1e2d556339de8a6355d786225035a75e46a2a72046dce912d8f997f9",
        "b73efc9c1e2d556339de8a6355d786225035a75e46a2a72046dce912d8f998b3",
    ];
    /// A prime that is 1 modulo 65537.
    const UNFIT: &str = "dd8b661e7370d51e8c64397f23602397762beebe75e6c4fc87c479d79df54ca7";
    /// A prime below the root of 2^511.
    const SMALL: &str = "acce5e40fe6abb01a2371bc58eb0e8df457886ce288e31aa3ade1fe3f45d939f";
    /// A product of two primes of 128 bits: no small prime divides it.
    const COMPOSITE: &str = "ec85acf5a4e2442e4d23c1ce6f6e20ef7b1ba485e82ff72489f0cead1c169975";
    /// The bits of a modulus of such primes.
    const BITS: usize = 512;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// Gives the candidates that it is told, then even ones divided by 3, and bases at random.
    struct Script(VecDeque<Vec<u8>>);

    impl Script {
        fn new(candidates: &[&str]) -> Self {
            Self(candidates.iter().map(|hex| bytes(hex)).collect())
        }
    }

    impl Random for Script {
        fn fill(&mut self, buffer: &mut [u8]) -> Result<(), RandomError> {
            if buffer.len() != BATCH * BITS / 16 {
                return SystemRandom::new().fill(buffer).map_err(|_| RandomError);
            }
            for candidate in buffer.chunks_mut(BITS / 16) {
                // Three times something: a number of 256 bits whose digits are all F.
                let next = self.0.pop_front().unwrap_or_else(|| vec![0xff; BITS / 16]);
                candidate.copy_from_slice(&next);
            }
            Ok(())
        }
    }

    fn find(candidates: &[&str], attempts: usize, other: Option<&str>) -> Result<Vec<u8>, KeygenError> {
        let mut scratch = Scratch::new()?;
        let other = other.map(|other| Number::from_be_bytes(&bytes(other)).unwrap());
        let found = find_prime(BITS, attempts, other.as_ref(), &mut Script::new(candidates), &mut scratch)?;
        Ok(found.number().to_be_bytes(BITS / 16)?.to_vec())
    }

    #[track_caller]
    fn assert_found(candidates: &[&str], expected: &str) {
        assert_eq!(find(candidates, 100, None), Ok(bytes(expected)));
    }

    #[test]
    fn the_first_prime_is_taken() {
        let [a, b, c] = PRIMES;
        assert_found(&[a, b, c], a);
        assert_found(&[b, a], b);
        assert_found(&[COMPOSITE, b, a], b);
        assert_found(&[COMPOSITE, COMPOSITE, c, a, b], c);
        assert_found(&[COMPOSITE, COMPOSITE, COMPOSITE, a, c], a);
        // Beyond what is drawn at a time.
        let late = [[COMPOSITE; 2 * BATCH].as_slice(), &[c, a]].concat();
        assert_found(&late, c);
    }

    #[test]
    fn a_candidate_is_made_odd_and_long() {
        let [a, b, _] = PRIMES;
        let even = format!("{}8", &a[..a.len() - 1]);
        let short = format!("7{}", &a[1..]);
        assert_found(&[&even, b], a);
        assert_found(&[&short, b], a);
    }

    #[test]
    fn unfit_primes_are_passed_over() {
        let [a, b, _] = PRIMES;
        assert_found(&[SMALL, UNFIT, b, a], b);
    }

    #[test]
    fn q_is_far_from_p() {
        let [near, next] = NEIGHBOURS;
        let [a, ..] = PRIMES;
        assert_eq!(find(&[next, near, a], 100, Some(near)), Ok(bytes(a)));
        assert_eq!(find(&[near, next, a], 100, Some(next)), Ok(bytes(a)));
        assert_eq!(find(&[next, a], 100, Some(a)), Ok(bytes(next)));
        // At the limit and just beyond, on both sides.
        let other = Number::from_be_bytes(&bytes(near)).unwrap();
        let search = Search::new(BITS, 1, Some(&other));
        let limit = power_of_two(BITS / 2 - 100).unwrap();
        let more = limit.plus(&Number::from_word(1).unwrap()).unwrap();
        for (distance, far) in [(&limit, false), (&more, true)] {
            assert_eq!(search.is_far_enough(&other.plus(distance).unwrap()), Ok(far));
            assert_eq!(search.is_far_enough(&other.minus(distance).unwrap()), Ok(far));
        }
        assert_eq!(search.is_far_enough(&other), Ok(false));
    }

    #[test]
    fn attempts_are_counted() {
        let [a, ..] = PRIMES;
        for composites in [0, 1, 2, 15, 16, 17] {
            let candidates = [vec![COMPOSITE; composites], vec![a]].concat();
            assert_eq!(find(&candidates, composites + 1, None), Ok(bytes(a)), "{composites}");
            assert_eq!(find(&candidates, composites, None), Err(KeygenError::NoPrime), "{composites}");
        }
        // What is too small counts as drawn only.
        assert_eq!(find(&[SMALL, SMALL, SMALL, a], 1, None), Ok(bytes(a)));
        assert_eq!(find(&[SMALL, SMALL, SMALL, SMALL, a], 1, None), Err(KeygenError::NoPrime));
    }

    struct Constant(Result<u8, RandomError>);

    impl Random for Constant {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
            bytes.fill(self.0?);
            Ok(())
        }
    }

    #[test]
    fn a_broken_generator_makes_no_key() {
        for byte in [0, 0xff, 0xaa] {
            assert_eq!(generate(2048, &mut Constant(Ok(byte))), Err(KeygenError::NoPrime));
        }
        assert_eq!(generate(2048, &mut Constant(Err(RandomError))), Err(KeygenError::Generation));
    }

    /// From the primes of a key that `openssl` made all its numbers follow.
    #[test]
    fn the_numbers_are_those_of_openssl() {
        for name in ["rsa2048", "rsa3070"] {
            let path = format!("{}/tests/vectors/private/plain/{name}.traditional", env!("CARGO_MANIFEST_DIR"));
            let (_, der) = pem_rfc7468::decode_vec(std::fs::read_to_string(path).unwrap().as_bytes()).unwrap();
            let key = RsaPrivateKeyRef::from_der(&der).unwrap();
            let bits = key.modulus.as_bytes().len() * 8;
            let mut scratch = Scratch::new().unwrap();
            let [p, q] = [key.prime1, key.prime2]
                .map(|prime| Candidate::new(Number::from_be_bytes(prime.as_bytes()).unwrap(), &mut scratch).unwrap());
            let made = Key::new(bits, &p, &q, &mut scratch);
            if name == "rsa2048" {
                assert!(*made.unwrap().to_der().unwrap() == der);
            } else {
                assert_eq!(made.err(), Some(KeygenError::Refused), "3070 bits are not 3072");
            }
        }
    }

    #[test]
    fn a_power_of_two_is_one() {
        for exponent in [0, 1, 7, 8, 9, 63, 64, 924] {
            let power = power_of_two(exponent).unwrap();
            assert_eq!((power.bits(), power.trailing_zeros()), (exponent + 1, exponent));
        }
    }
}
