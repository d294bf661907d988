//! The head of a service message as bytes.

/// Length of every head.
const HEAD_BYTES: usize = 9;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Asks for the body back.
    EchoRequest,
    /// The body back.
    EchoReply,
    /// Asks how the node is.
    StatusRequest,
    /// How the node is, in JSON.
    StatusReply,
    /// Counted and dropped.
    Sink,
    /// Asks how many [`Kind::Sink`] messages came from the asker.
    SinkQuery,
    /// How many came.
    SinkReply,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::EchoRequest,
        Self::EchoReply,
        Self::StatusRequest,
        Self::StatusReply,
        Self::Sink,
        Self::SinkQuery,
        Self::SinkReply,
    ];

    /// The kind's byte on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::EchoRequest => 1,
            Self::EchoReply => 2,
            Self::StatusRequest => 3,
            Self::StatusReply => 4,
            Self::Sink => 5,
            Self::SinkQuery => 6,
            Self::SinkReply => 7,
        }
    }
}

/// A question that a node answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Request {
    /// The same body back.
    Echo,
    /// How the node is.
    Status,
    /// How many sink messages came from the asker.
    SinkQuery,
}

impl Request {
    /// The kind of the question.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Echo => Kind::EchoRequest,
            Self::Status => Kind::StatusRequest,
            Self::SinkQuery => Kind::SinkQuery,
        }
    }

    /// The kind of its answer.
    pub const fn reply(self) -> Kind {
        match self {
            Self::Echo => Kind::EchoReply,
            Self::Status => Kind::StatusReply,
            Self::SinkQuery => Kind::SinkReply,
        }
    }
}

/// Why bytes are no head, or no body of its kind. Fault: the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not the length of a head.
    #[error("head of {bytes} bytes, needed are {HEAD_BYTES}")]
    Length {
        /// The length.
        bytes: usize,
    },
    /// A kind that this version does not know.
    #[error("unknown message kind {code}")]
    UnknownKind {
        /// The byte received.
        code: u8,
    },
    /// A sink reply's body is not two numbers.
    #[error("sink count of {bytes} bytes, needed are 16")]
    CountLength {
        /// The length.
        bytes: usize,
    },
}

/// A decoded head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What the message is.
    pub kind: Kind,
    /// The id of a question and of its answer; of a sink message its sequence number.
    pub number: u64,
}

impl Head {
    /// The head as bytes.
    pub const fn encode(self) -> [u8; HEAD_BYTES] {
        let [a, b, c, d, e, f, g, h] = self.number.to_le_bytes();
        [self.kind.code(), a, b, c, d, e, f, g, h]
    }

    /// Reads [`Head::encode`] back.
    ///
    /// # Errors
    /// Any other length, and kinds that are not known.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeadError> {
        let &[code, a, b, c, d, e, f, g, h] = bytes else {
            return Err(HeadError::Length { bytes: bytes.len() });
        };
        let kind = Kind::ALL.into_iter().find(|kind| kind.code() == code);
        let kind = kind.ok_or(HeadError::UnknownKind { code })?;
        Ok(Self { kind, number: u64::from_le_bytes([a, b, c, d, e, f, g, h]) })
    }
}

/// What became of a peer's sink messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SinkCount {
    /// How many came from this peer since the node started.
    pub received: u64,
    /// Those among them whose sequence number was not above the last one of the same flow. Numbers
    /// begin at 1, and 1 begins anew.
    pub out_of_order: u64,
}

impl SinkCount {
    /// The body of a sink reply.
    pub fn encode(self) -> [u8; 16] {
        let numbers = u128::from(self.received) | (u128::from(self.out_of_order) << 64);
        numbers.to_le_bytes()
    }

    /// Reads [`SinkCount::encode`] back.
    ///
    /// # Errors
    /// [`HeadError::CountLength`].
    pub fn decode(bytes: &[u8]) -> Result<Self, HeadError> {
        let length = HeadError::CountLength { bytes: bytes.len() };
        let (received, rest) = bytes.split_first_chunk().ok_or(length)?;
        let out_of_order: &[u8; 8] = rest.try_into().map_err(|_length| length)?;
        Ok(Self {
            received: u64::from_le_bytes(*received),
            out_of_order: u64::from_le_bytes(*out_of_order),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_these_bytes() {
        let golden: [(Kind, u8); 7] = [
            (Kind::EchoRequest, 1),
            (Kind::EchoReply, 2),
            (Kind::StatusRequest, 3),
            (Kind::StatusReply, 4),
            (Kind::Sink, 5),
            (Kind::SinkQuery, 6),
            (Kind::SinkReply, 7),
        ];
        for (kind, code) in golden {
            let head = Head { kind, number: 0x0807_0605_0403_0201 };
            let bytes = [code, 1, 2, 3, 4, 5, 6, 7, 8];
            assert_eq!(head.encode(), bytes);
            assert_eq!(Head::decode(&bytes), Ok(head));
        }
    }

    #[test]
    fn a_sink_count_has_these_bytes() {
        let count = SinkCount { received: 0x0102, out_of_order: 3 };
        let bytes = [2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(count.encode(), bytes);
        assert_eq!(SinkCount::decode(&bytes), Ok(count));
        for bytes in [0, 15, 17] {
            let error = SinkCount::decode(&vec![0; bytes]);
            assert_eq!(error, Err(HeadError::CountLength { bytes }));
        }
    }

    #[test]
    fn hostile_heads_are_refused_with_what_is_wrong() {
        for bytes in [0, 1, 8, 10, 70_000] {
            assert_eq!(Head::decode(&vec![1; bytes]), Err(HeadError::Length { bytes }));
        }
        for code in [0, 8, 255] {
            let error = Head::decode(&[code, 0, 0, 0, 0, 0, 0, 0, 0]);
            assert_eq!(error, Err(HeadError::UnknownKind { code }));
        }
    }
}
