//! A command to bytes.

use bytes::{BufMut, Bytes};

use super::{Change, Command, Condition, Operation, Place};
use crate::encoding::{put_bytes, put_option};

/// The version of the encoding, in front of every command.
pub(super) const VERSION: u8 = 1;

impl Command {
    /// Its encoding. It is checked where it is decoded, so a command out of bounds is refused by
    /// the leader and not here.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(128);
        out.put_u8(VERSION);
        out.put_u8(u8::from(self.attempt.is_some()));
        if let Some(attempt) = &self.attempt {
            out.put_u64_le(attempt.session);
            out.put_u64_le(attempt.sequence);
            out.put_u64_le(attempt.answered_below);
        }
        self.operation.encode(&mut out);
        out.into()
    }
}

impl Operation {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Transact { conditions, changes } => {
                out.put_u8(1);
                put_count(out, conditions.len());
                conditions.iter().for_each(|condition| condition.encode(out));
                put_count(out, changes.len());
                changes.iter().for_each(|change| change.encode(out));
            }
            Self::Allocate { counter, count } => {
                out.put_u8(2);
                put_bytes(out, counter);
                out.put_u32_le(*count);
            }
            Self::OpenSession => out.put_u8(3),
            Self::CloseSession { session } => {
                out.put_u8(4);
                out.put_u64_le(*session);
            }
            Self::Grant { ttl_ms } => {
                out.put_u8(5);
                out.put_u32_le(*ttl_ms);
            }
            Self::Revoke { lease } => {
                out.put_u8(6);
                out.put_u64_le(*lease);
            }
        }
    }
}

impl Condition {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Value { place, value } => {
                out.put_u8(if value.is_some() { 1 } else { 2 });
                place.encode(out);
                if let Some(value) = value {
                    put_bytes(out, value);
                }
            }
            Self::Revision { place, revision } => {
                out.put_u8(3);
                place.encode(out);
                out.put_u64_le(*revision);
            }
        }
    }
}

impl Change {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Put { place, value, lease } => {
                out.put_u8(1);
                place.encode(out);
                put_bytes(out, value);
                put_option(out, *lease);
            }
            Self::Delete { place } => {
                out.put_u8(2);
                place.encode(out);
            }
        }
    }
}

impl Place {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16_le(self.table.0);
        put_bytes(out, &self.key);
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32_le(u32::try_from(count).expect("more parts than memory has"));
}
