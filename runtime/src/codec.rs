//! Values to bytes and back. The one place that knows an encoding.
//!
//! Both codecs write fields in their order without names; integers of more than a byte are variable
//! in length. Which one wrote a payload stands in the envelope before it.
//!
//! Invariants: (1) no input makes a decoder panic; (2) decoding takes at most [`DECODE_BYTES_MAX`]
//! bytes and reads them all, or it is an error; (3) beside what the decoded value takes, no more is
//! allocated than 1 MiB per level of nesting, and 16 MiB at once for an input past
//! [`SMALL_BYTES_MAX`]; a list's elements are paid for by its bytes (`Wire` sees to it that each
//! takes one); (4) the encoding of a released type does not change (golden bytes in the tests).

use bincode::error::DecodeError as BincodeError;
use postcard::Error as PostcardError;
use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest input, bytes. The links carry no longer head.
pub(crate) const DECODE_BYTES_MAX: usize = 1 << 20;
/// Longest input for which the tight limit is enough, bytes. The default of the links' heads.
const SMALL_BYTES_MAX: usize = 64 << 10;

/// bincode counts a number at its size in memory, which is up to 16 times that of its encoding. A
/// value of many small numbers must not be refused for it.
const COUNTED_PER_BYTE: usize = 16;
const SMALL_COUNT_MAX: usize = SMALL_BYTES_MAX * COUNTED_PER_BYTE;
const COUNT_MAX: usize = DECODE_BYTES_MAX * COUNTED_PER_BYTE;

/// How a value becomes bytes. The number travels with each payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Codec {
    /// bincode 2.
    #[default]
    Bincode = 1,
    /// postcard 1.
    Postcard = 2,
}

impl TryFrom<u8> for Codec {
    type Error = DecodeError;

    fn try_from(number: u8) -> Result<Self, DecodeError> {
        match number {
            1 => Ok(Self::Bincode),
            2 => Ok(Self::Postcard),
            _unknown => Err(DecodeError::Codec { number }),
        }
    }
}

/// Why a value has no encoding. Fault: the caller, or who wrote its `Serialize`. Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A list or map does not know its length beforehand.
    #[error("a list does not know its length")]
    LengthUnknown,
    /// A `Serialize` implementation refused the value, or uses what the codec does not have.
    #[error("a part of it cannot be serialized")]
    Refused,
}

/// Why bytes are not the value that was expected. Fault: the peer, or its build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No codec has this number.
    #[error("no codec has number {number}")]
    Codec {
        /// The number.
        number: u8,
    },
    /// A number, text, variant or flag that the type does not have.
    #[error("a part of it is no value of its type")]
    Invalid,
    /// Longer than any head.
    #[error("{bytes} bytes are past the limit of {DECODE_BYTES_MAX}")]
    TooLong {
        /// The length.
        bytes: usize,
    },
    /// More stands behind the value.
    #[error("{bytes} bytes stand behind the value")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The bytes end before the value, or announce more than they hold.
    #[error("the bytes end before the value")]
    Truncated,
}

impl Codec {
    /// Appends the encoding of `value` to `out`, and allocates nothing else.
    ///
    /// # Errors
    /// [`EncodeError`]; `out` is as it was.
    pub fn encode<T>(self, value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError>
    where
        T: Serialize + ?Sized,
    {
        let before = out.len();
        let encoded = match self {
            Self::Bincode => {
                let config = bincode::config::standard();
                let encoded = bincode::serde::encode_into_std_write(value, out, config);
                encoded.map(|_bytes| ()).map_err(of_bincode)
            }
            Self::Postcard => {
                postcard::serialize_with_flavor(value, Append(out)).map_err(of_postcard)
            }
        };
        encoded.inspect_err(|_refused| out.truncate(before))
    }

    /// Reads a value that takes all of `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, DecodeError> {
        if bytes.len() > DECODE_BYTES_MAX {
            return Err(DecodeError::TooLong { bytes: bytes.len() });
        }
        let (value, rest) = match self {
            Self::Bincode => {
                let (value, read) = from_bincode(bytes)?;
                (value, bytes.len() - read)
            }
            Self::Postcard => {
                let (value, rest) = postcard::take_from_bytes(bytes).map_err(reading_postcard)?;
                (value, rest.len())
            }
        };
        if rest > 0 { Err(DecodeError::Trailing { bytes: rest }) } else { Ok(value) }
    }
}

/// Without a limit a length in the input is allocated whatever it says. A tight one for what is
/// short keeps the price of a lie near that of the message that tells it.
fn from_bincode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    let config = bincode::config::standard();
    let decoded = if bytes.len() <= SMALL_BYTES_MAX {
        bincode::serde::decode_from_slice(bytes, config.with_limit::<SMALL_COUNT_MAX>())
    } else {
        bincode::serde::decode_from_slice(bytes, config.with_limit::<COUNT_MAX>())
    };
    decoded.map_err(|error| match error {
        // No value within these bytes comes to the limit: a length is more than they hold.
        BincodeError::UnexpectedEnd { .. } | BincodeError::LimitExceeded => DecodeError::Truncated,
        _of_the_value => DecodeError::Invalid,
    })
}

fn of_bincode(error: bincode::error::EncodeError) -> EncodeError {
    use bincode::error::EncodeError as Bincode;
    match error {
        Bincode::Serde(bincode::serde::EncodeError::SequenceMustHaveLength) => {
            EncodeError::LengthUnknown
        }
        _of_the_value => EncodeError::Refused,
    }
}

fn of_postcard(error: PostcardError) -> EncodeError {
    match error {
        PostcardError::SerializeSeqLengthUnknown => EncodeError::LengthUnknown,
        _of_the_value => EncodeError::Refused,
    }
}

fn reading_postcard(error: PostcardError) -> DecodeError {
    match error {
        PostcardError::DeserializeUnexpectedEnd => DecodeError::Truncated,
        _of_the_value => DecodeError::Invalid,
    }
}

/// Writes behind what a vector holds.
struct Append<'a>(&'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
