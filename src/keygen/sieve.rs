//! Trial division of candidates by small primes, and what else a candidate's words tell.
//!
//! There is no division in it, and no branch or address that depends on a candidate, but for the answer: a candidate that no
//! prime divides takes the same time whatever it is. One that is divided leaves early; it is thrown away, and candidates are
//! independent, so how early it left tells nothing of the next.

use std::sync::OnceLock;

/// Up to which prime a number of so many words is divided: where divisions begin to cost more than the exponentiations that
/// they save. An exponentiation takes about the cube of the length, a division the length, so the bound is about the square:
/// 2^15 for 1024 bits, 2^17 for 2048. Without AVX-512 IFMA twice as much would be as good.
const fn bound(words: usize) -> usize {
    128 * words * words
}

/// The greatest bound.
const BOUND: usize = bound(2048 / 64);

/// The public exponent.
pub(super) const EXPONENT: u64 = 65537;

/// How many products are computed with at a time. A step of the reduction waits for the one before; those of others fill
/// the time.
const LANES: usize = 4;

/// The small primes, in products that fit into a word, the smallest first.
struct Sieve(Vec<Products>);

#[derive(Default)]
struct Products {
    /// Odd, and below 2^63.
    values: [u64; LANES],
    /// `-1 / value` modulo 2^64.
    negative_inverses: [u64; LANES],
    primes: [Vec<Prime>; LANES],
    least_prime: usize,
}

struct Prime {
    /// `1 / prime` modulo 2^64.
    inverse: u64,
    /// The greatest quotient that a word has.
    greatest: u64,
}

/// Whether one of the small primes divides the number, whose words begin with the lowest.
///
/// The number must be greater than all of them.
pub(super) fn has_small_factor(words: &[u64]) -> bool {
    static SIEVE: OnceLock<Sieve> = OnceLock::new();
    SIEVE.get_or_init(Sieve::new).divides(words)
}

/// The number modulo [`EXPONENT`], which divides 2^64 - 1: so a number is congruent to the sum of its words.
pub(super) fn modulo_exponent(words: &[u64]) -> u64 {
    words.iter().fold(0, |sum, word| (sum + word % EXPONENT) % EXPONENT)
}

/// `1 / value` modulo [`EXPONENT`], by Fermat's theorem; zero for zero.
pub(super) fn inverse_modulo_exponent(value: u64) -> u64 {
    // The power 2^16 - 1 has sixteen binary digits, all of them ones.
    (0..16).fold(1, |power, _| power * power % EXPONENT * value % EXPONENT)
}

/// The words of a big-endian number, the lowest first.
pub(super) fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.rchunks(8).map(|chunk| chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)))
}

/// `1 / odd` modulo 2^64. An odd number is its own inverse modulo 8, and each step of Newton's doubles the digits.
fn inverse(odd: u64) -> u64 {
    (0..5).fold(odd, |inverse, _| inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse))))
}

impl Sieve {
    fn new() -> Self {
        let mut primes = odd_primes(BOUND).peekable();
        let mut sieve = Vec::new();
        while let Some(least_prime) = primes.peek().copied() {
            let mut products = Products { values: [1; LANES], least_prime, ..Products::default() };
            let lanes = products.values.iter_mut().zip(&mut products.negative_inverses).zip(&mut products.primes);
            for ((product, negative_inverse), factors) in lanes {
                while let Some(prime) = primes.next_if(|prime| *product <= (u64::MAX >> 1) / *prime as u64) {
                    let prime = prime as u64;
                    *product *= prime;
                    factors.push(Prime { inverse: inverse(prime), greatest: u64::MAX / prime });
                }
                *negative_inverse = inverse(*product).wrapping_neg();
            }
            sieve.push(products);
        }
        Self(sieve)
    }

    fn divides(&self, words: &[u64]) -> bool {
        let bound = bound(words.len());
        self.0.iter().take_while(|products| products.least_prime < bound).any(|products| {
            let residues = products.reduce(words);
            residues.iter().zip(&products.primes).any(|(residue, primes)| {
                // All of them, since a branch for each would cost more.
                primes.iter().fold(false, |divides, prime| divides | prime.divides(*residue))
            })
        })
    }
}

impl Products {
    /// For each product, the number over 2^64 to the power of its words, modulo the product (Montgomery's reduction). That
    /// factor has no prime in common with the product, so the same primes divide both.
    fn reduce(&self, words: &[u64]) -> [u64; LANES] {
        words.iter().fold([0; LANES], |mut residues, word| {
            let lanes = residues.iter_mut().zip(&self.values).zip(&self.negative_inverses);
            for ((residue, value), negative_inverse) in lanes {
                let sum = u128::from(*residue) + u128::from(*word);
                let multiple = low(sum).wrapping_mul(*negative_inverse);
                // The low word is zero now. What is left is at most one more than the product.
                *residue = low((sum + u128::from(multiple) * u128::from(*value)) >> 64);
            }
            residues
        })
    }
}

impl Prime {
    /// A multiple times the inverse is the quotient; what is no multiple comes out greater than any quotient.
    const fn divides(&self, number: u64) -> bool {
        number.wrapping_mul(self.inverse) <= self.greatest
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low word is what is wanted")]
const fn low(number: u128) -> u64 {
    number as u64
}

fn odd_primes(bound: usize) -> impl Iterator<Item = usize> {
    let mut composite = vec![false; bound];
    (3..bound).step_by(2).filter(move |number| {
        let prime = composite.get(*number) == Some(&false);
        if prime {
            composite.iter_mut().skip(number * number).step_by(2 * number).for_each(|multiple| *multiple = true);
        }
        prime
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn modulo(words: &[u64], divisor: u64) -> u64 {
        let divide = |rest: u128, word: &u64| (rest << 64 | u128::from(*word)) % u128::from(divisor);
        low(words.iter().rev().fold(0, divide))
    }

    fn is_divided(words: &[u64]) -> bool {
        odd_primes(bound(words.len())).any(|prime| modulo(words, prime as u64) == 0)
    }

    #[test]
    fn the_primes_are_the_primes() {
        let primes: Vec<usize> = odd_primes(BOUND).collect();
        assert_eq!(primes[..9], [3, 5, 7, 11, 13, 17, 19, 23, 29]);
        // As many as there are below 2^17, without 2.
        assert_eq!((primes.len(), primes.last()), (12_250, Some(&131_071)));
        let sieved: usize = Sieve::new().0.iter().flat_map(|products| &products.primes).map(Vec::len).sum();
        assert_eq!(sieved, primes.len());
    }

    proptest! {
        #[test]
        fn agrees_with_division(words in prop::collection::vec(any::<u64>(), 16..25)) {
            prop_assert_eq!(has_small_factor(&words), is_divided(&words));
        }

        #[test]
        fn finds_each_prime(
            mut words in prop::collection::vec(any::<u64>(), 16..33), prime in any::<prop::sample::Index>(),
        ) {
            words[0] &= !0xffff_ffff;
            let primes: Vec<usize> = odd_primes(bound(words.len())).collect();
            let prime = primes[prime.index(primes.len())] as u64;
            words[0] += prime - modulo(&words, prime);
            prop_assert!(has_small_factor(&words));
        }

        #[test]
        fn what_is_left_over_has_no_small_factor(mut words in prop::collection::vec(any::<u64>(), 16..25)) {
            words[0] &= !0xffff;
            let left = (1..0x4000).step_by(2).find(|low| {
                words[0] = words[0] & !0xffff | low;
                !has_small_factor(&words)
            });
            prop_assert!(left.is_some());
            prop_assert!(!is_divided(&words));
        }

        #[test]
        fn the_remainder_is_right(words in prop::collection::vec(any::<u64>(), 0..65)) {
            prop_assert_eq!(modulo_exponent(&words), modulo(&words, EXPONENT));
        }

        #[test]
        fn words_are_bytes(number: u128, zeros in 0_usize..9) {
            let bytes = [vec![0; zeros], number.to_be_bytes().to_vec()].concat();
            let words: Vec<u64> = words(&bytes).collect();
            prop_assert_eq!(&words[..2], &[low(number), low(number >> 64)]);
            prop_assert!(words[2..].iter().all(|word| *word == 0));
        }
    }

    #[test]
    fn inverses_are_inverses() {
        for value in 1..EXPONENT {
            assert_eq!(value * inverse_modulo_exponent(value) % EXPONENT, 1);
        }
        for odd in (1..BOUND as u64).step_by(2) {
            assert_eq!(odd.wrapping_mul(inverse(odd)), 1);
        }
    }
}
