use std::collections::BTreeMap;

use serde::ser::{Error as _, SerializeSeq};
use serde::{Deserialize, Serialize, Serializer};

use super::*;

const BOTH: [Codec; 2] = [Codec::Bincode, Codec::Postcard];

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Plain,
    Marked { mark: i16 },
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sample {
    block: u64,
    name: String,
    kind: Option<Kind>,
    counts: Vec<u32>,
    flags: BTreeMap<u8, bool>,
}

fn sample() -> Sample {
    Sample {
        block: 300,
        name: "lu0".to_owned(),
        kind: Some(Kind::Marked { mark: -2 }),
        counts: vec![1, 70_000],
        flags: BTreeMap::from([(1, true), (2, false)]),
    }
}

fn encoded<T: Serialize>(codec: Codec, value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    codec.encode(value, &mut out).unwrap();
    out
}

/// A changed byte parts the cluster: it needs a codec of another number.
#[test]
fn the_sample_is_these_bytes() {
    let bincode = [
        251, 0x2c, 1, // block
        3, b'l', b'u', b'0', // name
        1, 1, 3, // kind: some, marked, zigzag -2
        2, 1, 252, 0x70, 0x11, 1, 0, // counts
        2, 1, 1, 2, 0, // flags
    ];
    let postcard = [
        0xac, 2, // block
        3, b'l', b'u', b'0', // name
        1, 1, 3, // kind
        2, 1, 0xf0, 0xa2, 4, // counts
        2, 1, 1, 2, 0, // flags
    ];
    assert_eq!(encoded(Codec::Bincode, &sample()), bincode);
    assert_eq!(encoded(Codec::Postcard, &sample()), postcard);
    assert_eq!(Codec::Bincode.decode(&bincode), Ok(sample()));
    assert_eq!(Codec::Postcard.decode(&postcard), Ok(sample()));
}

#[test]
fn a_codec_has_one_number() {
    assert_eq!(Codec::default(), Codec::Bincode);
    for codec in BOTH {
        assert_eq!(Codec::try_from(codec as u8), Ok(codec));
    }
    for number in [0, 3, 255] {
        assert_eq!(Codec::try_from(number), Err(DecodeError::Codec { number }));
    }
}

#[test]
fn what_is_cut_or_has_something_behind_it_is_refused() {
    for codec in BOTH {
        let mut bytes = encoded(codec, &sample());
        for len in 0..bytes.len() {
            let cut = codec.decode::<Sample>(&bytes[..len]);
            assert_eq!(cut, Err(DecodeError::Truncated), "{codec:?}, {len} bytes");
        }
        bytes.extend([0, 0]);
        let trailing = Err(DecodeError::Trailing { bytes: 2 });
        assert_eq!(codec.decode::<Sample>(&bytes), trailing, "{codec:?}");
        assert_eq!(codec.decode::<()>(&[0]), Err(DecodeError::Trailing { bytes: 1 }));
    }
}

#[test]
fn what_no_value_of_the_type_is_written_as_is_refused() {
    for codec in BOTH {
        assert_eq!(codec.decode::<bool>(&[2]), Err(DecodeError::Invalid), "{codec:?}");
        assert_eq!(codec.decode::<Kind>(&[2]), Err(DecodeError::Invalid), "{codec:?}");
        assert_eq!(codec.decode::<String>(&[2, 0xff, 0xff]), Err(DecodeError::Invalid));
        assert_eq!(codec.decode::<Option<u8>>(&[9, 1]), Err(DecodeError::Invalid), "{codec:?}");
    }
}

#[test]
fn a_length_that_the_bytes_do_not_hold_is_refused_however_long() {
    let lengths: [(Codec, &[u8]); 4] = [
        (Codec::Bincode, &[253, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        (Codec::Bincode, &[252, 0, 0, 0x0f, 0]),
        (Codec::Postcard, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        (Codec::Postcard, &[0x80, 0x80, 0x3c]),
    ];
    for (codec, bytes) in lengths {
        assert_eq!(codec.decode::<String>(bytes), Err(DecodeError::Truncated), "{codec:?}");
        assert_eq!(codec.decode::<Vec<u8>>(bytes), Err(DecodeError::Truncated), "{codec:?}");
        let nested = codec.decode::<Vec<Vec<String>>>(bytes);
        assert_eq!(nested, Err(DecodeError::Truncated), "{codec:?}");
    }
}

#[test]
fn a_head_full_of_small_numbers_is_read() {
    for codec in BOTH {
        for count in [SMALL_BYTES_MAX - 3, SMALL_BYTES_MAX, DECODE_BYTES_MAX - 5] {
            let numbers = vec![1_u128; count];
            let bytes = encoded(codec, &numbers);
            assert!(bytes.len() <= DECODE_BYTES_MAX, "{codec:?} {count}");
            assert_eq!(codec.decode(&bytes), Ok(numbers), "{codec:?} {count}");
        }
    }
}

#[test]
fn what_is_longer_than_any_head_is_not_looked_at() {
    let long = vec![1; DECODE_BYTES_MAX + 1];
    for codec in BOTH {
        let too_long = Err(DecodeError::TooLong { bytes: long.len() });
        assert_eq!(codec.decode::<u8>(&long), too_long);
    }
}

/// A list that does not know its length, behind a number.
struct Endless;

impl Serialize for Endless {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        list.serialize_element(&1_u8)?;
        list.end()
    }
}

struct Unwilling;

impl Serialize for Unwilling {
    fn serialize<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("not today"))
    }
}

#[test]
fn what_does_not_encode_leaves_the_buffer_as_it_was() {
    for codec in BOTH {
        let mut out = b"before".to_vec();
        let endless = codec.encode(&(7_u64, Endless), &mut out);
        assert_eq!(endless, Err(EncodeError::LengthUnknown), "{codec:?}");
        assert_eq!(out, b"before", "{codec:?}");
        assert_eq!(codec.encode(&(7_u64, Unwilling), &mut out), Err(EncodeError::Refused));
        assert_eq!(out, b"before", "{codec:?}");
    }
}
