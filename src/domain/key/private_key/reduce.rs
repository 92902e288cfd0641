//! Remainders of big numbers, for the two exponents of an RSA key that the OpenSSH format omits.

use crypto_bigint::{BoxedUint, NonZero};
use zeroize::Zeroizing;

/// `value mod (prime - 1)`, all of them big-endian; `prime` is odd. `None` if `prime` is 1 or empty.
///
/// In constant time, since the numbers are secret. [`super::material`] checks the result.
pub(super) fn mod_prime_minus_one(value: &[u8], prime: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut modulus = Zeroizing::new(prime.to_vec());
    *modulus.last_mut()? &= 0xfe;
    let modulus: Option<NonZero<BoxedUint>> = NonZero::new(BoxedUint::from_be_slice_vartime(&modulus)).into();
    let modulus = Zeroizing::new(modulus?);
    let value = Zeroizing::new(BoxedUint::from_be_slice_vartime(value));
    let remainder = Zeroizing::new(value.rem(&modulus));
    Some(Zeroizing::new(remainder.to_be_bytes().into_vec()))
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
        fn reduction_agrees_with_native_integers(value: u128, prime in 3..=u128::MAX, cut in 0_u32..120) {
            let prime = (prime >> cut).max(3) | 1;
            let expected = value % (prime - 1);
            let got = mod_prime_minus_one(&value.to_be_bytes(), &minimal(prime)).unwrap();
            let got = got.iter().fold(0, |number, byte| number << 8 | u128::from(*byte));
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn reduction_handles_empty_and_trivial_input() {
        assert_eq!(mod_prime_minus_one(&[1, 2, 3], &[]), None);
        assert_eq!(mod_prime_minus_one(&[1, 2, 3], &[1]), None);
        assert!(mod_prime_minus_one(&[], &[7]).unwrap().iter().all(|byte| *byte == 0));
    }
}
