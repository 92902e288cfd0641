//! The data types of RFC 4251 §5: a strict reader, and functions that append to a buffer.

/// The maximum length of a number in bytes: 16384 bits, as in OpenSSH.
const MAX_NUMBER: usize = 16384 / 8;

/// Errors in a structure of RFC 4251 types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireError {
    /// A field extends past the end.
    Truncated,
    /// Bytes follow the last field.
    TrailingBytes,
    /// A number is zero or negative.
    NotPositive,
    /// A number has an unnecessary leading zero byte.
    NotMinimal,
    /// A number has more than 16384 bits.
    TooLong,
}

/// Reads consecutive fields from a byte string.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The unread bytes.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `length` bytes.
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A `byte`.
    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A `uint32`.
    pub(crate) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A `uint64`.
    pub(crate) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A `string`: its bytes without the length.
    pub(crate) fn string(&mut self) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(self.u32()?).map_err(|_| WireError::Truncated)?;
        self.take(length)
    }

    /// A positive `mpint`: its magnitude, big-endian, without a leading zero byte.
    ///
    /// Every number in a key is positive, so zero is refused like negative numbers.
    pub(crate) fn positive_mpint(&mut self) -> Result<&'a [u8], WireError> {
        let bytes = self.string()?;
        let magnitude = match bytes {
            [] => return Err(WireError::NotPositive),
            [0, second, ..] if *second >= 0x80 => bytes.get(1..).unwrap_or_default(),
            [0, ..] => return Err(WireError::NotMinimal),
            [first, ..] if *first >= 0x80 => return Err(WireError::NotPositive),
            _ => bytes,
        };
        if magnitude.len() > MAX_NUMBER {
            return Err(WireError::TooLong);
        }
        Ok(magnitude)
    }

    /// Succeeds if everything has been read.
    pub(crate) const fn finish(&self) -> Result<(), WireError> {
        if self.is_empty() { Ok(()) } else { Err(WireError::TrailingBytes) }
    }
}

/// The length in bits of a big-endian magnitude.
pub(crate) fn bit_length(magnitude: &[u8]) -> u32 {
    let zeros = magnitude.iter().take_while(|byte| **byte == 0).count();
    let significant = magnitude.get(zeros..).unwrap_or_default();
    let whole = u32::try_from(significant.len()).unwrap_or(u32::MAX).saturating_mul(8);
    whole.saturating_sub(significant.first().map_or(0, |first| first.leading_zeros()))
}

/// Appends a `uint32`.
pub(crate) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a `string`.
///
/// Nothing in this crate comes near the limit of 4 GiB. Beyond it, the length is wrong, but the program does not panic.
pub(crate) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(bytes);
}

/// Appends a non-negative `mpint`, given as a big-endian magnitude with or without leading zeros.
pub(crate) fn put_mpint(out: &mut Vec<u8>, magnitude: &[u8]) {
    let zeros = magnitude.iter().take_while(|byte| **byte == 0).count();
    let minimal = magnitude.get(zeros..).unwrap_or_default();
    let sign = usize::from(minimal.first().is_some_and(|first| *first >= 0x80));
    put_u32(out, u32::try_from(minimal.len() + sign).unwrap_or(u32::MAX));
    out.extend(std::iter::repeat_n(0, sign));
    out.extend_from_slice(minimal);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mpint(bytes: &[u8]) -> Result<Vec<u8>, WireError> {
        let mut out = Vec::new();
        put_string(&mut out, bytes);
        Reader::new(&out).positive_mpint().map(<[u8]>::to_vec)
    }

    #[test]
    fn numbers_must_be_positive_and_minimal() {
        assert_eq!(mpint(&[]), Err(WireError::NotPositive));
        assert_eq!(mpint(&[0]), Err(WireError::NotMinimal));
        assert_eq!(mpint(&[0, 0x7f]), Err(WireError::NotMinimal));
        assert_eq!(mpint(&[0x80]), Err(WireError::NotPositive));
        assert_eq!(mpint(&[0, 0x80]), Ok(vec![0x80]));
        assert_eq!(mpint(&[1, 0]), Ok(vec![1, 0]));
        assert_eq!(mpint(&[1; 2048]), Ok(vec![1; 2048]));
        assert_eq!(mpint(&[1; 2049]), Err(WireError::TooLong));
    }

    #[test]
    fn written_numbers_read_back_unchanged() {
        for (magnitude, minimal) in
            [(&[1][..], &[1][..]), (&[0x80], &[0x80]), (&[0, 0, 0xff, 3], &[0xff, 3]), (&[0x7f, 0], &[0x7f, 0])]
        {
            let mut out = Vec::new();
            put_mpint(&mut out, magnitude);
            assert_eq!(Reader::new(&out).positive_mpint(), Ok(minimal));
        }
    }

    #[test]
    fn a_field_cannot_exceed_the_buffer() {
        assert_eq!(Reader::new(&[0, 0, 0]).u32(), Err(WireError::Truncated));
        assert_eq!(Reader::new(&[0, 0, 0, 2, 1]).string(), Err(WireError::Truncated));
        assert_eq!(Reader::new(&[0xff; 12]).string(), Err(WireError::Truncated));
        assert_eq!(Reader::new(&[1]).finish(), Err(WireError::TrailingBytes));
    }

    #[test]
    fn bits_are_counted_from_the_first_set_one() {
        assert_eq!(bit_length(&[]), 0);
        assert_eq!(bit_length(&[0, 1]), 1);
        assert_eq!(bit_length(&[0x80, 0]), 16);
    }
}
