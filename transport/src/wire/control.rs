//! Frames on the control stream, after the handshake.
//!
//! | kind | name | fields |
//! |---|---|---|
//! | 1 | start | none: the dialling side has adopted this connection |
//! | 2 | delivered | lane `u8`, through `u64`: every message up to this number was handed over |

use super::WireError;

/// Bytes of the longest control frame.
pub(crate) const CONTROL_BYTES_MAX: usize = 10;

const KIND_START: u8 = 1;
const KIND_DELIVERED: u8 = 2;

/// One control frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    Start,
    Delivered { lane: u8, through: u64 },
}

impl Control {
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::Start => out.push(KIND_START),
            Self::Delivered { lane, through } => {
                out.extend_from_slice(&[KIND_DELIVERED, lane]);
                out.extend_from_slice(&through.to_le_bytes());
            }
        }
    }

    /// Takes one frame off the front of `bytes`: the frame and its length, or `None` when more
    /// bytes are needed.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, WireError> {
        match bytes {
            [] => Ok(None),
            [KIND_START, ..] => Ok(Some((Self::Start, 1))),
            [KIND_DELIVERED, lane, rest @ ..] => Ok(rest.first_chunk().map(|through| {
                let through = u64::from_le_bytes(*through);
                (Self::Delivered { lane: *lane, through }, CONTROL_BYTES_MAX)
            })),
            [KIND_DELIVERED] => Ok(None),
            [kind, ..] => Err(WireError::UnknownControl { kind: *kind }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_frames_have_these_bytes() {
        let mut bytes = Vec::new();
        Control::Start.encode(&mut bytes);
        Control::Delivered { lane: 2, through: 0x0304 }.encode(&mut bytes);
        assert_eq!(bytes, [1, 2, 2, 4, 3, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Control::decode(&bytes), Ok(Some((Control::Start, 1))));
        let delivered = Control::Delivered { lane: 2, through: 0x0304 };
        assert_eq!(Control::decode(&bytes[1..]), Ok(Some((delivered, 10))));
    }

    #[test]
    fn a_cut_frame_waits_and_an_unknown_one_is_refused() {
        for cut in 0..CONTROL_BYTES_MAX {
            assert_eq!(Control::decode(&[2, 1, 9, 0, 0, 0, 0, 0, 0, 0][..cut]), Ok(None));
        }
        assert_eq!(Control::decode(&[200, 1]), Err(WireError::UnknownControl { kind: 200 }));
    }
}
