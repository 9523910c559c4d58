//! Random numbers that a printed seed brings back: SplitMix64.

/// A sequence of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed that `SLUICE_BENCH_SEED` gives, else one of this moment.
    ///
    /// # Panics
    /// If the variable is no number.
    pub(crate) fn seed() -> u64 {
        match std::env::var("SLUICE_BENCH_SEED") {
            Ok(text) => text.parse().expect("SLUICE_BENCH_SEED is a number"),
            Err(_) => {
                let now = std::time::SystemTime::UNIX_EPOCH.elapsed();
                now.expect("after 1970").subsec_micros().into()
            }
        }
    }

    /// The next number.
    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.number() % end.max(1)
    }

    /// A number of the range `from..to`.
    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from)
    }

    /// A place in something of this length.
    pub(crate) fn place(&mut self, length: usize) -> usize {
        self.size(0, length)
    }

    /// A size of the range `from..to`.
    pub(crate) fn size(&mut self, from: usize, to: usize) -> usize {
        let size = self.between(from as u64, to as u64);
        usize::try_from(size).expect("it is below a size")
    }

    /// True so many times in a hundred.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Bytes that nothing makes smaller.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}
