//! The frames of the bare peers.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | length of the payload, little endian, at most [`PAYLOAD_BYTES_MAX`] |
//! | 4 | 1 | kind |
//! | 5 | 8 | id of the ask, little endian; 0 for a tell |
//! | 13 | length | payload |

use anyhow::{Result, bail};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The largest payload a frame may carry, in bytes.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

const HEAD_BYTES: usize = 4 + 1 + 8;

/// What a frame is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Wants a [`Kind::Reply`] with the same payload.
    Ask,
    /// Answers an ask or a tally.
    Reply,
    /// Wants the number of tells received so far, as a little-endian `u64`.
    Tally,
    /// Wants nothing.
    Tell,
}

/// One message on the stream.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Frame {
    /// What it is for.
    pub(crate) kind: Kind,
    /// The ask it belongs to.
    pub(crate) id: u64,
    /// What it carries.
    pub(crate) payload: Bytes,
}

impl Frame {
    /// Appends the frame's bytes.
    pub(crate) fn encode(&self, out: &mut BytesMut) -> Result<()> {
        encode(self.kind, self.id, &self.payload, out)
    }

    /// Takes the next whole frame, or `None` until more bytes have arrived. The payload is not
    /// copied.
    pub(crate) fn decode(input: &mut BytesMut) -> Result<Option<Self>> {
        let Some(Head { kind, id, len }) = Head::peek(input)? else {
            return Ok(None);
        };
        input.advance(HEAD_BYTES);
        Ok(Some(Self { kind, id, payload: input.split_to(len).freeze() }))
    }
}

/// Appends the bytes of a frame whose payload is borrowed.
pub(crate) fn encode(kind: Kind, id: u64, payload: &[u8], out: &mut BytesMut) -> Result<()> {
    let len = payload.len();
    anyhow::ensure!(len <= PAYLOAD_BYTES_MAX, "payload of {len} bytes, limit {PAYLOAD_BYTES_MAX}");
    out.reserve(HEAD_BYTES + len);
    out.put_u32_le(u32::try_from(len)?);
    out.put_u8(match kind {
        Kind::Ask => 0,
        Kind::Reply => 1,
        Kind::Tally => 2,
        Kind::Tell => 3,
    });
    out.put_u64_le(id);
    out.put_slice(payload);
    Ok(())
}

/// Drops the next whole frame and returns its kind and id, or `None` until more bytes have arrived.
pub(crate) fn skip(input: &mut BytesMut) -> Result<Option<(Kind, u64)>> {
    let Some(Head { kind, id, len }) = Head::peek(input)? else {
        return Ok(None);
    };
    input.advance(HEAD_BYTES + len);
    Ok(Some((kind, id)))
}

/// The head of a frame that has arrived whole.
#[derive(Debug)]
struct Head {
    kind: Kind,
    id: u64,
    len: usize,
}

impl Head {
    fn peek(mut input: &[u8]) -> Result<Option<Self>> {
        if input.len() < HEAD_BYTES {
            return Ok(None);
        }
        let len = usize::try_from(input.get_u32_le())?;
        anyhow::ensure!(
            len <= PAYLOAD_BYTES_MAX,
            "payload of {len} bytes, limit {PAYLOAD_BYTES_MAX}"
        );
        let kind = match input.get_u8() {
            0 => Kind::Ask,
            1 => Kind::Reply,
            2 => Kind::Tally,
            3 => Kind::Tell,
            unknown => bail!("frame of unknown kind {unknown}"),
        };
        let id = input.get_u64_le();
        Ok((input.len() >= len).then_some(Self { kind, id, len }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_arriving_byte_by_byte() {
        let mut bytes = BytesMut::new();
        let sent =
            [(Kind::Ask, 7, "seven"), (Kind::Tell, 0, ""), (Kind::Reply, u64::MAX, "last")].map(
                |(kind, id, text)| Frame { kind, id, payload: Bytes::from_static(text.as_bytes()) },
            );
        for frame in &sent {
            frame.encode(&mut bytes).unwrap();
        }
        let (mut input, mut received) = (BytesMut::new(), Vec::new());
        for byte in bytes {
            input.put_u8(byte);
            received.extend(Frame::decode(&mut input).unwrap());
        }
        assert_eq!(received, sent);
    }

    #[test]
    fn a_skipped_frame_takes_its_payload_with_it() {
        let mut input = BytesMut::new();
        encode(Kind::Tell, 0, b"skipped", &mut input).unwrap();
        encode(Kind::Tally, 9, b"", &mut input).unwrap();
        assert_eq!(skip(&mut input).unwrap(), Some((Kind::Tell, 0)));
        assert_eq!(skip(&mut input).unwrap(), Some((Kind::Tally, 9)));
        assert_eq!(skip(&mut input).unwrap(), None);
    }

    #[test]
    fn a_length_past_the_limit_is_refused_before_its_bytes_arrive() {
        let mut input = BytesMut::new();
        input.put_u32_le(u32::try_from(PAYLOAD_BYTES_MAX + 1).unwrap());
        input.put_bytes(0, 9);
        assert!(Frame::decode(&mut input).is_err());
    }
}
