//! What stands before a message on the wire.
//!
//! A head of the link below carries one envelope. `id` takes eight bytes, `left` four, least
//! significant first; `request` sixteen, most significant first; `codec` and `status` one. All
//! other integers are LEB128, least significant group first, in their shortest form or not: both
//! are read.
//!
//! | kind | byte 0 | then |
//! |---|---|---|
//! | tell | 1 | codec, target, message, epoch, payload |
//! | ask | 2 | codec, id, left, target, message, epoch, payload |
//! | of a request | 129, 130 | as the tell or the ask, with request before target |
//! | answer | 3 | codec, id, status, payload |
//! | cancel | 4 | id, target |
//! | control | 5 | a [`Control`](crate::peer::control::Control) in postcard |
//! | notice | 6 | a [`Notice`](crate::peer::control::Notice) in postcard |
//!
//! `target` is the serial of an actor, `message` its index in what that actor exports, `epoch` the
//! credit that pays for it, `id` the asker's number of the ask, `left` the milliseconds to its
//! deadline. `request` is the [`RequestId`] that a tell or an ask belongs to, and never zero.

use bytes::{Buf, Bytes};

use crate::codec::Codec;
use crate::trace::RequestId;

const TELL: u8 = 1;
const ASK: u8 = 2;
const ANSWER: u8 = 3;
const CANCEL: u8 = 4;
const CONTROL: u8 = 5;
const NOTICE: u8 = 6;
/// Added to the kind of a message that belongs to a request.
const REQUEST: u8 = 0x80;
/// Where the id of an ask begins.
const ID_AT: usize = 2;

/// How an ask ended, in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// The payload is the result.
    Done = 0,
    /// Dropped by the actor: it may have been acted on.
    Dropped = 1,
    /// The actor ended before it saw the message.
    Gone = 2,
    /// The deadline passed before the actor saw it.
    Late = 3,
    /// The payload of the ask could not be read.
    Unreadable = 4,
    /// The peer may not send this message.
    Refused = 5,
    /// Past the credit.
    Overrun = 6,
    /// The result could not be sent.
    AnswerLost = 7,
}

impl Status {
    fn of(byte: u8) -> Option<Self> {
        let all = [
            Self::Done,
            Self::Dropped,
            Self::Gone,
            Self::Late,
            Self::Unreadable,
            Self::Refused,
            Self::Overrun,
            Self::AnswerLost,
        ];
        all.into_iter().find(|status| *status as u8 == byte)
    }
}

/// An envelope that was read. What is left of the head is the payload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Envelope {
    Message {
        codec: Codec,
        target: u64,
        message: u8,
        epoch: u32,
        request: Option<RequestId>,
        /// Number and remaining milliseconds of an ask; none for a tell.
        ask: Option<(u64, u32)>,
        payload: Bytes,
    },
    Answer {
        codec: Codec,
        id: u64,
        status: Status,
        payload: Bytes,
    },
    Cancel {
        target: u64,
        id: u64,
    },
    Control {
        payload: Bytes,
    },
    Notice {
        payload: Bytes,
    },
}

/// Bytes that are no envelope. Fault: the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an envelope of this version")]
pub(crate) struct EnvelopeError;

impl Envelope {
    pub(crate) fn decode(head: Bytes) -> Result<Self, EnvelopeError> {
        let mut rest: &[u8] = &head;
        match byte(&mut rest)? {
            kind if matches!(kind & !REQUEST, TELL | ASK) => {
                let codec = codec(&mut rest)?;
                let ask = match kind & !REQUEST {
                    ASK => Some((id(&mut rest)?, u32::from_le_bytes(chunk(&mut rest)?))),
                    _tell => None,
                };
                let request = match kind & REQUEST {
                    REQUEST => Some(request(&mut rest)?),
                    _none => None,
                };
                let target = varint(&mut rest)?;
                let message = u8::try_from(varint(&mut rest)?).map_err(|_large| EnvelopeError)?;
                let epoch = u32::try_from(varint(&mut rest)?).map_err(|_large| EnvelopeError)?;
                let payload = last(rest.len(), head);
                Ok(Self::Message { codec, target, message, epoch, request, ask, payload })
            }
            ANSWER => {
                let (codec, id) = (codec(&mut rest)?, id(&mut rest)?);
                let status = Status::of(byte(&mut rest)?).ok_or(EnvelopeError)?;
                Ok(Self::Answer { codec, id, status, payload: last(rest.len(), head) })
            }
            CANCEL => {
                let (id, target) = (id(&mut rest)?, varint(&mut rest)?);
                if rest.is_empty() { Ok(Self::Cancel { target, id }) } else { Err(EnvelopeError) }
            }
            CONTROL => Ok(Self::Control { payload: last(rest.len(), head) }),
            NOTICE => Ok(Self::Notice { payload: last(rest.len(), head) }),
            _unknown => Err(EnvelopeError),
        }
    }
}

/// The last bytes of a head, so many.
fn last(bytes: usize, mut head: Bytes) -> Bytes {
    head.advance(head.len() - bytes);
    head
}

/// Where a message goes, and what pays for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address {
    pub(crate) codec: Codec,
    pub(crate) target: u64,
    pub(crate) message: u8,
    pub(crate) epoch: u32,
    /// The request that it belongs to.
    pub(crate) request: Option<RequestId>,
}

/// What a message is sent as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SentAs {
    Tell,
    /// [`set_ask`] says which one.
    Ask,
}

pub(crate) fn put_message(out: &mut Vec<u8>, to: Address, sent_as: SentAs) {
    let Address { codec, target, message, epoch, request } = to;
    let kind = match sent_as {
        SentAs::Tell => TELL,
        SentAs::Ask => ASK,
    };
    let of_request = if request.is_some() { REQUEST } else { 0 };
    out.extend_from_slice(&[kind | of_request, codec as u8]);
    if sent_as == SentAs::Ask {
        out.extend_from_slice(&[0; size_of::<u64>() + size_of::<u32>()]);
    }
    if let Some(request) = request {
        out.extend_from_slice(&request.get().to_be_bytes());
    }
    put_varint(out, target);
    put_varint(out, message.into());
    put_varint(out, epoch.into());
}

/// Says which ask a head is of, and how much time is left to it.
pub(crate) fn set_ask(head: &mut [u8], id: u64, left_ms: u32) {
    let fields = head.get_mut(ID_AT..).and_then(<[u8]>::split_first_chunk_mut);
    let Some((id_field, rest)) = fields else { return };
    *id_field = id.to_le_bytes();
    if let Some(left_field) = rest.first_chunk_mut() {
        *left_field = left_ms.to_le_bytes();
    }
}

pub(crate) fn put_answer(out: &mut Vec<u8>, codec: Codec, id: u64, status: Status) {
    out.extend_from_slice(&[ANSWER, codec as u8]);
    out.extend_from_slice(&id.to_le_bytes());
    out.push(status as u8);
}

pub(crate) fn put_cancel(out: &mut Vec<u8>, target: u64, id: u64) {
    out.push(CANCEL);
    out.extend_from_slice(&id.to_le_bytes());
    put_varint(out, target);
}

pub(crate) fn put_control(out: &mut Vec<u8>) {
    out.push(CONTROL);
}

pub(crate) fn put_notice(out: &mut Vec<u8>) {
    out.push(NOTICE);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

fn byte(rest: &mut &[u8]) -> Result<u8, EnvelopeError> {
    let (first, left) = rest.split_first().ok_or(EnvelopeError)?;
    *rest = left;
    Ok(*first)
}

fn codec(rest: &mut &[u8]) -> Result<Codec, EnvelopeError> {
    Codec::try_from(byte(rest)?).map_err(|_unknown| EnvelopeError)
}

fn chunk<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], EnvelopeError> {
    let (first, left) = rest.split_first_chunk().ok_or(EnvelopeError)?;
    *rest = left;
    Ok(*first)
}

fn id(rest: &mut &[u8]) -> Result<u64, EnvelopeError> {
    Ok(u64::from_le_bytes(chunk(rest)?))
}

fn request(rest: &mut &[u8]) -> Result<RequestId, EnvelopeError> {
    RequestId::new(u128::from_be_bytes(chunk(rest)?)).ok_or(EnvelopeError)
}

fn varint(rest: &mut &[u8]) -> Result<u64, EnvelopeError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let group = byte(rest)?;
        let bits = u64::from(group & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(EnvelopeError);
        }
        value |= bits << shift;
        if group < 0x80 {
            return Ok(value);
        }
    }
    Err(EnvelopeError)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(to: Address, ask: Option<(u64, u32)>) -> Vec<u8> {
        let mut out = Vec::new();
        put_message(&mut out, to, if ask.is_some() { SentAs::Ask } else { SentAs::Tell });
        if let Some((id, left_ms)) = ask {
            set_ask(&mut out, id, left_ms);
        }
        out
    }

    fn read_back(to: Address, ask: Option<(u64, u32)>) -> Envelope {
        let mut out = written(to, ask);
        out.extend_from_slice(b"payload");
        Envelope::decode(out.into()).unwrap()
    }

    #[test]
    fn an_ask_is_these_bytes() {
        let (codec, request) = (Codec::Bincode, None);
        let to = Address { codec, target: 300, message: 2, epoch: 1, request };
        let out = written(to, Some((0x0102_0304_0506_0708, 1000)));
        assert_eq!(out, [2, 1, 8, 7, 6, 5, 4, 3, 2, 1, 0xe8, 3, 0, 0, 0xac, 2, 2, 1]);
    }

    #[test]
    fn a_message_of_a_request_is_these_bytes() {
        let request = RequestId::new(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
        let to = Address { codec: Codec::Postcard, target: 3, message: 2, epoch: 1, request };
        let id = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        let asked = [5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
        for (kind, ask, first) in [(0x81, None, &[][..]), (0x82, Some((5, 1)), &asked)] {
            let out = written(to, ask);
            assert_eq!(out, [&[kind, 2][..], first, &id, &[3, 2, 1]].concat());
        }
    }

    #[test]
    fn what_is_cut_short_or_unknown_is_refused() {
        let plain = [&[2, 1][..], &[7; 12], &[0xac, 2, 2, 1]].concat();
        let of_request = [&[0x81, 1][..], &[7; 16], &[1, 1, 1]].concat();
        for whole in [plain, of_request] {
            for end in 0..whole.len() {
                let cut = Envelope::decode(Bytes::copy_from_slice(&whole[..end]));
                assert_eq!(cut, Err(EnvelopeError), "{end} bytes");
            }
        }
        let request_zero = [&[0x81, 1][..], &[0; 16], &[1, 1, 1]].concat();
        let answer_of_request = [&[0x83, 1][..], &[7; 24], &[0]].concat();
        let answer_of_no_status = [&[3, 1][..], &[7; 8], &[99]].concat();
        let cancel_and_more = [&[4][..], &[7; 8], &[1, 0]].concat();
        for bad in [
            &[9][..],
            &[1, 77, 1, 1, 1],
            &answer_of_no_status,
            &cancel_and_more,
            &[1, 1, 1, 0x80, 4, 1],
            &[0x80],
            &request_zero,
            &answer_of_request,
        ] {
            assert_eq!(
                Envelope::decode(Bytes::copy_from_slice(bad)),
                Err(EnvelopeError),
                "{bad:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn messages_survive(
            at: (u64, u8, u32),
            request: u128,
            ask: Option<(u64, u32)>,
        ) {
            let (target, message, epoch) = at;
            for (codec, request) in
                [(Codec::Bincode, None), (Codec::Postcard, RequestId::new(request))]
            {
                let payload = Bytes::from_static(b"payload");
                let expected =
                    Envelope::Message { codec, target, message, epoch, request, ask, payload };
                let to = Address { codec, target, message, epoch, request };
                prop_assert_eq!(read_back(to, ask), expected);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            drop(Envelope::decode(bytes.into()));
        }
    }
}
