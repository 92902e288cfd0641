//! Trial division of candidates by small primes, and their remainder by the public exponent.
//!
//! It uses no division instruction, and no branch or address depends on a candidate, except for the result: every candidate without
//! a small factor takes the same time. One with a small factor stops early. It is discarded, and candidates are independent, so the
//! time reveals nothing about the next one.

use std::{
    array,
    iter::{self, Peekable},
    sync::OnceLock,
};

/// The limit of the small primes for numbers of this many words: beyond it, divisions cost more than the exponentiations that they
/// save. The minimum is broad; without AVX-512 IFMA, twice the limit is as good.
const fn bound(words: usize) -> usize {
    4096 * words
}

/// The public exponent.
pub(super) const EXPONENT: u64 = 65537;

/// The maximum number of small primes in a product. Most primes are so long that no more fit into a word.
const FACTORS: usize = 4;

/// The small primes for numbers of `WORDS` words, in products that fit into a word, smallest first: 0.4, 0.8 and 1.3 MB for the
/// three lengths, computed for the first number of each length.
struct Sieve<const WORDS: usize>(Vec<Product<WORDS>>);

struct Product<const WORDS: usize> {
    /// The weights of the words of a number: the powers of 2^64, modulo the product.
    weights: [u64; WORDS],
    /// The product: odd, and so small that the weighted sum of the words fits into two words.
    value: u64,
    /// `-1 / value` modulo 2^64.
    negative_inverse: u64,
    /// The factors. If there are fewer, the first one is repeated.
    primes: [Prime; FACTORS],
}

#[derive(Clone, Copy)]
struct Prime {
    /// `1 / prime` modulo 2^64.
    inverse: u64,
    /// The greatest quotient of a word.
    greatest: u64,
}

/// Whether a small prime divides the number, given as words from the lowest. False if the number does not have the length of a
/// prime of a key.
///
/// The number must be greater than all small primes.
pub(super) fn has_small_factor(words: &[u64]) -> bool {
    static OF_2048_BITS: OnceLock<Sieve<16>> = OnceLock::new();
    static OF_3072_BITS: OnceLock<Sieve<24>> = OnceLock::new();
    static OF_4096_BITS: OnceLock<Sieve<32>> = OnceLock::new();
    let has_factor = divide(&OF_2048_BITS, words).or_else(|| divide(&OF_3072_BITS, words));
    has_factor.or_else(|| divide(&OF_4096_BITS, words)).unwrap_or(false)
}

/// `None` if the sieve is for numbers of another length.
fn divide<const WORDS: usize>(sieve: &OnceLock<Sieve<WORDS>>, words: &[u64]) -> Option<bool> {
    let words = words.try_into().ok()?;
    Some(sieve.get_or_init(Sieve::new).divides(words))
}

/// The number modulo [`EXPONENT`]. The exponent divides 2^64 - 1, so a number is congruent to the sum of its words.
pub(super) fn modulo_exponent(words: &[u64]) -> u64 {
    words.iter().fold(0, |sum, word| (sum + word % EXPONENT) % EXPONENT)
}

/// The words of a big-endian number, lowest first.
pub(super) fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.rchunks(8).map(|chunk| chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)))
}

/// `1 / odd` modulo 2^64. An odd number is its own inverse modulo 8, and each Newton step doubles the number of correct bits.
fn inverse(odd: u64) -> u64 {
    (0..5).fold(odd, |inverse, _| inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse))))
}

impl<const WORDS: usize> Sieve<WORDS> {
    fn new() -> Self {
        let mut primes = odd_primes(bound(WORDS)).peekable();
        Self(iter::from_fn(|| Product::of_next(&mut primes)).collect())
    }

    fn divides(&self, words: &[u64; WORDS]) -> bool {
        self.0.iter().any(|product| {
            let residue = product.reduce(words);
            // All primes are checked, because a branch for each would cost more.
            product.primes.iter().fold(false, |divides, prime| divides | prime.divides(residue))
        })
    }
}

impl<const WORDS: usize> Product<WORDS> {
    /// The limit of a product: with it, the weighted sum of the words and one more term for its reduction are below 2^128.
    const LIMIT: u64 = u64::MAX / (WORDS as u64 + 1);

    /// The product of the next primes.
    fn of_next(primes: &mut Peekable<impl Iterator<Item = u64>>) -> Option<Self> {
        let mut value = primes.next()?;
        let mut factors = [Prime::new(value); FACTORS];
        for factor in factors.iter_mut().skip(1) {
            if let Some(prime) = primes.next_if(|prime| value <= Self::LIMIT / prime) {
                value *= prime;
                *factor = Prime::new(prime);
            }
        }
        let mut next = 1;
        let weights = array::from_fn(|_| {
            let weight = next;
            next = low_word((u128::from(weight) << 64) % u128::from(value));
            weight
        });
        Some(Self { weights, value, negative_inverse: inverse(value).wrapping_neg(), primes: factors })
    }

    /// A word that is congruent to the number divided by 2^64, modulo the product (Montgomery reduction of the weighted sum of the
    /// words). 2^64 is coprime to the product, so the same primes divide the word and the number.
    fn reduce(&self, words: &[u64; WORDS]) -> u64 {
        let weighted = self.weights.iter().zip(words).map(|(weight, word)| u128::from(*weight) * u128::from(*word));
        let sum: u128 = weighted.sum();
        let multiple = low_word(sum).wrapping_mul(self.negative_inverse);
        // The low word of the sum is zero.
        low_word((sum + u128::from(multiple) * u128::from(self.value)) >> 64)
    }
}

impl Prime {
    fn new(prime: u64) -> Self {
        Self { inverse: inverse(prime), greatest: u64::MAX / prime }
    }

    /// A multiple times the inverse is the quotient. For any other number, the result is greater than every quotient.
    const fn divides(&self, number: u64) -> bool {
        number.wrapping_mul(self.inverse) <= self.greatest
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low word is what is wanted")]
const fn low_word(number: u128) -> u64 {
    number as u64
}

fn odd_primes(bound: usize) -> impl Iterator<Item = u64> {
    let mut composite = vec![false; bound];
    (3..bound).step_by(2).filter_map(move |number| {
        let prime = composite.get(number) == Some(&false);
        prime.then(|| {
            composite.iter_mut().skip(number * number).step_by(2 * number).for_each(|multiple| *multiple = true);
            number as u64
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn modulo(words: &[u64], divisor: u64) -> u64 {
        let divide = |rest: u128, word: &u64| (rest << 64 | u128::from(*word)) % u128::from(divisor);
        low_word(words.iter().rev().fold(0, divide))
    }

    fn is_divided(words: &[u64]) -> bool {
        odd_primes(bound(words.len())).any(|prime| modulo(words, prime) == 0)
    }

    /// A number with the length of a prime of a key.
    fn number() -> impl Strategy<Value = Vec<u64>> {
        prop::sample::select(vec![16, 24, 32]).prop_flat_map(|words| prop::collection::vec(any::<u64>(), words))
    }

    fn check_primes<const WORDS: usize>(count: usize, last: u64) {
        let primes: Vec<u64> = odd_primes(bound(WORDS)).collect();
        assert_eq!(primes[..9], [3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert_eq!((primes.len(), primes.last()), (count, Some(&last)));
        let products = Sieve::<WORDS>::new().0;
        let in_products = |prime: &u64| products.iter().filter(|product| product.value % prime == 0).count();
        assert!(primes.iter().all(|prime| in_products(prime) == 1));
        for product in &products {
            let factors = product.primes.iter().map(|prime| inverse(prime.inverse)).collect::<BTreeSet<_>>();
            assert_eq!(factors.into_iter().product::<u64>(), product.value);
            assert!(product.value <= Product::<WORDS>::LIMIT);
        }
    }

    #[test]
    fn the_table_contains_every_small_prime() {
        // The numbers of primes below 2^16, 98304 and 2^17, without 2.
        check_primes::<16>(6541, 65_521);
        check_primes::<24>(9438, 98_299);
        check_primes::<32>(12_250, 131_071);
    }

    proptest! {
        #[test]
        fn the_sieve_agrees_with_trial_division(words in number()) {
            prop_assert_eq!(has_small_factor(&words), is_divided(&words));
        }

        #[test]
        fn the_sieve_finds_each_prime_factor(mut words in number(), prime in any::<prop::sample::Index>()) {
            words[0] &= !0xffff_ffff;
            let primes: Vec<u64> = odd_primes(bound(words.len())).collect();
            let prime = *prime.get(&primes);
            words[0] += prime - modulo(&words, prime);
            prop_assert!(has_small_factor(&words));
        }

        #[test]
        fn sieved_candidates_have_no_small_factor(mut words in number()) {
            words[0] &= !0xffff;
            let left = (1..0x4000).step_by(2).find(|low| {
                words[0] = words[0] & !0xffff | low;
                !has_small_factor(&words)
            });
            prop_assert!(left.is_some());
            prop_assert!(!is_divided(&words));
        }

        #[test]
        fn the_remainder_agrees_with_division(words in prop::collection::vec(any::<u64>(), 0..65)) {
            prop_assert_eq!(modulo_exponent(&words), modulo(&words, EXPONENT));
        }

        #[test]
        fn words_equal_their_bytes(number: u128, zeros in 0_usize..9) {
            let bytes = [vec![0; zeros], number.to_be_bytes().to_vec()].concat();
            let words: Vec<u64> = words(&bytes).collect();
            prop_assert_eq!(&words[..2], &[low_word(number), low_word(number >> 64)]);
            prop_assert!(words[2..].iter().all(|word| *word == 0));
        }
    }

    #[test]
    fn an_inverse_times_its_number_is_one() {
        for odd in (1..bound(32) as u64).step_by(2) {
            assert_eq!(odd.wrapping_mul(inverse(odd)), 1);
        }
    }
}
