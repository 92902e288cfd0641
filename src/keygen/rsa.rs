//! Generates RSA keys from probable primes as in FIPS 186-5 A.1.3. `docs/rsa-generation.md` explains each step.
//!
//! Every candidate is drawn independently, and the first one that passes is used, so all primes in the interval are equally likely.
//! Two candidates are tested at a time, in the order in which they were drawn.

use std::cmp::Ordering;

use zeroize::Zeroizing;

use super::KeygenError;
use super::bignum::{ArithmeticError, Number, Scratch};
use super::components::Components;
use super::primes::Candidate;
use super::random::Random;
use super::sieve;

/// The minimum number of Miller-Rabin rounds for a prime: one together with another candidate, the rest in pairs. FIPS 186-5
/// requires 5 rounds for primes of 1024 bits, and 4 for longer ones.
const ROUNDS: usize = 5;

/// The first 64 bits of the square root of 2. The first 64 bits of a candidate must be greater.
const ROOT_OF_TWO: u64 = 0xb504_f333_f9de_6484;

/// Generates a key pair with a modulus of `bits` bits, as an `RSAPrivateKey` in DER.
///
/// It does not check that the numbers of the key are consistent: AWS-LC does when the key is parsed.
pub(super) fn generate(bits: usize, random: &mut impl Random) -> Result<Zeroizing<Vec<u8>>, KeygenError> {
    let mut scratch = Scratch::new()?;
    let p = find_prime(bits, 5 * bits, None, random, &mut scratch)?;
    let q = find_prime(bits, 10 * bits, Some(p.number()), random, &mut scratch)?;
    // A key is built only from primes that AWS-LC's own test confirms.
    let [p, q] = [p.confirm(bits / 16, &mut scratch)?, q.confirm(bits / 16, &mut scratch)?];
    let bits = u32::try_from(bits).map_err(|_| KeygenError::UnusablePrimes)?;
    Components::new(bits, [&p, &q])?.to_der()
}

/// Steps 4 and 5: draws candidates of half of `bits` until one is prime and far enough from the `other` prime.
fn find_prime(
    bits: usize,
    attempts: usize,
    other: Option<&Number>,
    random: &mut impl Random,
    scratch: &mut Scratch,
) -> Result<Candidate, KeygenError> {
    let mut search = Search::new(bits, attempts, other);
    while let Some(first) = search.next(random, scratch)? {
        // If no attempts are left, the last candidate takes both rounds.
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

/// The number of candidates that are drawn at a time, which is faster than one by one.
const BATCH: usize = 16;

/// The search for one prime.
struct Search<'a> {
    /// The length of the modulus.
    bits: usize,
    /// How many more candidates may be tried.
    attempts: usize,
    /// How many more may be drawn: more than a third of the drawn numbers are too small to be tried.
    draws: usize,
    other: Option<&'a Number>,
    /// Random bytes for candidates.
    drawn: Zeroizing<Vec<u8>>,
    /// How many of them are used.
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
        // Step 4.4 would discard a number without its highest bit; setting it keeps all others equally likely.
        candidate.first_mut().into_iter().for_each(|byte| *byte |= 0x80);
        candidate.last_mut().into_iter().for_each(|byte| *byte |= 1);
        Ok(candidate)
    }

    /// The next candidate that has no small factor and whose `p - 1` is coprime to the exponent, or `None` if the attempts or draws
    /// are used up.
    fn next(&mut self, random: &mut impl Random, scratch: &mut Scratch) -> Result<Option<Candidate>, KeygenError> {
        let mut words = Zeroizing::new(vec![0; self.bits / 128]);
        while self.attempts > 0 && self.draws > 0 {
            self.draws -= 1;
            let bytes = self.draw(random)?;
            words.iter_mut().zip(sieve::words(bytes)).for_each(|(word, value)| *word = value);
            // Step 4.4. If the first bits equal those of the root, which happens once in 2^64, the number counts as less.
            if words.last().is_none_or(|highest| *highest <= ROOT_OF_TWO) {
                continue;
            }
            // The exponent is prime, so only its multiples are not coprime to it.
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

    /// Step 5.5: whether the difference is greater than 2^(bits/2 - 100).
    fn is_far_enough(&self, number: &Number) -> Result<bool, KeygenError> {
        let Some(other) = self.other else {
            return Ok(true);
        };
        let [less, greater] = if number.compare(other) == Ordering::Less { [number, other] } else { [other, number] };
        Ok(greater.minus(less)?.compare(&power_of_two(self.bits / 2 - 100)?) == Ordering::Greater)
    }
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

    use super::super::random::RandomError;
    use super::*;

    /// Primes of 256 bits with the first two bits set.
    pub(in super::super) const PRIMES: [&str; 3] = [
        "f37bf96a531f017cf4ced850bd7831be4357eae1ab744e88b25622c7071ff5c9",
        "fbcf8de8d359c706fc377f4c0ada61e5786b5be3e5febd0c1adbecb1d4c1c3c5",
        "e9273aa899641e82ad815fe236c94fb4167d90c80e2f58c39c1b82d81b91ae29",
    ];
    /// Two consecutive primes.
    pub(in super::super) const NEIGHBOURS: [&str; 2] = [
        "b73efc9c1e2d556339de8a6355d786225035a75e46a2a72046dce912d8f997f9",
        "b73efc9c1e2d556339de8a6355d786225035a75e46a2a72046dce912d8f998b3",
    ];
    /// A prime that is 1 modulo 65537.
    pub(in super::super) const UNFIT: &str = "dd8b661e7370d51e8c64397f23602397762beebe75e6c4fc87c479d79df54ca7";
    /// A prime below the root of 2^511.
    const SMALL: &str = "acce5e40fe6abb01a2371bc58eb0e8df457886ce288e31aa3ade1fe3f45d939f";
    /// A product of two primes of 128 bits, without small factors.
    const COMPOSITE: &str = "ec85acf5a4e2442e4d23c1ce6f6e20ef7b1ba485e82ff72489f0cead1c169975";
    /// `p (2p - 1)`, which passes with a quarter of all bases.
    const OFTEN_PASSES: &str = "e31102565dd45e17c2b90e62ad287a5935b0995344bd779642996e1833f0d833";
    /// The length of a modulus of two such primes.
    const BITS: usize = 512;

    pub(in super::super) fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// Returns scripted candidates, then multiples of 3, and random bases.
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
                // 2^256 - 1 is a multiple of 3.
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
        // More than one batch.
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
    fn unsuitable_primes_are_skipped() {
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
        // A number that is too small counts only as a draw.
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
    fn a_broken_random_generator_yields_no_key() {
        for byte in [0, 0xff, 0xaa] {
            assert_eq!(generate(2048, &mut Constant(Ok(byte))), Err(KeygenError::NoPrime));
        }
        assert_eq!(generate(2048, &mut Constant(Err(RandomError))), Err(KeygenError::Generation));
    }

    /// Returns scripted candidates, and always the same base.
    struct OneBase {
        candidates: Script,
        base: Vec<u8>,
    }

    impl Random for OneBase {
        fn fill(&mut self, buffer: &mut [u8]) -> Result<(), RandomError> {
            if buffer.len() == self.base.len() {
                buffer.copy_from_slice(&self.base);
                return Ok(());
            }
            self.candidates.fill(buffer)
        }
    }

    /// The random bytes of a base with which the composite passes.
    fn base_that_lies() -> Vec<u8> {
        let mut scratch = Scratch::new().unwrap();
        let composite = Candidate::new(Number::from_be_bytes(&bytes(OFTEN_PASSES)).unwrap(), &mut scratch).unwrap();
        loop {
            let mut base = vec![0; BITS / 16 + 8];
            SystemRandom::new().fill(&mut base).unwrap();
            let mut random = OneBase { candidates: Script::new(&[]), base };
            if composite.passes_rounds(ROUNDS, &mut random, &mut scratch).unwrap() {
                return random.base;
            }
        }
    }

    /// A composite that passes all rounds, as if the test had a bug: AWS-LC's own test refuses it, as `p` or as `q`.
    #[test]
    fn disagreeing_primality_tests_yield_no_key() {
        let [prime, other, _] = PRIMES;
        for (first, second, expected) in [
            (prime, other, None),
            (OFTEN_PASSES, prime, Some(KeygenError::PrimalityTestsDisagree)),
            (prime, OFTEN_PASSES, Some(KeygenError::PrimalityTestsDisagree)),
        ] {
            // Each prime comes from a batch of its own.
            let mut candidates = vec![COMPOSITE; 2 * BATCH];
            (candidates[0], candidates[BATCH]) = (first, second);
            let mut random = OneBase { candidates: Script::new(&candidates), base: base_that_lies() };
            let made = generate(BITS, &mut random);
            assert_eq!(made.err(), expected);
            // There is no retry: nothing is drawn after the two primes.
            assert!(random.candidates.0.is_empty());
        }
    }

    #[test]
    fn powers_of_two_are_correct() {
        for exponent in [0, 1, 7, 8, 9, 63, 64, 924] {
            let power = power_of_two(exponent).unwrap();
            assert_eq!((power.bits(), power.trailing_zeros()), (exponent + 1, exponent));
        }
    }
}
