//! Time-based one-time passwords (RFC 6238): SHA-1, 30 seconds, 6 digits, which is what
//! authenticator apps agree on.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use data_encoding::BASE32_NOPAD;
use qrcode::QrCode;
use qrcode::render::svg;
use url::form_urlencoded::byte_serialize;
use uuid::Uuid;
use zeroize::Zeroizing;

const STEP_SECONDS: i64 = 30;
const DIGITS: usize = 6;
/// RFC 4226, section 4, R6: 160 bits.
pub const SECRET_BYTES: usize = 20;
/// Pixels on a side.
const QR_SIZE: u32 = 240;

/// In the clear: it exists only while a request is answered.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    pub fn new(random: [u8; SECRET_BYTES]) -> Self {
        Self(Zeroizing::new(random.to_vec()))
    }

    pub fn of_bytes(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a person types it.
    pub fn base32(&self) -> String {
        BASE32_NOPAD.encode(&self.0)
    }

    /// The time step whose code this is: this one, the one before or the one after, for clocks that
    /// differ.
    pub fn step_of(&self, code: &str, now: i64) -> Option<i64> {
        let current = now.div_euclid(STEP_SECONDS);
        let mut found = None;
        // All of them are compared, whichever matches.
        for step in [current + 1, current - 1, current] {
            let expected = self.code(step);
            if verify_slices_are_equal(expected.as_bytes(), code.as_bytes()).is_ok() {
                found = Some(step);
            }
        }
        found
    }

    #[cfg(test)]
    pub(crate) fn code_at(&self, now: i64) -> String {
        self.code(now.div_euclid(STEP_SECONDS))
    }

    fn code(&self, step: i64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let tag = tag.as_ref();
        // RFC 4226, section 5.3: the last four bits give the offset.
        let at = tag.last().map_or(0, |last| usize::from(last & 15));
        let word = tag[at..at + 4]
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        let number = (word & 0x7fff_ffff) % 10_u32.pow(DIGITS as u32);
        format!("{number:0DIGITS$}")
    }

    /// What authenticator apps read: `otpauth://totp/ISSUER:ACCOUNT?…`.
    pub fn uri(&self, issuer: &str, account: &str) -> String {
        // Spaces as %20: apps show a plus sign as one.
        let [issuer, account] = [issuer, account].map(|text| {
            byte_serialize(text.as_bytes())
                .collect::<String>()
                .replace('+', "%20")
        });
        format!(
            "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}&algorithm=SHA1&digits={DIGITS}&period={STEP_SECONDS}",
            self.base32()
        )
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

/// What a sealed secret belongs to.
pub fn associated(user: Uuid, factor: Uuid) -> Vec<u8> {
    [b"totp".as_slice(), user.as_bytes(), factor.as_bytes()].concat()
}

/// The URI as a QR code, an SVG element of its own. None for one that is too long.
pub fn qr_svg(uri: &str) -> Option<String> {
    let code = QrCode::new(uri).ok()?;
    Some(
        code.render::<svg::Color<'_>>()
            .min_dimensions(QR_SIZE, QR_SIZE)
            .build(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, the last six of its eight digits.
    const VECTORS: [(i64, &str); 6] = [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (2_000_000_000, "279037"),
        (20_000_000_000, "353130"),
    ];

    fn secret() -> Secret {
        Secret::new(*b"12345678901234567890")
    }

    #[test]
    fn the_vectors_of_the_rfc_hold() {
        for (at, code) in VECTORS {
            assert_eq!(secret().step_of(code, at), Some(at / 30), "{at}");
        }
    }

    #[test]
    fn a_code_is_good_one_step_before_and_after_and_no_more() {
        let (at, code) = VECTORS[0];
        for (seconds, good) in [
            (-60, false),
            (-30, true),
            (0, true),
            (30, true),
            (60, false),
        ] {
            let step = secret().step_of(code, at + seconds);
            assert_eq!(step, good.then_some(1), "{seconds}");
        }
    }

    #[test]
    fn what_is_no_code_matches_nothing() {
        for code in ["", "28708", "2870820", "287083", " 287082", "２８７０８２"] {
            assert_eq!(secret().step_of(code, 59), None, "{code}");
        }
    }

    #[test]
    fn the_uri_is_what_apps_read() {
        assert_eq!(
            secret().uri("auth.example", "ann@shop example"),
            "otpauth://totp/auth.example:ann%40shop%20example?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
             &issuer=auth.example&algorithm=SHA1&digits=6&period=30"
        );
        let svg = qr_svg(&secret().uri("a", "b")).expect("it fits");
        assert!(svg.contains("<svg") && svg.ends_with("</svg>"), "{svg}");
        assert!(qr_svg(&"x".repeat(10_000)).is_none());
    }

    #[test]
    fn another_implementation_reads_the_uri_and_agrees_on_every_code() {
        for byte in 0..50_u8 {
            let secret = Secret::new(std::array::from_fn(|at| byte.wrapping_mul(31) ^ at as u8));
            let uri = secret.uri("auth.example", "ann@shop.example");
            let other = totp_rs::Totp::from_url(&uri).expect("it reads the URI");
            let now = 1_900_000_000 + i64::from(byte) * 1_234_567;
            let code = other.generate(now.unsigned_abs()).to_string();
            assert_eq!(secret.step_of(&code, now), Some(now / 30), "{now}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        assert!(!format!("{:?}", secret()).contains("49, 50"));
    }
}
