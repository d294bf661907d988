//! A datagram as a whole: what precedes foca's bytes, and a first look at them.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | version, 1 |
//! | 1 | 1 | kind: 0 gossip, 1 leave, 2 roster asked for, 3 page of a roster |
//! | 2 | 2 | members that the sender counts as up, itself not; 65 535 also for more |
//! | 4 | | gossip: as `codec` says; all others: the identity of the sender, and then |
//! | | | leave: nothing |
//! | | | asked: the name that the page is to follow: length (1; 0 for the first page) and name |
//! | | | page: that name again, whether more follow (1: 0 or 1), count (2), identities |
//!
//! A datagram is read to its end before any of it is believed: foca would apply the first updates
//! and then find the rest unreadable. Golden bytes: the tests of this module.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use foca::{Codec as _, Header, Message};

use super::codec::{
    Codec, CodecError, put_identity, put_name, take_identity, take_name, take_u8, take_u16,
};
use super::member::{Key, MemberId};

const VERSION: u8 = 1;
const GOSSIP: u8 = 0;
const LEAVE: u8 = 1;
const ASK: u8 = 2;
const PAGE: u8 = 3;
/// Bytes before the body.
pub(super) const PREFIX_BYTES: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("{0} bytes, which is too long")]
    TooLong(usize),
    #[error("version {0}")]
    Version(u8),
    #[error("kind {0}")]
    Kind(u8),
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// A datagram, read.
#[derive(Debug)]
pub(super) struct Frame {
    /// How many members the sender counts as up.
    pub(super) active: u16,
    pub(super) body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    Gossip(Box<Gossip>),
    /// The sender leaves.
    Leave(MemberId),
    /// The sender wants to know which members follow this name.
    Ask(MemberId, Option<Key>),
    Page(MemberId, Page),
}

/// Some of the members that the sender knows, in order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    /// The name that they follow; `None` if they are the first.
    pub(super) after: Option<Key>,
    /// Whether the sender knows members that follow these.
    pub(super) has_more: bool,
    pub(super) members: Vec<MemberId>,
}

/// A message of foca's, read and as bytes.
#[derive(Debug)]
pub(super) struct Gossip {
    pub(super) header: Header<MemberId>,
    pub(super) updates: Vec<Update>,
    header_bytes: usize,
    bytes: Bytes,
}

#[derive(Debug)]
pub(super) struct Update {
    pub(super) member: foca::Member<MemberId>,
    span: Range<usize>,
}

impl Frame {
    pub(super) fn read(datagram: &Bytes, bytes_max: usize) -> Result<Self, FrameError> {
        if datagram.len() > bytes_max {
            return Err(FrameError::TooLong(datagram.len()));
        }
        let mut rest: &[u8] = datagram;
        let (version, kind) = (take_u8(&mut rest)?, take_u8(&mut rest)?);
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let active = take_u16(&mut rest)?;
        let body = match kind {
            GOSSIP => Body::Gossip(Box::new(Gossip::read(datagram.slice(PREFIX_BYTES..))?)),
            LEAVE => Body::Leave(whole(&mut rest, take_member)?),
            ASK => whole(&mut rest, |rest| Ok(Body::Ask(take_member(rest)?, take_name(rest)?)))?,
            PAGE => whole(&mut rest, |rest| Ok(Body::Page(take_member(rest)?, Page::read(rest)?)))?,
            other => return Err(FrameError::Kind(other)),
        };
        Ok(Self { active, body })
    }

    /// Who says that it sent this.
    pub(super) fn sender(&self) -> MemberId {
        match &self.body {
            Body::Gossip(gossip) => gossip.header.src,
            Body::Leave(sender) | Body::Ask(sender, _) | Body::Page(sender, _) => *sender,
        }
    }

    /// A datagram that carries foca's `bytes`.
    pub(super) fn gossip(active: usize, bytes: &[u8]) -> Bytes {
        let mut datagram = Self::prefix(GOSSIP, active, bytes.len());
        datagram.put_slice(bytes);
        datagram.freeze()
    }

    /// A datagram that takes leave.
    pub(super) fn leave(active: usize, own: &MemberId) -> Bytes {
        Self::own(LEAVE, active, own, &[])
    }

    /// A datagram that asks for the members that follow this name.
    pub(super) fn ask(active: usize, own: &MemberId, after: Option<&Key>) -> Bytes {
        let mut name = Vec::new();
        put_name(&mut name, after);
        Self::own(ASK, active, own, &name)
    }

    /// A datagram with as many of the `members` as fit `bytes_max`. They follow the name `after`.
    pub(super) fn page(
        active: usize,
        own: &MemberId,
        after: Option<&Key>,
        members: impl Iterator<Item = MemberId>,
        bytes_max: usize,
    ) -> Bytes {
        let (mut head, mut entries, mut count) = (Vec::new(), Vec::new(), 0_u16);
        put_name(&mut head, after);
        let fixed = Self::own(PAGE, active, own, &head).len() + 1 + 2;
        let mut has_more = false;
        for member in members {
            let end = entries.len();
            put_identity(&mut entries, &member);
            if fixed + entries.len() > bytes_max || count == u16::MAX {
                entries.truncate(end);
                has_more = true;
                break;
            }
            count += 1;
        }
        head.put_u8(u8::from(has_more));
        head.put_u16(count);
        head.put_slice(&entries);
        Self::own(PAGE, active, own, &head)
    }

    fn own(kind: u8, active: usize, own: &MemberId, rest: &[u8]) -> Bytes {
        let mut body = Vec::new();
        put_identity(&mut body, own);
        body.put_slice(rest);
        let mut datagram = Self::prefix(kind, active, body.len());
        datagram.put_slice(&body);
        datagram.freeze()
    }

    fn prefix(kind: u8, active: usize, body_bytes: usize) -> BytesMut {
        let mut datagram = BytesMut::with_capacity(PREFIX_BYTES + body_bytes);
        datagram.put_u8(VERSION);
        datagram.put_u8(kind);
        datagram.put_u16(u16::try_from(active).unwrap_or(u16::MAX));
        datagram
    }
}

impl Page {
    fn read(rest: &mut &[u8]) -> Result<Self, CodecError> {
        let after = take_name(rest)?;
        let has_more = match take_u8(rest)? {
            0 => false,
            1 => true,
            other => return Err(CodecError::State(other)),
        };
        let count = take_u16(rest)?;
        let mut members = Vec::new();
        for _ in 0..count {
            members.push(take_member(rest)?);
        }
        Ok(Self { after, has_more, members })
    }
}

/// The identity of one who has not left.
fn take_member(rest: &mut &[u8]) -> Result<MemberId, CodecError> {
    let id = take_identity(rest)?;
    if id.profile.is_some_and(|profile| profile.has_left) {
        return Err(CodecError::LeftAlive);
    }
    Ok(id)
}

/// Reads something that has nothing behind it.
fn whole<T>(
    rest: &mut &[u8],
    read: impl FnOnce(&mut &[u8]) -> Result<T, CodecError>,
) -> Result<T, CodecError> {
    let value = read(rest)?;
    if rest.is_empty() { Ok(value) } else { Err(CodecError::Trailing(rest.len())) }
}

impl Gossip {
    fn read(bytes: Bytes) -> Result<Self, CodecError> {
        let mut rest: &[u8] = &bytes;
        let header = Codec.decode_header(&mut rest)?;
        let header_bytes = bytes.len() - rest.len();
        let has_updates = !matches!(header.message, Message::Announce | Message::TurnUndead);
        let count = if has_updates && !rest.is_empty() { take_u16(&mut rest)? } else { 0 };
        let mut updates = Vec::new();
        for _ in 0..count {
            let start = bytes.len() - rest.len();
            let member = Codec.decode_member(&mut rest)?;
            updates.push(Update { member, span: start..bytes.len() - rest.len() });
        }
        if !rest.is_empty() {
            return Err(CodecError::Trailing(rest.len()));
        }
        Ok(Self { header, updates, header_bytes, bytes })
    }

    /// What foca is to read.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same message with the updates that pass.
    pub(super) fn only(mut self, mut passes: impl FnMut(&foca::Member<MemberId>) -> bool) -> Self {
        let before = self.updates.len();
        self.updates.retain(|update| passes(&update.member));
        if self.updates.len() == before {
            return self;
        }
        let mut bytes = BytesMut::with_capacity(self.bytes.len());
        bytes.put_slice(self.bytes.get(..self.header_bytes).unwrap_or_default());
        bytes.put_u16(u16::try_from(self.updates.len()).unwrap_or(u16::MAX));
        for update in &mut self.updates {
            let start = bytes.len();
            bytes.put_slice(self.bytes.get(update.span.clone()).unwrap_or_default());
            update.span = start..bytes.len();
        }
        self.bytes = bytes.freeze();
        self
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
