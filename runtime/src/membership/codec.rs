//! foca's messages as bytes. Numbers are big-endian.
//!
//! | part | bytes |
//! |---|---|
//! | reference | length of the name (1, 1..=63), name, incarnation (8) |
//! | identity | reference, marks (1), family (1: 4 or 6), address (4 or 16), port (2) |
//! | marks | bit 0 `db`, 1 `phyp`, 2 `storage`, 3 `vios`, 7 has left; the others are zero |
//! | header | identity of the sender, its refutations (2), reference to the target, message |
//! | message | tag (1), then for tags 1 and 2 a probe number (1), for 3 to 6 a reference and that |
//! | update | identity, refutations (2), state (1: 0 alive, 1 suspect, 2 down) |
//!
//! After the header foca puts the count of updates (2) and the updates, but for announcements and
//! for word to one who is down. Every length is checked before it is used, nothing is allocated by
//! a number of the sender's, and what a correct node would not have written is an error.

use core::net::{IpAddr, SocketAddr};

use bytes::{Buf, BufMut};
use foca::{Header, Message, State};
use vioduct_certs::identity::{NodeName, Role, Roles};

use super::member::{Key, MemberId, Profile};

const HAS_LEFT: u8 = 1 << 7;

/// Why bytes are not a message, or a message is not bytes. Fault: the sender, but for `NoRoom`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CodecError {
    #[error("the bytes end within a field")]
    Short,
    #[error("a name of {0} bytes")]
    NameLength(u8),
    #[error("the bytes of a name are not one")]
    Name,
    #[error("address family {0}")]
    Family(u8),
    #[error("marks {0:#010b}")]
    Marks(u8),
    #[error("message tag {0}")]
    Tag(u8),
    #[error("state {0}")]
    State(u8),
    #[error("the member left and is not down")]
    LeftAlive,
    #[error("{0} bytes follow the last field")]
    Trailing(usize),
    #[error("no room for {0} bytes")]
    NoRoom(usize),
    /// foca has such messages; this cluster has none.
    #[error("a broadcast")]
    Broadcast,
}

/// foca's codec.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Codec;

impl foca::Codec<MemberId> for Codec {
    type Error = CodecError;

    fn encode_header(
        &mut self,
        header: &Header<MemberId>,
        mut buf: impl BufMut,
    ) -> Result<(), CodecError> {
        let mut bytes = Vec::with_capacity(256);
        put_identity(&mut bytes, &header.src);
        bytes.put_u16(header.src_incarnation);
        put_reference(&mut bytes, &header.dst);
        put_message(&mut bytes, &header.message)?;
        put_whole(&mut buf, &bytes)
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<MemberId>, CodecError> {
        let src = take_identity(&mut buf)?;
        if src.profile.is_some_and(|profile| profile.has_left) {
            return Err(CodecError::LeftAlive);
        }
        let src_incarnation = take_u16(&mut buf)?;
        let dst = take_reference(&mut buf)?;
        Ok(Header { src, src_incarnation, dst, message: take_message(&mut buf)? })
    }

    fn encode_member(
        &mut self,
        member: &foca::Member<MemberId>,
        mut buf: impl BufMut,
    ) -> Result<(), CodecError> {
        let mut bytes = Vec::with_capacity(128);
        put_identity(&mut bytes, member.id());
        bytes.put_u16(member.incarnation());
        bytes.put_u8(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        put_whole(&mut buf, &bytes)
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<foca::Member<MemberId>, CodecError> {
        let id = take_identity(&mut buf)?;
        let refutations = take_u16(&mut buf)?;
        let state = match take_u8(&mut buf)? {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Down,
            other => return Err(CodecError::State(other)),
        };
        if state != State::Down && id.profile.is_some_and(|profile| profile.has_left) {
            return Err(CodecError::LeftAlive);
        }
        Ok(foca::Member::new(id, refutations, state))
    }
}

/// All or nothing, as foca asks.
fn put_whole(buf: &mut impl BufMut, bytes: &[u8]) -> Result<(), CodecError> {
    if buf.remaining_mut() < bytes.len() {
        return Err(CodecError::NoRoom(bytes.len()));
    }
    buf.put_slice(bytes);
    Ok(())
}

pub(super) fn put_name(bytes: &mut Vec<u8>, name: Option<&Key>) {
    let name = name.map(Key::as_bytes).unwrap_or_default();
    bytes.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
    bytes.put_slice(name);
}

fn put_reference(bytes: &mut Vec<u8>, id: &MemberId) {
    put_name(bytes, Some(&id.key));
    bytes.put_u64(id.incarnation);
}

/// Where nothing is known of the member but its name, marks and family are zero and end it. No
/// receiver takes that.
pub(super) fn put_identity(bytes: &mut Vec<u8>, id: &MemberId) {
    put_reference(bytes, id);
    let Some(Profile { addr, roles, has_left }) = id.profile else {
        return bytes.put_u16(0);
    };
    let roles = roles.iter().fold(0, |marks, role| marks | bit(role));
    bytes.put_u8(roles | if has_left { HAS_LEFT } else { 0 });
    match addr.ip() {
        IpAddr::V4(ip) => {
            bytes.put_u8(4);
            bytes.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            bytes.put_u8(6);
            bytes.put_slice(&ip.octets());
        }
    }
    bytes.put_u16(addr.port());
}

fn put_message(bytes: &mut Vec<u8>, message: &Message<MemberId>) -> Result<(), CodecError> {
    let mut relayed = |tag, id, probe| {
        bytes.put_u8(tag);
        put_reference(bytes, id);
        bytes.put_u8(probe);
    };
    match message {
        Message::Ping(probe) => bytes.put_slice(&[1, *probe]),
        Message::Ack(probe) => bytes.put_slice(&[2, *probe]),
        Message::PingReq { target, probe_number } => relayed(3, target, *probe_number),
        Message::IndirectPing { origin, probe_number } => relayed(4, origin, *probe_number),
        Message::IndirectAck { target, probe_number } => relayed(5, target, *probe_number),
        Message::ForwardedAck { origin, probe_number } => relayed(6, origin, *probe_number),
        Message::Announce => bytes.put_u8(7),
        Message::Feed => bytes.put_u8(8),
        Message::Gossip => bytes.put_u8(9),
        Message::TurnUndead => bytes.put_u8(10),
        Message::Broadcast => return Err(CodecError::Broadcast),
    }
    Ok(())
}

pub(super) fn take_u8(buf: &mut impl Buf) -> Result<u8, CodecError> {
    buf.try_get_u8().map_err(|_short| CodecError::Short)
}

pub(super) fn take_u16(buf: &mut impl Buf) -> Result<u16, CodecError> {
    buf.try_get_u16().map_err(|_short| CodecError::Short)
}

fn take_array<const N: usize>(buf: &mut impl Buf) -> Result<[u8; N], CodecError> {
    let mut bytes = [0; N];
    buf.try_copy_to_slice(&mut bytes).map_err(|_short| CodecError::Short)?;
    Ok(bytes)
}

/// A name, or none: a length of zero.
pub(super) fn take_name(buf: &mut impl Buf) -> Result<Option<Key>, CodecError> {
    let len = take_u8(buf)?;
    let mut bytes = [0; NodeName::LEN_MAX];
    let name = match bytes.get_mut(..usize::from(len)) {
        None => return Err(CodecError::NameLength(len)),
        Some([]) => return Ok(None),
        Some(name) => name,
    };
    buf.try_copy_to_slice(name).map_err(|_short| CodecError::Short)?;
    let text = str::from_utf8(name).map_err(|_not_text| CodecError::Name)?;
    let name: NodeName = text.parse().map_err(|_not_a_name| CodecError::Name)?;
    Ok(Some(Key::from(&name)))
}

fn take_reference(buf: &mut impl Buf) -> Result<MemberId, CodecError> {
    let key = take_name(buf)?.ok_or(CodecError::NameLength(0))?;
    let incarnation = buf.try_get_u64().map_err(|_short| CodecError::Short)?;
    Ok(MemberId { key, incarnation, profile: None })
}

pub(super) fn take_identity(buf: &mut impl Buf) -> Result<MemberId, CodecError> {
    let id = take_reference(buf)?;
    let marks = take_u8(buf)?;
    let roles: Roles = Role::ALL.into_iter().filter(|role| marks & bit(*role) != 0).collect();
    let known = Role::ALL.into_iter().fold(HAS_LEFT, |known, role| known | bit(role));
    if marks & !known != 0 {
        return Err(CodecError::Marks(marks));
    }
    let ip = match take_u8(buf)? {
        4 => IpAddr::from(take_array::<4>(buf)?),
        6 => IpAddr::from(take_array::<16>(buf)?),
        other => return Err(CodecError::Family(other)),
    };
    let addr = SocketAddr::new(ip, take_u16(buf)?);
    let profile = Profile { addr, roles, has_left: marks & HAS_LEFT != 0 };
    Ok(MemberId { profile: Some(profile), ..id })
}

fn take_message(buf: &mut impl Buf) -> Result<Message<MemberId>, CodecError> {
    let tag = take_u8(buf)?;
    match tag {
        1 => return Ok(Message::Ping(take_u8(buf)?)),
        2 => return Ok(Message::Ack(take_u8(buf)?)),
        7 => return Ok(Message::Announce),
        8 => return Ok(Message::Feed),
        9 => return Ok(Message::Gossip),
        10 => return Ok(Message::TurnUndead),
        3..=6 => {}
        _ => return Err(CodecError::Tag(tag)),
    }
    let (id, probe_number) = (take_reference(buf)?, take_u8(buf)?);
    Ok(match tag {
        3 => Message::PingReq { target: id, probe_number },
        4 => Message::IndirectPing { origin: id, probe_number },
        5 => Message::IndirectAck { target: id, probe_number },
        _ => Message::ForwardedAck { origin: id, probe_number },
    })
}

/// Part of the wire format: never given to another role.
const fn bit(role: Role) -> u8 {
    match role {
        Role::Db => 1,
        Role::Phyp => 2,
        Role::Storage => 4,
        Role::Vios => 8,
    }
}
