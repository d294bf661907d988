use super::*;
use proptest::prelude::*;

fn hello() -> Hello {
    Hello {
        versions: VersionRange { min: 1, max: 2 },
        capabilities: 3,
        incarnation: 4,
        instance: 5,
        generation: 6,
        live: 7,
        lanes: 8,
        head_bytes_max: 9,
        inline_body_bytes_max: 10,
        body_bytes_max: 11,
        cluster: "c".to_owned(),
        node: "n1".to_owned(),
    }
}

fn decode(bytes: &[u8]) -> Result<(HelloDecoder, &[u8]), WireError> {
    let (opening, fields) = bytes.split_first_chunk().ok_or(WireError::Truncated)?;
    HelloDecoder::open(*opening).map(|decoder| (decoder, fields))
}

fn decode_hello(bytes: &[u8]) -> Result<Hello, WireError> {
    decode(bytes).and_then(|(decoder, fields)| decoder.hello(fields))
}

fn decode_answer(bytes: &[u8]) -> Result<Result<Welcome, Rejection>, WireError> {
    decode(bytes).and_then(|(decoder, fields)| decoder.answer(fields))
}

#[test]
fn a_hello_has_these_bytes() {
    let mut expected = b"VDCT\x01\x3e\x00".to_vec();
    expected.extend([1, 0, 2, 0]);
    for number in 3_u64..=7 {
        expected.extend(number.to_le_bytes());
    }
    expected.push(8);
    for limit in 9_u32..=11 {
        expected.extend(limit.to_le_bytes());
    }
    expected.extend([1, b'c', 2, b'n', b'1']);
    assert_eq!(hello().encode(), expected);
    assert_eq!(decode_hello(&expected), Ok(hello()));
}

#[test]
fn every_answer_survives_the_wire() {
    let welcome = Welcome { version: 2, hello: hello() };
    assert_eq!(decode_answer(&welcome.encode()), Ok(Ok(welcome)));
    let range = VersionRange { min: 1, max: 1 };
    let limits =
        [LimitName::BodyBytes, LimitName::HeadBytes, LimitName::InlineBodyBytes, LimitName::Lanes];
    let mut rejections = vec![
        Rejection::Version { accepting: range, dialling: VersionRange { min: 9, max: 9 } },
        Rejection::Identity { said: "n1".to_owned(), certificate: "n2".to_owned() },
        Rejection::StaleIncarnation { dialling: 1, known: 2 },
        Rejection::IdentityConflict { incarnation: 3 },
        Rejection::StaleGeneration { dialling: 4, known: 5 },
        Rejection::Duplicate,
        Rejection::TooManyPeers { limit: 6 },
        Rejection::Closing,
    ];
    rejections.extend(limits.map(|limit| Rejection::Limit {
        limit,
        accepting: 1,
        dialling: u64::MAX,
    }));
    for rejection in rejections {
        assert_eq!(decode_answer(&rejection.encode()), Ok(Err(rejection)));
    }
}

#[test]
fn what_is_no_handshake_is_refused_by_its_own_name() {
    let good = hello().encode();
    assert_eq!(decode_hello(b"GET / HTTP"), Err(WireError::Magic));
    assert_eq!(decode_hello(&good[..good.len() - 1]), Err(WireError::Truncated));
    let mut longer = good.clone();
    longer.push(0);
    assert_eq!(decode_hello(&longer), Err(WireError::Trailing { bytes: 1 }));
    assert_eq!(
        decode_hello(&Rejection::Closing.encode()),
        Err(WireError::UnknownHandshake { kind: 3 })
    );
    assert_eq!(decode_answer(&good), Err(WireError::UnknownHandshake { kind: 1 }));
    assert_eq!(decode_hello(b"VDCT\x01\xff\xff"), Err(WireError::TooLong { bytes: 65535 }));
    assert_eq!(
        decode_answer(b"VDCT\x03\x01\x00\x63"),
        Err(WireError::UnknownRejection { code: 99 })
    );
}

#[test]
fn the_newest_common_version_is_chosen() {
    let range = |min, max| VersionRange { min, max };
    assert_eq!(range(1, 3).common(range(2, 5)), Some(3));
    assert_eq!(range(1, 1).common(range(1, 1)), Some(1));
    assert_eq!(range(1, 2).common(range(3, 4)), None);
    assert_eq!(range(3, 4).common(range(1, 2)), None);
}

proptest! {
    #[test]
    fn any_bytes_end_in_a_message_or_an_error(
        kind in 0_u8..5,
        fields in prop::collection::vec(any::<u8>(), 0..HANDSHAKE_BYTES_MAX),
    ) {
        let bytes = framed(kind, &fields);
        if let Ok(decoded) = decode_hello(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        } else if let Ok(Ok(decoded)) = decode_answer(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }
}
