//! A safe interface to the big numbers of AWS-LC: the only module of the crate that contains `unsafe`.
//!
//! Each function wraps one call. All calls rely on these invariants: a [`Number`], [`Scratch`] or [`Modulus`] is the only owner of
//! its pointer's target, from a successful allocation until it is dropped. A number is initialized when it is allocated, so it can
//! be read through a reference. A call writes only to a new number or through a `&mut`. AWS-LC allocates the memory for results.
//!
//! Freed memory is overwritten: `BN_clear_free` overwrites numbers, and AWS-LC's own allocator everything else.

#![expect(unsafe_code, reason = "AWS-LC's safe interface has no arithmetic with big numbers")]
#![deny(clippy::undocumented_unsafe_blocks)]
#![deny(clippy::multiple_unsafe_ops_per_block)]

use std::{cmp::Ordering, ffi::c_int, ptr::NonNull};

use aws_lc_sys as sys;
use zeroize::Zeroizing;

use super::KeygenError;

/// AWS-LC could not compute a result: it is out of memory, or an argument is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("big-number arithmetic failed in the cryptographic library")]
pub(super) struct ArithmeticError;

impl From<ArithmeticError> for KeygenError {
    fn from(_: ArithmeticError) -> Self {
        Self::Generation
    }
}

type Result<T> = std::result::Result<T, ArithmeticError>;

/// The size of a word of the library's numbers, in bytes.
const WORD: usize = size_of::<sys::BN_ULONG>();

/// A non-negative number, overwritten on drop.
pub(super) struct Number(NonNull<sys::BIGNUM>);

/// Space for AWS-LC's intermediate results.
pub(super) struct Scratch(NonNull<sys::BN_CTX>);

/// An odd modulus, with its Montgomery context.
pub(super) struct Modulus {
    number: Number,
    montgomery: NonNull<sys::BN_MONT_CTX>,
}

/// The operands of a modular exponentiation.
#[derive(Clone, Copy)]
pub(super) struct Power<'a> {
    pub(super) modulus: &'a Modulus,
    /// Below the modulus.
    pub(super) base: &'a Number,
    /// At most as long as the modulus.
    pub(super) exponent: &'a Number,
}

fn check_result(code: c_int) -> Result<()> {
    if code == 1 { Ok(()) } else { Err(ArithmeticError) }
}

impl Number {
    fn zero() -> Result<Self> {
        // SAFETY: The call takes no arguments and returns a number that we own, or null.
        NonNull::new(unsafe { sys::BN_new() }).map(Self).ok_or(ArithmeticError)
    }

    /// Creates a number and passes it to a call that writes it and returns 1 on success.
    fn from_call(call: impl FnOnce(*mut sys::BIGNUM) -> c_int) -> Result<Self> {
        let number = Self::zero()?;
        check_result(call(number.0.as_ptr()))?;
        Ok(number)
    }

    pub(super) fn from_be_bytes(bytes: &[u8]) -> Result<Self> {
        let number = Self::zero()?;
        // SAFETY: The slice has the given number of readable bytes, and we own the number that is written.
        let read = unsafe { sys::BN_bin2bn(bytes.as_ptr(), bytes.len(), number.0.as_ptr()) };
        if read.is_null() { Err(ArithmeticError) } else { Ok(number) }
    }

    pub(super) fn from_word(word: u64) -> Result<Self> {
        Self::from_be_bytes(&word.to_be_bytes())
    }

    /// The number in exactly `length` bytes; an error if it is longer. In constant time.
    pub(super) fn to_be_bytes(&self, length: usize) -> Result<Zeroizing<Vec<u8>>> {
        let mut bytes = Zeroizing::new(vec![0; length]);
        // SAFETY: The buffer has the given number of writable bytes, and the number can be read.
        check_result(unsafe { sys::BN_bn2bin_padded(bytes.as_mut_ptr(), length, self.0.as_ptr()) })?;
        Ok(bytes)
    }

    /// The length in bits. Zero has no bits.
    pub(super) fn bits(&self) -> usize {
        // SAFETY: The number can be read.
        let bits = unsafe { sys::BN_num_bits(self.0.as_ptr()) };
        usize::try_from(bits).unwrap_or(usize::MAX)
    }

    /// The number of trailing zero bits. In constant time.
    pub(super) fn trailing_zeros(&self) -> usize {
        // SAFETY: The number can be read.
        let zeros = unsafe { sys::BN_count_low_zero_bits(self.0.as_ptr()) };
        usize::try_from(zeros).unwrap_or(usize::MAX)
    }

    pub(super) fn shifted_right(&self, bits: usize) -> Result<Self> {
        let bits = c_int::try_from(bits).map_err(|_| ArithmeticError)?;
        // SAFETY: The call writes a new number and reads one.
        Self::from_call(|result| unsafe { sys::BN_rshift(result, self.0.as_ptr(), bits) })
    }

    pub(super) fn plus(&self, other: &Self) -> Result<Self> {
        // SAFETY: The call writes a new number and reads two.
        Self::from_call(|result| unsafe { sys::BN_add(result, self.0.as_ptr(), other.0.as_ptr()) })
    }

    /// The difference; an error if `other` is greater.
    pub(super) fn minus(&self, other: &Self) -> Result<Self> {
        // SAFETY: The call writes a new number and reads two; it refuses a negative difference.
        Self::from_call(|result| unsafe { sys::BN_usub(result, self.0.as_ptr(), other.0.as_ptr()) })
    }

    /// Whether the numbers are equal. In constant time.
    pub(super) fn equals(&self, other: &Self) -> bool {
        // SAFETY: Both numbers can be read.
        unsafe { sys::BN_equal_consttime(self.0.as_ptr(), other.0.as_ptr()) == 1 }
    }

    /// Whether the number passes AWS-LC's own primality test: division by small primes, and at least 16 rounds of Miller-Rabin with
    /// bases from its own generator. In constant time for a prime.
    pub(super) fn is_probably_prime(&self, scratch: &mut Scratch) -> Result<bool> {
        // The number of rounds that AWS-LC uses for its own keys, with division, and without a progress callback.
        let (checks, divide, report) = (sys::BN_prime_checks_for_generation, 1, std::ptr::null_mut());
        let mut verdict = 0;
        // SAFETY: The call writes a local integer and reads a number; the scratch space is borrowed exclusively.
        check_result(unsafe {
            sys::BN_primality_test(&raw mut verdict, self.0.as_ptr(), checks, scratch.0.as_ptr(), divide, report)
        })?;
        Ok(verdict == 1)
    }

    /// Compares the numbers. In constant time.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        // SAFETY: Both numbers can be read.
        unsafe { sys::BN_ucmp(self.0.as_ptr(), other.0.as_ptr()) }.cmp(&0)
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        // SAFETY: We own the number, and it is not used after this.
        unsafe { sys::BN_clear_free(self.0.as_ptr()) }
    }
}

impl Scratch {
    pub(super) fn new() -> Result<Self> {
        // Once per process: AWS-LC detects the features of the processor here.
        aws_lc_rs::init();
        // SAFETY: The call takes no arguments and returns a context that we own, or null.
        NonNull::new(unsafe { sys::BN_CTX_new() }).map(Self).ok_or(ArithmeticError)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: We own the context, and it is not used after this.
        unsafe { sys::BN_CTX_free(self.0.as_ptr()) }
    }
}

impl Modulus {
    /// An error if the number is even or has fewer than 65 bits. In constant time, except for the length.
    pub(super) fn new(number: Number, scratch: &mut Scratch) -> Result<Self> {
        if number.bits() <= 64 {
            return Err(ArithmeticError);
        }
        // SAFETY: The call reads the number and returns a context that we own, or null; the scratch space is borrowed exclusively.
        let montgomery = unsafe { sys::BN_MONT_CTX_new_consttime(number.0.as_ptr(), scratch.0.as_ptr()) };
        let montgomery = NonNull::new(montgomery).ok_or(ArithmeticError)?;
        Ok(Self { number, montgomery })
    }

    pub(super) const fn number(&self) -> &Number {
        &self.number
    }

    /// The number of bytes for [`Modulus::reduce_random`]: the words of the modulus and 64 bits more.
    pub(super) fn random_length(&self) -> usize {
        self.number.bits().div_ceil(8).next_multiple_of(WORD) + 8
    }

    /// Reduces random bytes to a number below the modulus. All results are equally likely, except for a relative difference below
    /// 2^-64. In constant time.
    ///
    /// The result is `bytes / R`, where `R` is the factor of the Montgomery form.
    pub(super) fn reduce_random(&self, bytes: &[u8], scratch: &mut Scratch) -> Result<Number> {
        // The number is below 2^64 R, and so below R times the modulus, as the reduction requires.
        if bytes.len() != self.random_length() {
            return Err(ArithmeticError);
        }
        let number = Number::from_be_bytes(bytes)?;
        let (number, montgomery, scratch) = (number.0.as_ptr(), self.montgomery.as_ptr(), scratch.0.as_ptr());
        // SAFETY: The call writes a new number and reads one and the context; the scratch space is borrowed exclusively.
        Number::from_call(|result| unsafe { sys::BN_from_montgomery(result, number, montgomery, scratch) })
    }

    /// The Montgomery form of a number below the modulus. In constant time.
    pub(super) fn to_montgomery(&self, number: &Number, scratch: &mut Scratch) -> Result<Number> {
        let (number, montgomery, scratch) = (number.0.as_ptr(), self.montgomery.as_ptr(), scratch.0.as_ptr());
        // SAFETY: The call writes a new number and reads one and the context; the scratch space is borrowed exclusively.
        Number::from_call(|result| unsafe { sys::BN_to_montgomery(result, number, montgomery, scratch) })
    }

    /// The square of a number in Montgomery form. In constant time.
    pub(super) fn squared(&self, number: &Number, scratch: &mut Scratch) -> Result<Number> {
        let (number, montgomery, scratch) = (number.0.as_ptr(), self.montgomery.as_ptr(), scratch.0.as_ptr());
        // SAFETY: The call writes a new number and reads one and the context; the scratch space is borrowed exclusively.
        Number::from_call(|result| unsafe { sys::BN_mod_mul_montgomery(result, number, number, montgomery, scratch) })
    }
}

impl Drop for Modulus {
    fn drop(&mut self) {
        // SAFETY: We own the context, and it is not used after this.
        unsafe { sys::BN_MONT_CTX_free(self.montgomery.as_ptr()) }
    }
}

impl Power<'_> {
    /// AWS-LC's function for two exponentiations assumes operands of these sizes without checking them.
    fn check(&self) -> Result<()> {
        let modulus = self.modulus.number();
        let fits = self.base.compare(modulus) == Ordering::Less && self.exponent.bits() <= modulus.bits();
        if fits { Ok(()) } else { Err(ArithmeticError) }
    }

    /// Computes two powers. In constant time, and in little more time than one if the processor has AVX-512 IFMA and the moduli
    /// have 1024, 1536 or 2048 bits.
    pub(super) fn compute_two([one, two]: [Self; 2], scratch: &mut Scratch) -> Result<[Number; 2]> {
        one.check()?;
        two.check()?;
        let results = [Number::zero()?, Number::zero()?];
        // SAFETY: The call writes two new numbers and reads six numbers and two contexts; the scratch space is borrowed
        // exclusively.
        check_result(unsafe {
            sys::BN_mod_exp_mont_consttime_x2(
                results[0].0.as_ptr(),
                one.base.0.as_ptr(),
                one.exponent.0.as_ptr(),
                one.modulus.number.0.as_ptr(),
                one.modulus.montgomery.as_ptr(),
                results[1].0.as_ptr(),
                two.base.0.as_ptr(),
                two.exponent.0.as_ptr(),
                two.modulus.number.0.as_ptr(),
                two.modulus.montgomery.as_ptr(),
                scratch.0.as_ptr(),
            )
        })?;
        Ok(results)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use crypto_bigint::{
        BoxedUint,
        modular::{BoxedMontyForm, BoxedMontyParams},
    };
    use proptest::prelude::*;

    use super::super::random::Random as _;
    use super::*;

    fn number(value: u128) -> Number {
        Number::from_be_bytes(&value.to_be_bytes()).unwrap()
    }

    fn value(number: &Number) -> u128 {
        number.to_be_bytes(16).unwrap().iter().fold(0, |value, byte| value << 8 | u128::from(*byte))
    }

    proptest! {
        #[test]
        fn bignum_arithmetic_agrees_with_native_integers(a: u128, b: u128, shift in 0_usize..127) {
            let numbers = [number(a), number(b)];
            prop_assert_eq!(value(&number(a)), a);
            prop_assert_eq!(number(a).bits(), usize::try_from(128 - a.leading_zeros()).unwrap());
            prop_assert_eq!(number(a.max(1)).trailing_zeros(), usize::try_from(a.max(1).trailing_zeros()).unwrap());
            prop_assert_eq!(value(&number(a).shifted_right(shift).unwrap()), a >> shift);
            prop_assert_eq!(value(&number(a / 2).plus(&number(b / 2)).unwrap()), a / 2 + b / 2);
            prop_assert_eq!(numbers[0].minus(&numbers[1]).map(|difference| value(&difference)).ok(), a.checked_sub(b));
            prop_assert_eq!(numbers[0].compare(&numbers[1]), a.cmp(&b));
            prop_assert_eq!(numbers[0].equals(&numbers[1]), a == b);
            prop_assert!(number(a).equals(&numbers[0]));
        }
    }

    #[test]
    fn operands_out_of_range_are_refused() {
        let mut scratch = Scratch::new().unwrap();
        assert!(number(0x0001_0000).to_be_bytes(2).is_err());
        assert!(Modulus::new(number(1 << 100), &mut scratch).is_err());
        assert!(Modulus::new(number((1 << 64) - 1), &mut scratch).is_err());
        let modulus = Modulus::new(number((1 << 100) + 1), &mut scratch).unwrap();
        assert!(modulus.reduce_random(&[1; 23], &mut scratch).is_err());
        assert!(modulus.reduce_random(&[0xff; 24], &mut scratch).unwrap().compare(modulus.number()) == Ordering::Less);
        for (base, exponent) in [((1 << 100) + 1, 1), (1, 1 << 101)] {
            let (base, exponent) = (number(base), number(exponent));
            let power = Power { modulus: &modulus, base: &base, exponent: &exponent };
            assert!(Power::compute_two([power, power], &mut scratch).is_err());
        }
    }

    /// The power, computed by another library.
    fn power(power: &Power<'_>) -> Vec<u8> {
        let bits = u32::try_from(power.modulus.number().bits()).unwrap();
        let [modulus, base, exponent] = [power.modulus.number(), power.base, power.exponent].map(|number| {
            let bytes = number.to_be_bytes(usize::try_from(bits).unwrap() / 8).unwrap();
            BoxedUint::from_be_slice(&bytes, bits).unwrap()
        });
        let parameters = BoxedMontyParams::new(modulus.to_odd().unwrap());
        BoxedMontyForm::new(base, &parameters).pow(&exponent).retrieve().to_be_bytes().into_vec()
    }

    /// Two exponentiations at once give the same results as another library gives for each, in every size for which AWS-LC has
    /// special code.
    #[test]
    fn simultaneous_exponentiations_are_correct() {
        let mut scratch = Scratch::new().unwrap();
        for bits in [128, 1000, 1024, 1536, 2048, 2056] {
            for _ in 0..8 {
                let draw = || {
                    let mut bytes = vec![0; bits / 8];
                    SystemRandom::new().fill(&mut bytes).unwrap();
                    bytes
                };
                let mut moduli = Vec::new();
                for mut modulus in [draw(), draw()] {
                    modulus[0] |= 0x80;
                    modulus[bits / 8 - 1] |= 1;
                    moduli.push(Modulus::new(Number::from_be_bytes(&modulus).unwrap(), &mut scratch).unwrap());
                }
                let mut numbers = Vec::new();
                for mut bytes in [draw(), draw(), draw(), draw()] {
                    bytes[0] &= 0x7f;
                    numbers.push(Number::from_be_bytes(&bytes).unwrap());
                }
                let powers = [
                    Power { modulus: &moduli[0], base: &numbers[0], exponent: &numbers[1] },
                    Power { modulus: &moduli[1], base: &numbers[2], exponent: &numbers[3] },
                ];
                let both = Power::compute_two(powers, &mut scratch).unwrap();
                for (power, result) in powers.iter().zip(both) {
                    assert_eq!(
                        *result.to_be_bytes(bits.next_multiple_of(64) / 8).unwrap(),
                        self::power(power),
                        "{bits}"
                    );
                }
            }
        }
    }

    /// `reduce_random` is the inverse of `to_montgomery`.
    #[test]
    fn reduce_random_inverts_the_montgomery_form() {
        let mut scratch = Scratch::new().unwrap();
        let modulus = Modulus::new(number((1 << 127) + 29), &mut scratch).unwrap();
        for plain in [0, 1, 2, (1 << 127) + 28] {
            let form = modulus.to_montgomery(&number(plain), &mut scratch).unwrap();
            let bytes = form.to_be_bytes(modulus.random_length()).unwrap();
            assert_eq!(value(&modulus.reduce_random(&bytes, &mut scratch).unwrap()), plain);
        }
    }
}
