//! What the derive macros make of types, as a user sees it.

use std::time::Duration;

use actix::Message;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vioduct_runtime::message::{MessageKey, MessageType, StrayBody};
use vioduct_runtime::schema::Fingerprint;
use vioduct_runtime::{Codec, RemoteMessage, Wire};

/// Stores a block.
#[derive(Debug, PartialEq, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Result<Stored, Refusal>")]
#[remote(name = "store.Put", version = 2)]
struct Put {
    block: u64,
    options: Options,
    #[serde(skip)]
    #[remote(body)]
    data: Bytes,
}

#[derive(Debug, PartialEq, Wire, Serialize, Deserialize)]
struct Options(Option<Duration>, r#Flush);

#[derive(Debug, PartialEq, Wire, Serialize, Deserialize)]
enum Flush {
    Never,
    After { blocks: u32, bytes: [u64; 2] },
    Now(bool),
}

#[derive(Debug, PartialEq, Wire, Serialize, Deserialize)]
struct Stored;

#[derive(Debug, PartialEq, Wire, Serialize, Deserialize)]
enum Refusal {
    Full,
}

/// Reads a block.
#[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Result<Option<Data>, Refusal>")]
#[remote(name = "store.Get")]
struct Get {
    block: u64,
}

#[derive(Debug, Default, PartialEq, Wire, Serialize, Deserialize)]
struct Data {
    #[serde(skip)]
    #[remote(body)]
    bytes: Bytes,
}

fn put() -> Put {
    let flush = Flush::After { blocks: 5, bytes: [1, 300] };
    Put {
        block: 9,
        options: Options(Some(Duration::from_millis(1500)), flush),
        data: Bytes::from_static(b"data"),
    }
}

/// A changed byte or number needs a new version of the message.
#[test]
fn a_message_is_these_bytes_under_this_fingerprint() {
    let (bincode, postcard) = (
        &[9, 1, 1, 252, 0x00, 0x65, 0xcd, 0x1d, 1, 5, 1, 251, 0x2c, 1][..],
        &[9, 1, 1, 0x80, 0xca, 0xb5, 0xee, 1, 1, 5, 1, 0xac, 2][..],
    );
    for (codec, golden) in [(Codec::Bincode, bincode), (Codec::Postcard, postcard)] {
        let mut out = Vec::new();
        codec.encode(&put(), &mut out).unwrap();
        assert_eq!(out, golden, "{codec:?}");
        let mut read: Put = codec.decode(golden).unwrap();
        assert_eq!(read.data, Bytes::new(), "the body is not in the encoding");
        assert_eq!(read.put_body(put().data), Ok(()));
        assert_eq!(read, put());
    }
    let expected = MessageType {
        name: "store.Put",
        version: 2,
        key: MessageKey(0xca53_afe7_ae0a_bac4),
        fingerprint: Fingerprint(0x48ed_677c_b423_d58d),
    };
    assert_eq!(MessageType::of::<Put>(), expected);
    let get = MessageType::of::<Get>();
    assert_eq!((get.name, get.version), ("store.Get", 1));
    assert_eq!(get.key, MessageKey(0x7577_0736_e109_0f1e));
    assert_eq!(get.fingerprint, Fingerprint(0xe411_8994_31fb_7c59));
}

#[test]
fn the_body_of_an_answer_is_handed_on_without_being_copied() {
    let bytes = Bytes::from(b"answer".to_vec());
    let answer: Result<Option<Data>, Refusal> = Ok(Some(Data { bytes: bytes.clone() }));
    assert_eq!(answer.body().as_ptr(), bytes.as_ptr());
    let mut read: Result<Option<Data>, Refusal> = Ok(Some(Data::default()));
    assert_eq!(read.put_body(bytes.clone()), Ok(()));
    assert_eq!(read, answer);
    assert_eq!(Box::new(Data { bytes: bytes.clone() }).body().as_ptr(), bytes.as_ptr());
    let mut boxed = Box::new(Data::default());
    assert_eq!(boxed.put_body(bytes.clone()), Ok(()));
    assert_eq!(boxed.bytes.as_ptr(), bytes.as_ptr());
}

#[test]
fn an_answer_without_a_place_for_a_body_refuses_one() {
    let bytes = Bytes::from_static(b"answer");
    let mut refused: Result<Option<Data>, Refusal> = Err(Refusal::Full);
    assert_eq!(refused.body(), Bytes::new());
    assert_eq!(refused.put_body(bytes.clone()), Err(StrayBody));
    let mut nothing: Result<Option<Data>, Refusal> = Ok(None);
    assert_eq!(nothing.put_body(bytes.clone()), Err(StrayBody));
    assert_eq!(Stored.put_body(bytes), Err(StrayBody));
}

/// Two builds of one message: what the second changes.
macro_rules! builds {
    ($($build:ident: $result:literal { $($types:tt)* })+) => {
        $(mod $build {
            use super::*;

            $($types)*

            pub(super) fn fingerprint() -> Fingerprint {
                MessageType::of::<Sent>().fingerprint
            }
        })+
    };
}

builds! {
    base: "u64" {
        #[derive(Message, RemoteMessage, Serialize, Deserialize)]
        #[rtype(result = "u64")]
        #[remote(name = "skew.Sent")]
        struct Sent { id: u64, part: Part }
        #[derive(Wire, Serialize, Deserialize)]
        enum Part { One, Two(u8) }
    }
    same_with_documentation: "u64" {
        /// Is sent.
        #[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
        #[rtype(result = "u64")]
        #[remote(name = "skew.Sent", version = 1)]
        pub(super) struct Sent {
            /// Which.
            pub(super) id: u64,
            pub(super) part: Box<Part>,
        }
        /// A part.
        #[derive(Debug, Wire, Serialize, Deserialize)]
        pub(super) enum Part {
            One,
            Two(u8),
        }
    }
    field_renamed: "u64" {
        #[derive(Message, RemoteMessage, Serialize, Deserialize)]
        #[rtype(result = "u64")]
        #[remote(name = "skew.Sent")]
        struct Sent { number: u64, part: Part }
        #[derive(Wire, Serialize, Deserialize)]
        enum Part { One, Two(u8) }
    }
    fields_swapped: "u64" {
        #[derive(Message, RemoteMessage, Serialize, Deserialize)]
        #[rtype(result = "u64")]
        #[remote(name = "skew.Sent")]
        struct Sent { part: Part, id: u64 }
        #[derive(Wire, Serialize, Deserialize)]
        enum Part { One, Two(u8) }
    }
    field_of_another_type: "u64" {
        #[derive(Message, RemoteMessage, Serialize, Deserialize)]
        #[rtype(result = "u64")]
        #[remote(name = "skew.Sent")]
        struct Sent { id: i64, part: Part }
        #[derive(Wire, Serialize, Deserialize)]
        enum Part { One, Two(u8) }
    }
    variant_added: "u64" {
        #[derive(Message, RemoteMessage, Serialize, Deserialize)]
        #[rtype(result = "u64")]
        #[remote(name = "skew.Sent")]
        struct Sent { id: u64, part: Part }
        #[derive(Wire, Serialize, Deserialize)]
        enum Part { One, Two(u8), Three }
    }
    variant_of_another_type: "u64" {
        #[derive(Message, RemoteMessage, Serialize, Deserialize)]
        #[rtype(result = "u64")]
        #[remote(name = "skew.Sent")]
        struct Sent { id: u64, part: Part }
        #[derive(Wire, Serialize, Deserialize)]
        enum Part { One, Two(u16) }
    }
    another_result: "u32" {
        #[derive(Message, RemoteMessage, Serialize, Deserialize)]
        #[rtype(result = "u32")]
        #[remote(name = "skew.Sent")]
        struct Sent { id: u64, part: Part }
        #[derive(Wire, Serialize, Deserialize)]
        enum Part { One, Two(u8) }
    }
    with_a_body: "u64" {
        #[derive(Message, RemoteMessage, Serialize, Deserialize)]
        #[rtype(result = "u64")]
        #[remote(name = "skew.Sent")]
        struct Sent { id: u64, part: Part, #[serde(skip)] #[remote(body)] data: Bytes }
        #[derive(Wire, Serialize, Deserialize)]
        enum Part { One, Two(u8) }
    }
}

#[test]
fn builds_that_differ_have_fingerprints_of_their_own() {
    let builds = [
        ("base", base::fingerprint()),
        ("field_renamed", field_renamed::fingerprint()),
        ("fields_swapped", fields_swapped::fingerprint()),
        ("field_of_another_type", field_of_another_type::fingerprint()),
        ("variant_added", variant_added::fingerprint()),
        ("variant_of_another_type", variant_of_another_type::fingerprint()),
        ("another_result", another_result::fingerprint()),
        ("with_a_body", with_a_body::fingerprint()),
    ];
    for (at, (one, of_one)) in builds.iter().enumerate() {
        for (other, of_other) in &builds[at + 1..] {
            assert_ne!(of_one, of_other, "{one} and {other}");
        }
    }
    assert_eq!(base::fingerprint(), same_with_documentation::fingerprint());
}
