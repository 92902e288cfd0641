//! The Miller-Rabin test (FIPS 186-5 B.3.1) with AWS-LC's arithmetic, and AWS-LC's own test of the numbers that pass it.
//!
//! The test takes constant time for a number that passes. It may stop early for one that fails, because that is discarded.

use zeroize::Zeroizing;

use super::KeygenError;
use super::bignum::{ArithmeticError, Modulus, Number, Power, Scratch};
use super::random::{Random, RandomError};

/// The minimum number of squarings in each round, so that it does not reveal how often two divides `p - 1`. Only one prime in
/// 2^63 needs more.
const SQUARINGS: usize = 63;

/// An odd number `w` that may be prime, with precomputed values for the rounds of its test.
pub(super) struct Candidate {
    modulus: Modulus,
    /// `w - 1` is `odd * 2^twos`.
    twos: usize,
    odd: Number,
    /// 1 in Montgomery form.
    one: Number,
    /// `w - 1` in Montgomery form.
    minus_one: Number,
}

/// A number that passed AWS-LC's own test, big-endian. A key is built only from these.
pub(super) struct ConfirmedPrime(Zeroizing<Vec<u8>>);

impl ConfirmedPrime {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Candidate {
    /// An error if the number is even or has fewer than 65 bits.
    pub(super) fn new(number: Number, scratch: &mut Scratch) -> Result<Self, ArithmeticError> {
        let one = Number::from_word(1)?;
        let less_one = number.minus(&one)?;
        let twos = less_one.trailing_zeros();
        let odd = less_one.shifted_right(twos)?;
        let modulus = Modulus::new(number, scratch)?;
        let one = modulus.to_montgomery(&one, scratch)?;
        let minus_one = modulus.number().minus(&one)?;
        Ok(Self { modulus, twos, odd, one, minus_one })
    }

    pub(super) const fn number(&self) -> &Number {
        self.modulus.number()
    }

    /// One round for each of two candidates, which may be the same one: whether each may still be prime. The two powers are
    /// computed together.
    pub(super) fn round(
        pair: [&Self; 2],
        random: &mut impl Random,
        scratch: &mut Scratch,
    ) -> Result<[bool; 2], KeygenError> {
        let [first, second] = pair;
        let bases = [first.base(random, scratch)?, second.base(random, scratch)?];
        let [one, two] = Power::compute_two([first.power(&bases[0]), second.power(&bases[1])], scratch)?;
        Ok([first.passes(&one, scratch)?, second.passes(&two, scratch)?])
    }

    /// Whether the number passes `rounds` rounds, or one more if `rounds` is odd.
    pub(super) fn passes_rounds(
        &self,
        rounds: usize,
        random: &mut impl Random,
        scratch: &mut Scratch,
    ) -> Result<bool, KeygenError> {
        for _ in 0..rounds.div_ceil(2) {
            if Self::round([self, self], random, scratch)? != [true, true] {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Tests a number that passed all rounds with AWS-LC's own test, which shares neither rounds nor bases with this one. So a
    /// bug in this test does not lead to a key. `length` is the length of the number in bytes.
    ///
    /// # Errors
    ///
    /// [`KeygenError::PrimalityTestsDisagree`] if the two tests disagree.
    pub(super) fn confirm(&self, length: usize, scratch: &mut Scratch) -> Result<ConfirmedPrime, KeygenError> {
        if !self.number().is_probably_prime(scratch)? {
            return Err(KeygenError::PrimalityTestsDisagree);
        }
        Ok(ConfirmedPrime(self.number().to_be_bytes(length)?))
    }

    const fn power<'a>(&'a self, base: &'a Number) -> Power<'a> {
        Power { modulus: &self.modulus, base, exponent: &self.odd }
    }

    /// A number from 2 to `w - 2`.
    ///
    /// The standard draws until a number is below `w - 1`, and the number of draws reveals something about `w`. This draws once, 64
    /// bits more than needed, and reduces. A sound generator never yields 0, 1 or `w - 1`, so these are an error.
    fn base(&self, random: &mut impl Random, scratch: &mut Scratch) -> Result<Number, KeygenError> {
        let mut bytes = Zeroizing::new(vec![0; self.modulus.random_length()]);
        random.fill(&mut bytes)?;
        let base = self.modulus.reduce_random(&bytes, scratch)?;
        let next = base.plus(&Number::from_word(1)?)?;
        if base.bits() < 2 || next.equals(self.number()) {
            return Err(RandomError.into());
        }
        Ok(base)
    }

    /// Steps 4.4 and 4.5: whether the power is 1, or becomes -1 after fewer than `twos` squarings.
    fn passes(&self, power: &Number, scratch: &mut Scratch) -> Result<bool, ArithmeticError> {
        let mut power = self.modulus.to_montgomery(power, scratch)?;
        let mut passes = power.equals(&self.one) | power.equals(&self.minus_one);
        for squarings in 1..self.twos.max(SQUARINGS) {
            // The number is composite: none of the allowed squarings gave -1.
            if !passes && squarings >= self.twos {
                break;
            }
            power = self.modulus.squared(&power, scratch)?;
            passes |= power.equals(&self.minus_one);
        }
        Ok(passes)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use crypto_bigint::{BoxedUint, ConcatenatingMul as _};

    use super::*;

    /// The number of rounds with which a composite passes by chance with a probability below 2^-128.
    const MANY: usize = 64;

    fn from_hex(hex: &str) -> Number {
        let digits: Vec<u8> =
            hex.bytes().map(|digit| u8::try_from((digit as char).to_digit(16).unwrap()).unwrap()).collect();
        let bytes: Vec<u8> =
            digits.rchunks(2).rev().map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
        Number::from_be_bytes(&bytes).unwrap()
    }

    /// `factor * 2^exponent`.
    fn shifted(factor: u8, exponent: usize) -> Number {
        let mut bytes = vec![0; exponent / 8 + 2];
        let shifted = u16::from(factor) << (exponent % 8);
        bytes[..2].copy_from_slice(&shifted.to_be_bytes());
        Number::from_be_bytes(&bytes).unwrap()
    }

    fn product(factors: &[&Number]) -> Number {
        let number = |factor: &Number| {
            let bytes = factor.to_be_bytes(factor.bits().div_ceil(8)).unwrap();
            BoxedUint::from_be_slice_vartime(&bytes)
        };
        let product =
            factors.iter().fold(BoxedUint::one(), |product, factor| product.concatenating_mul(&number(factor)));
        Number::from_be_bytes(&product.to_be_bytes()).unwrap()
    }

    fn word(value: u64) -> Number {
        Number::from_word(value).unwrap()
    }

    fn is_prime(number: Number) -> bool {
        let mut scratch = Scratch::new().unwrap();
        let candidate = Candidate::new(number, &mut scratch).unwrap();
        let mut random = SystemRandom::new();
        let passes = candidate.passes_rounds(MANY, &mut random, &mut scratch).unwrap();
        // The verdict beside a prime is the same.
        let prime = Candidate::new(shifted(1, 127).minus(&word(1)).unwrap(), &mut scratch).unwrap();
        let beside = (0..MANY).all(|_| {
            let [verdict, of_prime] = Candidate::round([&candidate, &prime], &mut random, &mut scratch).unwrap();
            assert!(of_prime);
            verdict
        });
        assert_eq!(passes, beside);
        // AWS-LC's own test says the same.
        let length = candidate.number().bits().div_ceil(8);
        let confirmed = candidate.confirm(length, &mut scratch).map(|prime| prime.as_bytes().to_vec());
        let expected = candidate.number().to_be_bytes(length).unwrap().to_vec();
        assert_eq!(confirmed, if passes { Ok(expected) } else { Err(KeygenError::PrimalityTestsDisagree) });
        passes
    }

    #[test]
    fn primes_pass_the_primality_test() {
        // Mersenne primes: two divides p - 1 once.
        for exponent in [89, 107, 127, 521, 607, 1279] {
            assert!(is_prime(shifted(1, exponent).minus(&word(1)).unwrap()), "2^{exponent} - 1");
        }
        // Proth primes: two divides p - 1 very often.
        for exponent in [66, 189, 201, 209, 276, 353, 408] {
            assert!(is_prime(shifted(3, exponent).plus(&word(1)).unwrap()), "3 * 2^{exponent} + 1");
        }
        for prime in crate::keygen::rsa::tests::PRIMES {
            assert!(is_prime(from_hex(prime)), "{prime}");
        }
    }

    #[test]
    fn neighbours_of_primes_fail() {
        for (exponent, composite) in [(89, 3), (127, 3), (521, 3), (1279, 3), (128, 1), (256, 1), (512, 1)] {
            let one_less = shifted(1, exponent).minus(&word(composite)).unwrap();
            assert!(!is_prime(one_less), "2^{exponent} - {composite}");
        }
        // Fermat numbers, strong pseudoprimes to base 2.
        for exponent in [128, 256, 512, 1024] {
            assert!(!is_prime(shifted(1, exponent).plus(&word(1)).unwrap()), "2^{exponent} + 1");
        }
    }

    /// The smallest composites that pass with each of the first 12 and 13 primes as a base, and Arnault's number of 397 digits, a
    /// Carmichael number that passes with each base below 307.
    #[test]
    fn strong_pseudoprimes_fail() {
        for composite in ["437ae92817f9fc85b7e5", "2be6951adc5b22410a5fd"] {
            assert!(!is_prime(from_hex(composite)), "{composite}");
        }
        let arnault = concat!(
            "204b212272807927b357671aefdd4b4b7a0f12749625cd71b549d6b8b9895e97fcf9fadcaf26c618da83c9ec7f6b39020661ba422e6c",
            "820ac14d3b8329d6c71d16a1953afd60a0aa4c63019f9c29c08d05b0c4fcd041febeaa5b0e8475e6e96cc49478ef6e9ae877b4d3be81",
            "07bd3c64b35ebc7f2bd719c6417207aaec2151812719b5b5bae64562bcd2ed44177a2ac314a44f344df4a12e0d4fb8ff99c4099bfc77",
            "924b2b",
        );
        let mut scratch = Scratch::new().unwrap();
        let candidate = Candidate::new(from_hex(arnault), &mut scratch).unwrap();
        for base in [2, 3, 5, 7, 11, 101, 293] {
            let base = word(base);
            let [power, _] = Power::compute_two([candidate.power(&base); 2], &mut scratch).unwrap();
            assert!(candidate.passes(&power, &mut scratch).unwrap(), "it is such a number");
        }
        let [power, _] = Power::compute_two([candidate.power(&word(307)); 2], &mut scratch).unwrap();
        assert!(!candidate.passes(&power, &mut scratch).unwrap());
        assert!(!is_prime(from_hex(arnault)));
    }

    /// `(6k + 1)(12k + 1)(18k + 1)` of 1024 bits, which passes the Fermat test.
    #[test]
    fn carmichael_numbers_fail() {
        let k = from_hex("33c862f430a8ebe327be4e1141916573fceb589e29ad16d5d7273e41aa3d57b81e35bb1ede3d7cbb15cee");
        let factors = [6, 12, 18].map(|times| product(&[&k, &word(times)]).plus(&word(1)).unwrap());
        let product = product(&factors.each_ref());
        assert_eq!(product.bits(), 1024);
        assert!(!is_prime(product));
        assert!(factors.into_iter().all(is_prime));
    }

    /// `p (2p - 1)`, which passes with a quarter of all bases, the maximum for a composite.
    #[test]
    fn the_worst_composite_passes_a_quarter_of_rounds() {
        let mut scratch = Scratch::new().unwrap();
        let prime = from_hex(concat!(
            "6123478134dbabb40d5d7720e3516d844a2dd77b3ad4f85b176391f4cd88522b6d977a450095972bb82d2d1fe72ae8c1a77520eeda6f",
            "74047dacf3c6d6ba8a03",
        ));
        let other = prime.plus(&prime).unwrap().minus(&word(1)).unwrap();
        let candidate = Candidate::new(product(&[&prime, &other]), &mut scratch).unwrap();
        let mut passed = 0_u32;
        for _ in 0..500 {
            let verdicts = Candidate::round([&candidate; 2], &mut SystemRandom::new(), &mut scratch).unwrap();
            passed += verdicts.iter().map(|passes| u32::from(*passes)).sum::<u32>();
        }
        // The expected value is 250, and the standard deviation is 14.
        assert!((160..340).contains(&passed), "{passed} of 1000");
        assert!(!candidate.passes_rounds(MANY, &mut SystemRandom::new(), &mut scratch).unwrap());
        assert!(is_prime(prime) && is_prime(other));
    }

    #[test]
    fn squares_and_products_of_neighbours_fail() {
        let [near, next] = crate::keygen::rsa::tests::NEIGHBOURS.map(from_hex);
        let [near, next] = [product(&[&near, &near]), product(&[&near, &next])];
        assert!(!is_prime(near) && !is_prime(next));
    }

    #[test]
    fn even_and_short_numbers_are_refused() {
        let mut scratch = Scratch::new().unwrap();
        assert!(Candidate::new(shifted(1, 100), &mut scratch).is_err());
        assert!(Candidate::new(word(65537), &mut scratch).is_err());
    }

    struct Constant(u8);

    impl Random for Constant {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
            bytes.fill(self.0);
            Ok(())
        }
    }

    #[test]
    fn a_trivial_base_is_an_error() {
        let mut scratch = Scratch::new().unwrap();
        let prime = Candidate::new(shifted(1, 127).minus(&word(1)).unwrap(), &mut scratch).unwrap();
        assert!(prime.base(&mut Constant(0), &mut scratch).is_err());
        assert!(prime.base(&mut Constant(0x5a), &mut scratch).is_ok());
    }
}
