//! The numbers of an RSA key, derived from its two primes in constant time by `crypto-bigint`.

use crypto_bigint::{BoxedUint, ConcatenatingMul as _, CtOption, Gcd as _, NonZero, Odd, Resize as _};
use der::Encode as _;
use pkcs1::{RsaPrivateKeyRef, UintRef};
use zeroize::{Zeroize, Zeroizing};

use super::KeygenError;
use super::primes::ConfirmedPrime;
use super::sieve::EXPONENT;

/// A secret number, zeroized on drop.
type Secret<T = BoxedUint> = Zeroizing<T>;

/// The numbers of RFC 8017 §A.1.2, except the public exponent.
pub(super) struct Components {
    modulus: BoxedUint,
    private_exponent: Secret,
    prime1: Secret,
    prime2: Secret,
    exponent1: Secret,
    exponent2: Secret,
    coefficient: Secret,
}

impl From<der::Error> for KeygenError {
    fn from(_: der::Error) -> Self {
        Self::Generation
    }
}

impl Components {
    /// The key with these two primes and a modulus of `bits` bits. The larger prime becomes `prime1`.
    ///
    /// # Errors
    ///
    /// [`KeygenError::UnusablePrimes`] if the modulus has another length, or if FIPS 186-5 A.1.1 allows no key with these primes.
    pub(super) fn new(bits: u32, primes: [&ConfirmedPrime; 2]) -> Result<Self, KeygenError> {
        let half = bits / 2;
        let [p, q] = primes.map(|prime| BoxedUint::from_be_slice(prime.as_bytes(), half).map(Secret::new));
        let (p, q) = (p.map_err(|_| KeygenError::UnusablePrimes)?, q.map_err(|_| KeygenError::UnusablePrimes)?);
        // The order in which the primes were found does not matter.
        let [p, q] = if *p < *q { [q, p] } else { [p, q] };
        let modulus = p.concatenating_mul(&*q);
        if modulus.bits() != bits {
            return Err(KeygenError::UnusablePrimes);
        }

        let one = BoxedUint::one_with_precision(half);
        let [p_less_one, q_less_one] = [&p, &q].map(|prime| secret(prime.wrapping_sub(&one).into_nz()));
        let (p_less_one, q_less_one) = (p_less_one?, q_less_one?);
        let gcd: Secret<NonZero<BoxedUint>> = Secret::new(p_less_one.gcd(&**q_less_one));
        let reduced = secret(p_less_one.div_exact(&gcd))?;
        let lcm = secret(reduced.concatenating_mul(&**q_less_one).into_nz())?;
        let exponent = BoxedUint::from(EXPONENT).resize(bits);
        let private_exponent = secret(exponent.invert_mod(&lcm))?;
        // The exponent is odd, so it cannot equal 2^half.
        if private_exponent.bits() <= half {
            return Err(KeygenError::UnusablePrimes);
        }
        let odd: Secret<Odd<BoxedUint>> = secret(p.to_odd())?;
        Ok(Self {
            exponent1: Secret::new(private_exponent.rem(&p_less_one)),
            exponent2: Secret::new(private_exponent.rem(&q_less_one)),
            coefficient: secret(q.invert_odd_mod(&odd))?,
            modulus,
            private_exponent,
            prime1: p,
            prime2: q,
        })
    }

    /// The `RSAPrivateKey` in DER.
    pub(super) fn to_der(&self) -> Result<Zeroizing<Vec<u8>>, KeygenError> {
        let numbers = [&self.private_exponent, &self.prime1, &self.prime2, &self.exponent1, &self.exponent2];
        let [private_exponent, prime1, prime2, exponent1, exponent2] = numbers.map(|number| be_bytes(number));
        let (modulus, coefficient) = (self.modulus.to_be_bytes(), be_bytes(&self.coefficient));
        let exponent = EXPONENT.to_be_bytes();
        let key = RsaPrivateKeyRef {
            modulus: UintRef::new(&modulus)?,
            public_exponent: UintRef::new(&exponent)?,
            private_exponent: UintRef::new(&private_exponent)?,
            prime1: UintRef::new(&prime1)?,
            prime2: UintRef::new(&prime2)?,
            exponent1: UintRef::new(&exponent1)?,
            exponent2: UintRef::new(&exponent2)?,
            coefficient: UintRef::new(&coefficient)?,
            other_prime_infos: None,
        };
        // The buffer has the exact length: a growing one would leave copies in memory.
        let length = usize::try_from(key.encoded_len()?).map_err(|_| KeygenError::Generation)?;
        let mut der = Zeroizing::new(vec![0; length]);
        key.encode_to_slice(&mut der)?;
        Ok(der)
    }
}

fn secret<T: Zeroize>(number: CtOption<T>) -> Result<Secret<T>, KeygenError> {
    number.into_option().map(Secret::new).ok_or(KeygenError::UnusablePrimes)
}

fn be_bytes(number: &BoxedUint) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(number.to_be_bytes().into_vec())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use der::Decode as _;

    use super::super::bignum::{Number, Scratch};
    use super::super::primes::Candidate;
    use super::super::rsa::tests::{PRIMES, UNFIT, bytes};
    use super::*;

    fn confirmed(prime: &[u8]) -> ConfirmedPrime {
        let mut scratch = Scratch::new().unwrap();
        let candidate = Candidate::new(Number::from_be_bytes(prime).unwrap(), &mut scratch).unwrap();
        candidate.confirm(prime.len(), &mut scratch).unwrap()
    }

    fn vector(name: &str) -> Vec<u8> {
        let path = format!("{}/tests/vectors/private/plain/{name}.traditional", env!("CARGO_MANIFEST_DIR"));
        let (_, der) = pem_rfc7468::decode_vec(std::fs::read_to_string(path).unwrap().as_bytes()).unwrap();
        der
    }

    fn primes(der: &[u8]) -> [ConfirmedPrime; 2] {
        let key = RsaPrivateKeyRef::from_der(der).unwrap();
        [key.prime1, key.prime2].map(|prime| confirmed(prime.as_bytes()))
    }

    #[track_caller]
    fn assert_all_numbers_follow(bits: u32, der: &[u8]) {
        let [p, q] = primes(der);
        for primes in [[&p, &q], [&q, &p]] {
            assert!(*Components::new(bits, primes).unwrap().to_der().unwrap() == der, "{bits} bits");
        }
    }

    /// The primes of a key from `openssl` yield the same numbers as `openssl`'s, to the byte.
    #[test]
    fn rsa_components_equal_those_of_openssl() {
        assert_all_numbers_follow(2048, &vector("rsa2048"));
        for bits in [2048, 3072, 4096] {
            let mut openssl = Command::new("openssl");
            openssl.args(["genrsa", "-traditional", &bits.to_string()]);
            let Ok(output) = openssl.output() else {
                println!("openssl is not installed, so only its stored key was compared");
                return;
            };
            let (_, der) = pem_rfc7468::decode_vec(&output.stdout).unwrap();
            assert_all_numbers_follow(bits, &der);
        }
    }

    #[test]
    fn a_modulus_of_another_length_is_refused() {
        for (name, others) in [("rsa2048", [1024, 2046, 2050, 3072]), ("rsa3070", [3068, 3069, 3072, 4096])] {
            let [p, q] = primes(&vector(name));
            for bits in others {
                assert_eq!(Components::new(bits, [&p, &q]).err(), Some(KeygenError::UnusablePrimes), "{name} {bits}");
            }
        }
    }

    /// `p - 1` is a multiple of the public exponent, so there is no private exponent.
    #[test]
    fn primes_without_a_private_exponent_are_refused() {
        let [prime, unfit] = [PRIMES[0], UNFIT].map(|hex| confirmed(&bytes(hex)));
        assert_eq!(Components::new(512, [&prime, &unfit]).err(), Some(KeygenError::UnusablePrimes));
    }
}
