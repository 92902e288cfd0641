//! Reproducible random numbers, and the number of cases to run.

use std::{
    env,
    sync::LazyLock,
    time::{SystemTime, UNIX_EPOCH},
};

/// The number of cases if `KEYPAIR_CASES` is not set.
const DEFAULT_CASES: usize = 10_000;

static SEED: LazyLock<u64> = LazyLock::new(|| {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let seed =
        env::var("KEYPAIR_SEED").ok().map_or_else(now, |seed| seed.parse().expect("KEYPAIR_SEED should be a number"));
    println!("to repeat this run: KEYPAIR_SEED={seed}");
    seed
});

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cases {
    /// This number of random cases, over all groups.
    Some(usize),
    /// Every code point, and ten times the default number of all other cases.
    All,
}

impl Cases {
    /// The value of `KEYPAIR_CASES`: a number, or `all`.
    pub fn wanted() -> Self {
        match env::var("KEYPAIR_CASES").as_deref() {
            Err(_) => Self::Some(DEFAULT_CASES),
            Ok("all") => Self::All,
            Ok(number) => Self::Some(number.parse().expect("KEYPAIR_CASES should be a number or `all`")),
        }
    }

    /// The number of cases for a group that gets `percent` of them.
    pub fn percent(self, percent: usize) -> usize {
        let all = match self {
            Self::Some(number) => number,
            Self::All => DEFAULT_CASES * 10,
        };
        (all * percent / 100).max(1)
    }
}

/// SplitMix64: short, and gives the same numbers on every platform.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers for `purpose`: they depend only on the seed, not on what other tests draw.
    pub fn of(purpose: &str) -> Self {
        let mix = purpose.bytes().fold(*SEED, |mix, byte| mix.wrapping_mul(31).wrapping_add(u64::from(byte)));
        Self(mix)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `limit` - 1.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("fits");
        usize::try_from(self.next() % limit).expect("a number below a usize should fit into a usize")
    }

    /// Returns true once in `times` calls on average.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// Any Unicode character.
    pub fn char(&mut self) -> char {
        loop {
            if let Some(c) = u32::try_from(self.below(0x11_0000)).ok().and_then(char::from_u32) {
                return c;
            }
        }
    }
}
