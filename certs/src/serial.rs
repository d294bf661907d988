//! Serial numbers of certificates.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Serial number of a leaf: 16 bytes, drawn at random by the CA.
///
/// The first two bits are always `01`, so that the number is positive and its encoding always 16
/// bytes long; 126 bits are random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial([u8; 16]);

/// A text or a certificate's field is not a serial number of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("serial number is not 32 hexadecimal digits of a 16-byte number")]
pub struct SerialError;

impl Serial {
    /// Makes a serial of 16 random bytes; two bits are overwritten.
    pub(crate) const fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[0] = (bytes[0] & 0x3f) | 0x40;
        Self(bytes)
    }

    /// The number as a certificate encodes it, big-endian.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// A number to spread this certificate's renewal by; differs from certificate to certificate.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        // The low eight bytes, all random.
        let [.., a, b, c, d, e, f, g, h] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// Reads the content of a certificate's INTEGER.
    pub(crate) fn from_der_integer(bytes: &[u8]) -> Result<Self, SerialError> {
        bytes.try_into().map(Self).map_err(|_length| SerialError)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

impl FromStr for Serial {
    type Err = SerialError;

    /// Reads 32 hexadecimal digits, in either case.
    fn from_str(text: &str) -> Result<Self, SerialError> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(SerialError);
        }
        u128::from_str_radix(text, 16)
            .map(|number| Self(number.to_be_bytes()))
            .map_err(|_digits| SerialError)
    }
}

impl TryFrom<String> for Serial {
    type Error = SerialError;

    fn try_from(text: String) -> Result<Self, SerialError> {
        text.parse()
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> Self {
        serial.to_string()
    }
}
