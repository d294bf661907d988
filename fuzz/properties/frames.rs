//! What holds of a lane's bytes whatever they are. Shared by the fuzz target and by the seeded run
//! in `tests/tests/transport/limits.rs`.

use bytes::Bytes;
use vioduct_transport::wire::{FrameDecoder, FrameError, FrameLimits, Incoming};

/// Small, so that few bytes reach every limit.
pub(crate) const LIMITS: FrameLimits =
    FrameLimits { head_bytes_max: 64, inline_body_bytes_max: 256, body_bytes_max: 1024 };

/// Decodes `bytes` cut at `pieces` (lengths, used in turn) and in one: no panic, no message past a
/// limit, the same messages and the same error, and the messages encode to the bytes they came
/// from. Gives the number of messages.
pub(crate) fn check(pieces: &[u8], bytes: &[u8]) -> usize {
    let whole = decode(&[bytes.len()], bytes);
    let sizes: Vec<usize> = pieces.iter().map(|piece| usize::from(*piece)).collect();
    let cut = decode(&sizes, bytes);
    assert_eq!(whole, cut, "where a lane is cut changes what it says");

    let mut encoded = Vec::new();
    for message in &whole.messages {
        encode(message, &mut encoded);
    }
    assert_eq!(bytes.get(..encoded.len()), Some(&encoded[..]), "messages made of other bytes");
    let is_used_up = encoded.len() == bytes.len();
    assert_eq!(whole.is_mid_message, !is_used_up, "the rest is neither a message's nor none");
    assert!(whole.error.is_none() || !is_used_up, "an error without bytes to blame");
    whole.messages.len()
}

/// What a lane's bytes came to.
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    messages: Vec<Incoming>,
    error: Option<FrameError>,
    is_mid_message: bool,
}

fn decode(sizes: &[usize], bytes: &[u8]) -> Decoded {
    let mut decoder = FrameDecoder::new(LIMITS);
    let mut messages = Vec::new();
    let mut error = None;
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut sizes = sizes.iter().copied().cycle();
    while !rest.is_empty() && error.is_none() {
        let size = sizes.next().unwrap_or(rest.len()).clamp(1, rest.len());
        decoder.push(rest.split_to(size));
        loop {
            match decoder.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(refused) => {
                    error = Some(refused);
                    break;
                }
            }
        }
    }
    Decoded { messages, error, is_mid_message: decoder.is_mid_message() }
}

/// Writes a message as `docs/wire.md` says, independently of the crate's own encoder.
fn encode(message: &Incoming, out: &mut Vec<u8>) {
    let (kind, flow, head, body, body_bytes) = match message {
        Incoming::Inline { flow, head, body } => (1, flow, head, &body[..], body.len()),
        Incoming::Detached { flow, head, body_bytes } => {
            (2, flow, head, &[][..], *body_bytes as usize)
        }
    };
    let body_limit = if kind == 1 { LIMITS.inline_body_bytes_max } else { LIMITS.body_bytes_max };
    assert!(head.len() <= LIMITS.head_bytes_max as usize, "a head past its limit");
    assert!(body_bytes <= body_limit as usize, "a body past its limit");
    out.push(kind);
    out.extend_from_slice(&flow.to_le_bytes());
    for length in [head.len(), body_bytes] {
        let length = u32::try_from(length).expect("checked against a limit");
        out.extend_from_slice(&length.to_le_bytes());
    }
    out.extend_from_slice(head);
    out.extend_from_slice(body);
}
