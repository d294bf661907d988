//! The handshake above TLS: the dialling side says [`Hello`], the other answers [`Welcome`] or
//! [`Rejection`], on the first bidirectional stream. `docs/wire.md` has the layouts.

use super::MAGIC;
use super::reader::Reader;

/// Longest handshake message, bytes, its 7-byte opening not counted.
pub(crate) const HANDSHAKE_BYTES_MAX: usize = 1024;
/// Bytes before a handshake message's fields: magic, kind, length.
pub(crate) const OPENING_BYTES: usize = 7;

const KIND_HELLO: u8 = 1;
const KIND_WELCOME: u8 = 2;
const KIND_REJECTION: u8 = 3;

/// Why bytes are no handshake, control frame or stream opening. Fault: the peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The first bytes are not this protocol's.
    #[error("not a vioduct handshake")]
    Magic,
    /// The message ends before its fields do.
    #[error("message ends too early")]
    Truncated,
    /// Bytes follow the last field.
    #[error("{bytes} bytes follow the last field")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The handshake message is past its limit.
    #[error("handshake message of {bytes} bytes is past the limit of {HANDSHAKE_BYTES_MAX}")]
    TooLong {
        /// Length announced.
        bytes: usize,
    },
    /// A name is not UTF-8.
    #[error("a name is not UTF-8")]
    NotUtf8,
    /// A handshake message of a kind not expected here.
    #[error("unexpected handshake message kind {kind}")]
    UnknownHandshake {
        /// The byte received.
        kind: u8,
    },
    /// A control frame of a kind that this version does not know.
    #[error("unknown control frame kind {kind}")]
    UnknownControl {
        /// The byte received.
        kind: u8,
    },
    /// A stream of a kind that this version does not know.
    #[error("unknown stream kind {kind}")]
    UnknownStream {
        /// The byte received.
        kind: u8,
    },
    /// A welcome that does not answer what was said.
    #[error("welcome for version {version} and generation {generation}, which were not offered")]
    Welcome {
        /// The version it names.
        version: u16,
        /// The generation it names.
        generation: u64,
    },
    /// A rejection with a reason that this version does not know.
    #[error("unknown rejection code {code}")]
    UnknownRejection {
        /// The byte received.
        code: u8,
    },
}

/// The link protocol versions that a build speaks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionRange {
    /// Oldest.
    pub min: u16,
    /// Newest.
    pub max: u16,
}

impl VersionRange {
    /// The newest version in both ranges.
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }
}

impl std::fmt::Display for VersionRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}–{}", self.min, self.max)
    }
}

/// What one side says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Versions spoken.
    pub versions: VersionRange,
    /// Optional abilities, a bit each; unknown bits are ignored. None are defined yet.
    pub capabilities: u64,
    /// Rises with each start of the node.
    pub incarnation: u64,
    /// Random per process: tells a copied data directory from a restart.
    pub instance: u64,
    /// Number of this connection between the two nodes; above every earlier one.
    pub generation: u64,
    /// Generation of the connection that carries the link now, as this side sees it; 0 without one.
    pub live: u64,
    /// Lanes that this side will open.
    pub lanes: u8,
    /// Longest message head that it sends or takes, bytes.
    pub head_bytes_max: u32,
    /// Longest body on a lane that it sends or takes, bytes.
    pub inline_body_bytes_max: u32,
    /// Longest body that it sends or takes, bytes.
    pub body_bytes_max: u32,
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the node.
    pub node: String,
}

/// The accepting side's answer when the connection may live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The version chosen.
    pub version: u16,
    /// What the accepting side says of itself; `generation` repeats the dialler's.
    pub hello: Hello,
}

/// A limit that must be the same on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitName {
    /// [`Hello::body_bytes_max`].
    BodyBytes,
    /// [`Hello::head_bytes_max`].
    HeadBytes,
    /// [`Hello::inline_body_bytes_max`].
    InlineBodyBytes,
    /// [`Hello::lanes`], bounded by what this version allows.
    Lanes,
}

impl LimitName {
    fn code(self) -> u8 {
        match self {
            Self::BodyBytes => 1,
            Self::HeadBytes => 2,
            Self::InlineBodyBytes => 3,
            Self::Lanes => 4,
        }
    }

    fn from_code(code: u8) -> Result<Self, WireError> {
        match code {
            1 => Ok(Self::BodyBytes),
            2 => Ok(Self::HeadBytes),
            3 => Ok(Self::InlineBodyBytes),
            4 => Ok(Self::Lanes),
            code => Err(WireError::UnknownRejection { code }),
        }
    }
}

impl std::fmt::Display for LimitName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BodyBytes => "body_bytes_max",
            Self::HeadBytes => "head_bytes_max",
            Self::InlineBodyBytes => "inline_body_bytes_max",
            Self::Lanes => "lanes",
        })
    }
}

/// Why the accepting side turned a connection down. No message was exchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No protocol version in common. Mend: upgrade the older side.
    #[error("no common link protocol: accepting side speaks {accepting}, dialling side {dialling}")]
    Version {
        /// The accepting side's range.
        accepting: VersionRange,
        /// The dialling side's range.
        dialling: VersionRange,
    },
    /// A limit differs. Mend: configure both sides alike.
    #[error("{limit} differs: {accepting} on the accepting side, {dialling} on the dialling side")]
    Limit {
        /// Which.
        limit: LimitName,
        /// The accepting side's value.
        accepting: u64,
        /// The dialling side's value.
        dialling: u64,
    },
    /// The names said are not those of the certificate.
    #[error("the dialling side calls itself {said}, its certificate says {certificate}")]
    Identity {
        /// Name in the message.
        said: String,
        /// Name in the certificate.
        certificate: String,
    },
    /// A newer start of the dialling node is already known.
    #[error("incarnation {dialling} of the dialling node is over: {known} is known")]
    StaleIncarnation {
        /// The dialler's.
        dialling: u64,
        /// The newest known.
        known: u64,
    },
    /// Another live process has this name and incarnation: a copied data directory.
    #[error("another live process runs as this node in incarnation {incarnation}")]
    IdentityConflict {
        /// Of both.
        incarnation: u64,
    },
    /// A newer connection of this pair is already known; dial again above it.
    #[error("connection generation {dialling} is not above {known}")]
    StaleGeneration {
        /// The dialler's.
        dialling: u64,
        /// The newest known.
        known: u64,
    },
    /// Another connection of the pair is being made, dialled by either side. Dial again later.
    #[error("another connection of this pair is being made and goes first")]
    Duplicate,
    /// The accepting side has as many peers as it takes.
    #[error("the accepting side already has its limit of {limit} peers")]
    TooManyPeers {
        /// The limit.
        limit: u64,
    },
    /// The accepting side is shutting down.
    #[error("the accepting side is shutting down")]
    Closing,
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    // Names are validated labels of at most 63 bytes; anything longer is cut, and then refused.
    let bytes = text.as_bytes();
    let kept = bytes.get(..255).unwrap_or(bytes);
    out.push(u8::try_from(kept.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(kept);
}

fn framed(kind: u8, fields: &[u8]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.push(kind);
    out.extend_from_slice(&u16::try_from(fields.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(fields);
    out
}

impl Hello {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        self.put(&mut fields);
        framed(KIND_HELLO, &fields)
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.versions.min.to_le_bytes());
        out.extend_from_slice(&self.versions.max.to_le_bytes());
        let Self { capabilities, incarnation, instance, generation, live, .. } = *self;
        for number in [capabilities, incarnation, instance, generation, live] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.push(self.lanes);
        for limit in [self.head_bytes_max, self.inline_body_bytes_max, self.body_bytes_max] {
            out.extend_from_slice(&limit.to_le_bytes());
        }
        put_string(out, &self.cluster);
        put_string(out, &self.node);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            versions: VersionRange { min: reader.u16()?, max: reader.u16()? },
            capabilities: reader.u64()?,
            incarnation: reader.u64()?,
            instance: reader.u64()?,
            generation: reader.u64()?,
            live: reader.u64()?,
            lanes: reader.u8()?,
            head_bytes_max: reader.u32()?,
            inline_body_bytes_max: reader.u32()?,
            body_bytes_max: reader.u32()?,
            cluster: reader.string()?,
            node: reader.string()?,
        })
    }
}

impl Welcome {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = self.version.to_le_bytes().to_vec();
        self.hello.put(&mut fields);
        framed(KIND_WELCOME, &fields)
    }
}

impl Rejection {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        let mut numbers = |code: u8, values: &[u64]| {
            fields.push(code);
            for value in values {
                fields.extend_from_slice(&value.to_le_bytes());
            }
        };
        match self {
            Self::Version { accepting, dialling } => {
                let ends = [accepting.min, accepting.max, dialling.min, dialling.max];
                numbers(1, &ends.map(u64::from));
            }
            Self::Limit { limit, accepting, dialling } => {
                numbers(2, &[u64::from(limit.code()), *accepting, *dialling]);
            }
            Self::Identity { said, certificate } => {
                numbers(3, &[]);
                put_string(&mut fields, said);
                put_string(&mut fields, certificate);
            }
            Self::StaleIncarnation { dialling, known } => numbers(4, &[*dialling, *known]),
            Self::IdentityConflict { incarnation } => numbers(5, &[*incarnation]),
            Self::StaleGeneration { dialling, known } => numbers(6, &[*dialling, *known]),
            Self::Duplicate => numbers(7, &[]),
            Self::TooManyPeers { limit } => numbers(8, &[*limit]),
            Self::Closing => numbers(9, &[]),
        }
        framed(KIND_REJECTION, &fields)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let short = |value: u64| u16::try_from(value).map_err(|_past| WireError::Truncated);
        Ok(match reader.u8()? {
            1 => Self::Version {
                accepting: VersionRange { min: short(reader.u64()?)?, max: short(reader.u64()?)? },
                dialling: VersionRange { min: short(reader.u64()?)?, max: short(reader.u64()?)? },
            },
            2 => Self::Limit {
                limit: LimitName::from_code(u8::try_from(reader.u64()?).unwrap_or(0))?,
                accepting: reader.u64()?,
                dialling: reader.u64()?,
            },
            3 => Self::Identity { said: reader.string()?, certificate: reader.string()? },
            4 => Self::StaleIncarnation { dialling: reader.u64()?, known: reader.u64()? },
            5 => Self::IdentityConflict { incarnation: reader.u64()? },
            6 => Self::StaleGeneration { dialling: reader.u64()?, known: reader.u64()? },
            7 => Self::Duplicate,
            8 => Self::TooManyPeers { limit: reader.u64()? },
            9 => Self::Closing,
            code => return Err(WireError::UnknownRejection { code }),
        })
    }
}

/// Takes a handshake message apart. The opening is checked before the rest is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HelloDecoder {
    kind: u8,
    /// Bytes of the fields still to be read, at most [`HANDSHAKE_BYTES_MAX`].
    pub(crate) fields_bytes: usize,
}

impl HelloDecoder {
    /// Reads the opening: magic, kind and length.
    ///
    /// # Errors
    /// [`WireError`] when these are not this protocol's, or the length is past its limit.
    pub fn open(opening: [u8; OPENING_BYTES]) -> Result<Self, WireError> {
        let [m0, m1, m2, m3, kind, l0, l1] = opening;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(WireError::Magic);
        }
        let fields_bytes = usize::from(u16::from_le_bytes([l0, l1]));
        if fields_bytes > HANDSHAKE_BYTES_MAX {
            return Err(WireError::TooLong { bytes: fields_bytes });
        }
        Ok(Self { kind, fields_bytes })
    }

    /// The accepting side: only a [`Hello`] is expected.
    ///
    /// # Errors
    /// [`WireError`] when the fields are none.
    pub fn hello(self, fields: &[u8]) -> Result<Hello, WireError> {
        let mut reader = Reader::new(fields);
        match self.kind {
            KIND_HELLO => {
                let hello = Hello::read(&mut reader)?;
                reader.finish().map(|()| hello)
            }
            kind => Err(WireError::UnknownHandshake { kind }),
        }
    }

    /// The dialling side: the answer to its hello.
    ///
    /// # Errors
    /// [`WireError`] when the fields are neither a welcome nor a rejection.
    pub fn answer(self, fields: &[u8]) -> Result<Result<Welcome, Rejection>, WireError> {
        let mut reader = Reader::new(fields);
        let answer = match self.kind {
            KIND_WELCOME => {
                Ok(Welcome { version: reader.u16()?, hello: Hello::read(&mut reader)? })
            }
            KIND_REJECTION => Err(Rejection::read(&mut reader)?),
            kind => return Err(WireError::UnknownHandshake { kind }),
        };
        reader.finish().map(|()| answer)
    }
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
