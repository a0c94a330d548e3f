//! RSA keys of a broken generator (ROCA, CVE-2017-15361): their private half can be computed from
//! the public one.
//!
//! Their primes are of the form `k·M + (65537^a mod M)` with M the product of the first primes, so
//! the modulus is a power of 65537 modulo each of them. Of other keys about one in 2^154 is (Nemec
//! et al., CCS 2017, section 3.3).

const PRIMES: [u64; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
    101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// `modulus`: big-endian.
pub(super) fn is_vulnerable(modulus: &[u8]) -> bool {
    PRIMES.into_iter().all(|prime| {
        let residue = modulus
            .iter()
            .fold(0, |rest, byte| (rest * 256 + u64::from(*byte)) % prime);
        is_power_of_65537(residue, prime)
    })
}

fn is_power_of_65537(residue: u64, prime: u64) -> bool {
    let mut power = 1;
    // The order of an element is less than the prime.
    for _ in 0..prime {
        if power == residue {
            return true;
        }
        power = power * 65_537 % prime;
    }
    false
}
