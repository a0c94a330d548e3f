//! Recovery codes: ten of 80 bits, shown once, of which the store has the SHA-256.

use data_encoding::BASE32_NOPAD;

use crate::encoding::sha256;

pub const CODES: usize = 10;
const CODE_BYTES: usize = 10;
pub const RANDOM_BYTES: usize = CODES * CODE_BYTES;
/// Characters between two hyphens.
const GROUP: usize = 4;

/// As they are shown, with what is stored of them.
pub fn codes(random: &[u8; RANDOM_BYTES]) -> (Vec<String>, Vec<[u8; 32]>) {
    let (codes, _) = random.as_chunks::<CODE_BYTES>();
    codes.iter().map(|code| (shown(code), sha256(code))).unzip()
}

fn shown(code: &[u8; CODE_BYTES]) -> String {
    let text = BASE32_NOPAD.encode(code).to_ascii_lowercase();
    let groups = text.as_bytes().chunks(GROUP);
    let groups: Vec<_> = groups.map(String::from_utf8_lossy).collect();
    groups.join("-")
}

/// What is stored of a code, however a person typed it; none for what is no code.
pub fn digest(typed: &str) -> Option<[u8; 32]> {
    let letters: String = typed
        .chars()
        .filter(|character| *character != '-' && !character.is_whitespace())
        .map(|character| character.to_ascii_uppercase())
        .collect();
    let code = BASE32_NOPAD.decode(letters.as_bytes()).ok()?;
    (code.len() == CODE_BYTES).then(|| sha256(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_again_however_they_are_typed() {
        let random = std::array::from_fn(|index| u8::try_from(index).expect("it is small"));
        let (codes, digests) = codes(&random);
        assert_eq!((codes.len(), digests.len()), (CODES, CODES));
        assert_eq!(codes[0], "aaaq-eaye-auda-ocaj");
        for (code, stored) in codes.iter().zip(digests) {
            let plain = code.replace('-', "");
            for typed in [code, &code.to_uppercase(), &plain, &format!(" {code}\n")] {
                assert_eq!(digest(typed), Some(stored), "{typed}");
            }
        }
    }

    #[test]
    fn what_is_no_code_has_no_digest() {
        for typed in [
            "",
            "aaaq",
            "aaaq-eayd-audb-oca1",
            "aaaq-eayd-audb-ocaj-aaaa",
            "123456",
        ] {
            assert_eq!(digest(typed), None, "{typed}");
        }
    }
}
