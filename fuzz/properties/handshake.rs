//! What holds of a handshake message whatever its bytes are. Shared by the fuzz target and by the
//! seeded run in `tests/tests/transport/limits.rs`.

use vioduct_transport::wire::HelloDecoder;

/// Longest fields that an opening may announce, bytes.
const FIELDS_BYTES_MAX: usize = 1024;

/// Decodes `bytes` as both sides would: no panic, and what is accepted encodes to the same bytes.
/// Says whether either side accepted.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let Some((opening, rest)) = bytes.split_first_chunk::<7>() else { return false };
    let Ok(decoder) = HelloDecoder::open(*opening) else { return false };
    let [.., low, high] = *opening;
    let announced = usize::from(u16::from_le_bytes([low, high]));
    assert!(announced <= FIELDS_BYTES_MAX, "an opening past the limit was let through");
    // A reader waits until it has as many bytes as were announced, and takes no more.
    let Some(fields) = rest.get(..announced) else { return false };
    let hello = decoder.hello(fields);
    let answer = decoder.answer(fields);
    assert!(hello.is_err() || answer.is_err(), "one message has two meanings");
    let encoded = match (hello, answer) {
        (Ok(hello), _) => hello.encode(),
        (_, Ok(Ok(welcome))) => welcome.encode(),
        (_, Ok(Err(rejection))) => rejection.encode(),
        (Err(_), Err(_)) => return false,
    };
    assert_eq!(encoded, [opening, fields].concat(), "what was accepted encodes to other bytes");
    true
}
