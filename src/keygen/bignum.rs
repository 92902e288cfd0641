//! Big numbers of AWS-LC, behind a safe interface: the one module of the crate with `unsafe` in it.
//!
//! Each function wraps one call. What the calls have in common: a [`Number`], a [`Scratch`] and a [`Modulus`] each own what
//! their pointer points to, from a successful allocation until they are dropped, and nobody else has the pointer. A number is
//! initialised when it is allocated, so a reference to one can be read; what a call writes is a fresh number or behind a `&mut`.
//! AWS-LC allocates results itself, as long as they have to be.
//!
//! Memory is overwritten when it is freed: that of a number by `BN_clear_free`, and all else by AWS-LC's own allocator.

#![expect(unsafe_code, reason = "AWS-LC's safe interface has no arithmetic with big numbers")]
#![deny(clippy::undocumented_unsafe_blocks)]
#![deny(clippy::multiple_unsafe_ops_per_block)]

use std::{cmp::Ordering, ffi::c_int, ptr::NonNull};

use aws_lc_sys as sys;
use zeroize::Zeroizing;

use super::KeygenError;

/// AWS-LC could not compute something: no memory, or an argument that it does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library could not calculate with big numbers")]
pub(super) struct ArithmeticError;

impl From<ArithmeticError> for KeygenError {
    fn from(_: ArithmeticError) -> Self {
        Self::Generation
    }
}

type Result<T> = std::result::Result<T, ArithmeticError>;

/// The bytes of the words that the library's numbers consist of.
const WORD: usize = size_of::<sys::BN_ULONG>();

/// A number that is not negative. Overwritten when dropped.
pub(super) struct Number(NonNull<sys::BIGNUM>);

/// Where AWS-LC keeps what it calculates in between.
pub(super) struct Scratch(NonNull<sys::BN_CTX>);

/// An odd number to calculate modulo of.
pub(super) struct Modulus {
    number: Number,
    montgomery: NonNull<sys::BN_MONT_CTX>,
}

/// One power to compute: of what, and the exponent.
#[derive(Clone, Copy)]
pub(super) struct Power<'a> {
    pub(super) modulus: &'a Modulus,
    /// Below the modulus.
    pub(super) base: &'a Number,
    /// Not longer than the modulus.
    pub(super) exponent: &'a Number,
}

fn done(code: c_int) -> Result<()> {
    if code == 1 { Ok(()) } else { Err(ArithmeticError) }
}

impl Number {
    fn zero() -> Result<Self> {
        // SAFETY: It takes nothing, and gives a number that is ours, or null.
        NonNull::new(unsafe { sys::BN_new() }).map(Self).ok_or(ArithmeticError)
    }

    /// Fills a fresh number by a call that says whether it succeeded.
    fn from_call(call: impl FnOnce(*mut sys::BIGNUM) -> c_int) -> Result<Self> {
        let number = Self::zero()?;
        done(call(number.0.as_ptr()))?;
        Ok(number)
    }

    pub(super) fn from_be_bytes(bytes: &[u8]) -> Result<Self> {
        let number = Self::zero()?;
        // SAFETY: As many bytes as are said can be read, and the number is ours to be written.
        let read = unsafe { sys::BN_bin2bn(bytes.as_ptr(), bytes.len(), number.0.as_ptr()) };
        if read.is_null() { Err(ArithmeticError) } else { Ok(number) }
    }

    pub(super) fn from_word(word: u64) -> Result<Self> {
        Self::from_be_bytes(&word.to_be_bytes())
    }

    /// The number in exactly `length` bytes, which must suffice. In constant time.
    pub(super) fn to_be_bytes(&self, length: usize) -> Result<Zeroizing<Vec<u8>>> {
        let mut bytes = Zeroizing::new(vec![0; length]);
        // SAFETY: As many bytes as are said can be written, and the number can be read.
        done(unsafe { sys::BN_bn2bin_padded(bytes.as_mut_ptr(), length, self.0.as_ptr()) })?;
        Ok(bytes)
    }

    /// How long the number is. Zero has no bits.
    pub(super) fn bits(&self) -> usize {
        // SAFETY: The number can be read.
        let bits = unsafe { sys::BN_num_bits(self.0.as_ptr()) };
        usize::try_from(bits).unwrap_or(usize::MAX)
    }

    /// How many zeros the binary digits end with. In constant time.
    pub(super) fn trailing_zeros(&self) -> usize {
        // SAFETY: The number can be read.
        let zeros = unsafe { sys::BN_count_low_zero_bits(self.0.as_ptr()) };
        usize::try_from(zeros).unwrap_or(usize::MAX)
    }

    pub(super) fn shifted_right(&self, bits: usize) -> Result<Self> {
        let bits = c_int::try_from(bits).map_err(|_| ArithmeticError)?;
        // SAFETY: One fresh number is written, one is read.
        Self::from_call(|result| unsafe { sys::BN_rshift(result, self.0.as_ptr(), bits) })
    }

    pub(super) fn plus(&self, other: &Self) -> Result<Self> {
        // SAFETY: One fresh number is written, two are read.
        Self::from_call(|result| unsafe { sys::BN_add(result, self.0.as_ptr(), other.0.as_ptr()) })
    }

    /// The difference; an error if `other` is the greater one.
    pub(super) fn minus(&self, other: &Self) -> Result<Self> {
        // SAFETY: One fresh number is written, two are read; a negative difference is refused by the call.
        Self::from_call(|result| unsafe { sys::BN_usub(result, self.0.as_ptr(), other.0.as_ptr()) })
    }

    /// Whether the numbers are the same. In constant time.
    pub(super) fn equals(&self, other: &Self) -> bool {
        // SAFETY: Both numbers can be read.
        unsafe { sys::BN_equal_consttime(self.0.as_ptr(), other.0.as_ptr()) == 1 }
    }

    /// Whether AWS-LC's own test takes the number for a prime: division by small primes, and at least 16 rounds of Miller-Rabin
    /// with bases from its own generator. In constant time for a prime.
    pub(super) fn is_probably_prime(&self, scratch: &mut Scratch) -> Result<bool> {
        // As many rounds as AWS-LC makes for keys of its own, with division, without anybody to report to.
        let (checks, divide, report) = (sys::BN_prime_checks_for_generation, 1, std::ptr::null_mut());
        let mut verdict = 0;
        // SAFETY: An integer of ours is written, one number is read; nobody else uses the scratch space.
        done(unsafe {
            sys::BN_primality_test(&raw mut verdict, self.0.as_ptr(), checks, scratch.0.as_ptr(), divide, report)
        })?;
        Ok(verdict == 1)
    }

    /// Which number is greater. In constant time.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        // SAFETY: Both numbers can be read.
        unsafe { sys::BN_ucmp(self.0.as_ptr(), other.0.as_ptr()) }.cmp(&0)
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        // SAFETY: The number is ours, and this is the last that is done with it.
        unsafe { sys::BN_clear_free(self.0.as_ptr()) }
    }
}

impl Scratch {
    pub(super) fn new() -> Result<Self> {
        // Once for the process: what the processor can do is looked up here.
        aws_lc_rs::init();
        // SAFETY: It takes nothing, and gives a context that is ours, or null.
        NonNull::new(unsafe { sys::BN_CTX_new() }).map(Self).ok_or(ArithmeticError)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: The context is ours, and this is the last that is done with it.
        unsafe { sys::BN_CTX_free(self.0.as_ptr()) }
    }
}

impl Modulus {
    /// An error if the number is even or has fewer than 65 bits. In constant time, but for its length.
    pub(super) fn new(number: Number, scratch: &mut Scratch) -> Result<Self> {
        if number.bits() <= 64 {
            return Err(ArithmeticError);
        }
        // SAFETY: The number is read; nobody else uses the scratch space; the context is ours, or null.
        let montgomery = unsafe { sys::BN_MONT_CTX_new_consttime(number.0.as_ptr(), scratch.0.as_ptr()) };
        let montgomery = NonNull::new(montgomery).ok_or(ArithmeticError)?;
        Ok(Self { number, montgomery })
    }

    pub(super) const fn number(&self) -> &Number {
        &self.number
    }

    /// How many bytes [`Modulus::spread`] takes: 64 bits more than there are in whole words of the modulus.
    pub(super) fn spread_length(&self) -> usize {
        self.number.bits().div_ceil(8).next_multiple_of(WORD) + 8
    }

    /// A number below the modulus, from bytes that are drawn at random: each comes with the same probability, but for a
    /// relative difference below 2^-64. In constant time.
    ///
    /// It is `bytes / R`, where `R` is what the Montgomery form multiplies by.
    pub(super) fn spread(&self, bytes: &[u8], scratch: &mut Scratch) -> Result<Number> {
        // Below 2^64 R, and so below R times the modulus, which is what the reduction takes.
        if bytes.len() != self.spread_length() {
            return Err(ArithmeticError);
        }
        let number = Number::from_be_bytes(bytes)?;
        let (number, montgomery, scratch) = (number.0.as_ptr(), self.montgomery.as_ptr(), scratch.0.as_ptr());
        // SAFETY: One fresh number is written, one and the context are read; nobody else uses the scratch space.
        Number::from_call(|result| unsafe { sys::BN_from_montgomery(result, number, montgomery, scratch) })
    }

    /// The Montgomery form of a number below the modulus. In constant time.
    pub(super) fn to_montgomery(&self, number: &Number, scratch: &mut Scratch) -> Result<Number> {
        let (number, montgomery, scratch) = (number.0.as_ptr(), self.montgomery.as_ptr(), scratch.0.as_ptr());
        // SAFETY: One fresh number is written, one and the context are read; nobody else uses the scratch space.
        Number::from_call(|result| unsafe { sys::BN_to_montgomery(result, number, montgomery, scratch) })
    }

    /// The square of a number in Montgomery form. In constant time.
    pub(super) fn squared(&self, number: &Number, scratch: &mut Scratch) -> Result<Number> {
        let (number, montgomery, scratch) = (number.0.as_ptr(), self.montgomery.as_ptr(), scratch.0.as_ptr());
        // SAFETY: One fresh number is written, one and the context are read; nobody else uses the scratch space.
        Number::from_call(|result| unsafe { sys::BN_mod_mul_montgomery(result, number, number, montgomery, scratch) })
    }
}

impl Drop for Modulus {
    fn drop(&mut self) {
        // SAFETY: The context is ours, and this is the last that is done with it.
        unsafe { sys::BN_MONT_CTX_free(self.montgomery.as_ptr()) }
    }
}

impl Power<'_> {
    /// AWS-LC's exponentiation for two takes for granted that its arguments are of these sizes.
    fn check(&self) -> Result<()> {
        let modulus = self.modulus.number();
        let fits = self.base.compare(modulus) == Ordering::Less && self.exponent.bits() <= modulus.bits();
        if fits { Ok(()) } else { Err(ArithmeticError) }
    }

    /// Two powers. In constant time, and in little more than that of one where the processor has AVX-512 IFMA and the moduli
    /// are of 1024, 1536 or 2048 bits.
    pub(super) fn compute_two([one, two]: [Self; 2], scratch: &mut Scratch) -> Result<[Number; 2]> {
        one.check()?;
        two.check()?;
        let results = [Number::zero()?, Number::zero()?];
        // SAFETY: Two fresh numbers are written, six and the contexts of the two moduli are read; the scratch space is ours.
        done(unsafe {
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
        fn agrees_with_the_machine(a: u128, b: u128, shift in 0_usize..127) {
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
    fn what_cannot_be_computed_is_refused() {
        let mut scratch = Scratch::new().unwrap();
        assert!(number(0x0001_0000).to_be_bytes(2).is_err());
        assert!(Modulus::new(number(1 << 100), &mut scratch).is_err());
        assert!(Modulus::new(number((1 << 64) - 1), &mut scratch).is_err());
        let modulus = Modulus::new(number((1 << 100) + 1), &mut scratch).unwrap();
        assert!(modulus.spread(&[1; 23], &mut scratch).is_err());
        assert!(modulus.spread(&[0xff; 24], &mut scratch).unwrap().compare(modulus.number()) == Ordering::Less);
        for (base, exponent) in [((1 << 100) + 1, 1), (1, 1 << 101)] {
            let (base, exponent) = (number(base), number(exponent));
            let power = Power { modulus: &modulus, base: &base, exponent: &exponent };
            assert!(Power::compute_two([power, power], &mut scratch).is_err());
        }
    }

    /// The power, by another library.
    fn power(power: &Power<'_>) -> Vec<u8> {
        let bits = u32::try_from(power.modulus.number().bits()).unwrap();
        let [modulus, base, exponent] = [power.modulus.number(), power.base, power.exponent].map(|number| {
            let bytes = number.to_be_bytes(usize::try_from(bits).unwrap() / 8).unwrap();
            BoxedUint::from_be_slice(&bytes, bits).unwrap()
        });
        let parameters = BoxedMontyParams::new(modulus.to_odd().unwrap());
        BoxedMontyForm::new(base, &parameters).pow(&exponent).retrieve().to_be_bytes().into_vec()
    }

    /// Two exponentiations at once give what each gives alone by another library, in every size that AWS-LC has its own code
    /// for.
    #[test]
    fn two_powers_are_the_powers() {
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

    /// A number goes into the Montgomery form and, spread over the modulus, comes out again.
    #[test]
    fn spreading_undoes_the_montgomery_form() {
        let mut scratch = Scratch::new().unwrap();
        let modulus = Modulus::new(number((1 << 127) + 29), &mut scratch).unwrap();
        for plain in [0, 1, 2, (1 << 127) + 28] {
            let form = modulus.to_montgomery(&number(plain), &mut scratch).unwrap();
            let bytes = form.to_be_bytes(modulus.spread_length()).unwrap();
            assert_eq!(value(&modulus.spread(&bytes, &mut scratch).unwrap()), plain);
        }
    }
}
