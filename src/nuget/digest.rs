//! Hashes that name things in our URLs, which must be the same in every instance and every release; and those that
//! documents publish of packages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;

/// The SHA-256 of `bytes` as 64 lower-case hex digits.
pub(crate) fn sha256_hex(bytes: impl AsRef<[u8]>) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digest = digest::digest(&digest::SHA256, bytes.as_ref());
    let nibbles = digest
        .as_ref()
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles
        .map(|nibble| char::from(HEX[usize::from(nibble)]))
        .collect()
}

/// The SHA-512 that a `packageHash` and its `packageHashAlgorithm` publish (protocol fact 2.5.1); without an algorithm, a
/// text that can be one. `None` for hashes of other algorithms.
pub(super) fn published_sha512(hash: &str, algorithm: Option<&str>) -> Option<[u8; 64]> {
    let is_sha512 = algorithm.is_none_or(|name| {
        let name = name.to_ascii_uppercase();
        matches!(name.as_str(), "SHA512" | "SHA-512" | "")
    });
    let bytes = STANDARD.decode(hash.trim()).ok().filter(|_| is_sha512)?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_hash_of_fips_180() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_hex("abc"), expected);
    }

    #[test]
    fn only_sha_512_is_taken_for_it() {
        let (hash, other) = (STANDARD.encode([7; 64]), STANDARD.encode([7; 32]));
        for algorithm in [None, Some("SHA512"), Some("sha-512"), Some("")] {
            assert_eq!(published_sha512(&hash, algorithm), Some([7; 64]));
            assert_eq!(published_sha512(&other, algorithm), None);
        }
        assert_eq!(published_sha512(&format!(" {hash}\n"), None), Some([7; 64]));
        assert_eq!(published_sha512(&hash, Some("SHA3-512")), None);
        assert_eq!(published_sha512("no base64", None), None);
    }
}
