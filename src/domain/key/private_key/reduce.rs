//! Remainders of big numbers, for the two exponents that OpenSSH's format leaves out of an RSA key.

use zeroize::Zeroizing;

/// `value mod (prime - 1)`, all of them big-endian; `prime` is odd. As long as `prime`.
///
/// Bit by bit and without a branch on the numbers, which are secret: some milliseconds for a
/// 4096-bit key, once for each key that is read in OpenSSH's format. What comes out is checked by
/// [`super::material`].
pub(super) fn mod_prime_minus_one(value: &[u8], prime: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut modulus = Zeroizing::new(prime.to_vec());
    if let Some(last) = modulus.last_mut() {
        *last &= 0xfe;
    }
    let mut remainder = Zeroizing::new(vec![0; modulus.len()]);
    let mut reduced = Zeroizing::new(vec![0; modulus.len()]);
    for byte in value {
        for shift in (0..8).rev() {
            let overflow = double_and_add(&mut remainder, byte >> shift & 1);
            let borrow = subtract(&remainder, &modulus, &mut reduced);
            // The doubled remainder is at least the modulus if its top bit fell out or nothing had
            // to be borrowed.
            let take = (overflow | (borrow ^ 1)).wrapping_neg();
            for (kept, lower) in remainder.iter_mut().zip(reduced.iter()) {
                *kept = *lower & take | *kept & !take;
            }
        }
    }
    remainder
}

/// `number = 2 number + bit`, and the bit that falls out at the top.
fn double_and_add(number: &mut [u8], bit: u8) -> u8 {
    let mut carry = bit;
    for byte in number.iter_mut().rev() {
        let top = *byte >> 7;
        *byte = *byte << 1 | carry;
        carry = top;
    }
    carry
}

/// `out = a - b` modulo their size, and 1 if `a < b`.
fn subtract(a: &[u8], b: &[u8], out: &mut [u8]) -> u8 {
    let mut borrow = 0;
    for ((a, b), out) in a.iter().zip(b).zip(out).rev() {
        let difference = u16::from(*a).wrapping_sub(u16::from(*b)).wrapping_sub(borrow);
        let [high, low] = difference.to_be_bytes();
        *out = low;
        borrow = u16::from(high & 1);
    }
    u8::from(borrow == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn minimal(value: u128) -> Vec<u8> {
        value.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect()
    }

    proptest! {
        #[test]
        fn agrees_with_the_machine(value: u128, prime in 3..=u128::MAX, cut in 0_u32..120) {
            let prime = (prime >> cut).max(3) | 1;
            let expected = value % (prime - 1);
            let got = mod_prime_minus_one(&value.to_be_bytes(), &minimal(prime));
            let got = got.iter().fold(0, |number, byte| number << 8 | u128::from(*byte));
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn odd_input_does_no_harm() {
        assert!(mod_prime_minus_one(&[1, 2, 3], &[]).is_empty());
        assert_eq!(mod_prime_minus_one(&[], &[7]).as_slice(), &[0]);
        let _ = mod_prime_minus_one(&[1, 2, 3], &[1]);
    }
}
