//! What is known of a member.

use core::net::SocketAddr;
use std::fmt;

use serde::{Deserialize, Serialize};
use vioduct_certs::identity::{NodeName, Roles};

use crate::Wire;

/// A member as it presented itself.
///
/// Address and roles come from the member itself and are passed on by others. They help to find it;
/// what a node may do is its certificate's word alone.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub node: NodeName,
    /// Its run; a later one is higher.
    pub incarnation: u64,
    /// Where it is dialled.
    pub addr: SocketAddr,
    /// What it says it may do.
    pub roles: Roles,
}

/// How a member fares.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Wire, Serialize, Deserialize,
)]
pub enum MemberState {
    /// It answers.
    Alive,
    /// It did not answer, and has some time left to speak up. It still is a member.
    Suspect,
    /// It left, or did not speak up in time. This incarnation does not come back.
    Down,
}

/// A name without an allocation: foca copies and compares it for each member it knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    len: u8,
    bytes: [u8; NodeName::LEN_MAX],
}

impl Key {
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&self.bytes)
    }

    pub(super) fn to_name(self) -> NodeName {
        let text = String::from_utf8_lossy(self.as_bytes());
        text.parse().expect("a key is made from a name and nothing else")
    }
}

impl From<&NodeName> for Key {
    fn from(name: &NodeName) -> Self {
        let mut bytes = [0; NodeName::LEN_MAX];
        for (to, from) in bytes.iter_mut().zip(name.as_str().bytes()) {
            *to = from;
        }
        Self { len: u8::try_from(name.as_str().len()).unwrap_or(u8::MAX), bytes }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

/// What only a member itself can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) addr: SocketAddr,
    pub(super) roles: Roles,
    /// It took its leave. True only together with [`foca::State::Down`].
    pub(super) has_left: bool,
}

/// foca's identity: a name is one address of foca's, an incarnation makes another identity of it.
/// The profile is luggage: two identities are equal without it.
#[derive(Debug, Clone, Copy)]
pub(super) struct MemberId {
    pub(super) key: Key,
    pub(super) incarnation: u64,
    /// Absent where a message only refers to a member.
    pub(super) profile: Option<Profile>,
}

impl MemberId {
    pub(super) fn new(member: &Member) -> Self {
        let profile = Profile { addr: member.addr, roles: member.roles, has_left: false };
        Self {
            key: Key::from(&member.node),
            incarnation: member.incarnation,
            profile: Some(profile),
        }
    }
}

impl PartialEq for MemberId {
    fn eq(&self, other: &Self) -> bool {
        (self.incarnation, self.key) == (other.incarnation, other.key)
    }
}

impl Eq for MemberId {}

impl foca::Identity for MemberId {
    type Addr = Key;

    /// Never: the links and references of this run would outlive it. The node starts a new one.
    fn renew(&self) -> Option<Self> {
        None
    }

    fn addr(&self) -> Key {
        self.key
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.incarnation > adversary.incarnation
    }
}
