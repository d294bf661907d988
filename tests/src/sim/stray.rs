//! Keeps packets for connections that a node does not know any more from its endpoint.
//!
//! quinn tries the first packets of a connection that it does not know as a new one. Those that a
//! peer repeats to a crashed run, or to a connection that was given up, then decrypt to noise:
//! whether two bits of it are zero, a matter of TLS's own randomness, decides between dropping the
//! packet and reporting a broken handshake. So that a seed decides everything, they are lost.
//!
//! A dialler that refuses the peer's certificate forgets the connection soon, and the peer repeats
//! its first packets until it hears of that. They are lost too: once a dialler has sent a Handshake
//! packet it has no keys for Initial ones, so that nobody misses them.

use std::collections::BTreeMap;

/// Length of the connection ids that quinn's endpoints choose. What a dialler makes up for a peer
/// whose id it does not know yet is longer.
const CHOSEN_ID_BYTES: usize = 8;
/// A connection may be gone when it has sent nothing of its handshake for this long. Shorter than
/// quinn keeps a closed connection in mind, longer than a round trip in a storm.
const KNOWN_MS: u64 = 400;

type ChosenId = [u8; CHOSEN_ID_BYTES];

/// What is known of a connection by an id that was shown.
#[derive(Debug, Clone, Copy)]
struct Shown {
    last_ms: u64,
    is_dialler: bool,
    /// It can still read Initial packets.
    reads_initial: bool,
}

/// The connection ids that one run has shown in its handshakes.
#[derive(Debug, Default)]
pub(super) struct ShownIds(BTreeMap<ChosenId, Shown>);

impl ShownIds {
    pub(super) fn note_sent(&mut self, datagram: &[u8], now_ms: u64) {
        let mut rest = datagram;
        while let Some((packet, after)) = LongPacket::split(rest) {
            rest = after;
            let Ok(id) = ChosenId::try_from(packet.from) else { continue };
            let is_dialler = packet.to.len() != CHOSEN_ID_BYTES;
            let new = Shown { last_ms: now_ms, is_dialler, reads_initial: true };
            let shown = self.0.entry(id).or_insert(new);
            shown.last_ms = now_ms;
            if shown.is_dialler && packet.kind == HANDSHAKE {
                shown.reads_initial = false;
            }
        }
    }

    /// Whether a datagram that was received begins a handshake that is not under way any more.
    pub(super) fn is_stray(&self, datagram: &[u8], now_ms: u64) -> bool {
        let Some((packet, _rest)) = LongPacket::split(datagram) else { return false };
        let Ok(to) = ChosenId::try_from(packet.to) else { return false };
        let is_known = self
            .0
            .get(&to)
            .is_some_and(|shown| shown.reads_initial && shown.last_ms + KNOWN_MS >= now_ms);
        packet.kind == INITIAL && !is_known
    }
}

/// The kind of an Initial packet, as the first byte says it.
const INITIAL: u8 = 0x00;
/// The kind of a Handshake packet.
const HANDSHAKE: u8 = 0x20;

/// A packet with a long header. Source: RFC 9000, section 17.2.
#[derive(Debug)]
struct LongPacket<'a> {
    kind: u8,
    to: &'a [u8],
    from: &'a [u8],
}

impl<'a> LongPacket<'a> {
    /// The packet at the start of a datagram, and what follows it; nothing, for kinds of which a
    /// datagram holds only one.
    fn split(datagram: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (first, rest) = datagram.split_first().filter(|(first, _rest)| *first & 0x80 != 0)?;
        let (_version, rest) = rest.split_at_checked(4)?;
        let (length, rest) = rest.split_first()?;
        let (to, rest) = rest.split_at_checked(usize::from(*length))?;
        let (length, rest) = rest.split_first()?;
        let (from, rest) = rest.split_at_checked(usize::from(*length))?;
        let packet = Self { kind: first & 0x30, to, from };
        let after = match packet.kind {
            INITIAL => varint(rest).and_then(|(token, rest)| skip_payload(rest.get(token..)?)),
            HANDSHAKE => skip_payload(rest),
            _other => None,
        };
        Some((packet, after.unwrap_or_default()))
    }
}

/// What follows the length of a payload, and the payload.
fn skip_payload(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = varint(bytes)?;
    rest.get(length..)
}

/// A number of 1, 2, 4 or 8 bytes. Source: RFC 9000, section 16.
fn varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, _rest) = bytes.split_first()?;
    let (number, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    let value = number
        .iter()
        .skip(1)
        .fold(usize::from(first & 0x3f), |value, byte| (value << 8) | usize::from(*byte));
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet with a payload of two bytes; an Initial one has no token.
    fn long(kind: u8, to: &[u8], from: &[u8]) -> Vec<u8> {
        let lengths = [to.len(), from.len()].map(|length| u8::try_from(length).unwrap());
        let mut packet = vec![0xc3 | kind, 0, 0, 0, 1, lengths[0]];
        packet.extend_from_slice(to);
        packet.push(lengths[1]);
        packet.extend_from_slice(from);
        packet.extend_from_slice(if kind == INITIAL { &[0, 0x40, 2, 7, 7] } else { &[2, 7, 7] });
        packet
    }

    fn initial(to: &[u8], from: &[u8]) -> Vec<u8> {
        long(INITIAL, to, from)
    }

    #[test]
    fn only_initial_packets_to_an_id_that_was_not_shown_lately_are_stray() {
        let mut shown = ShownIds::default();
        shown.note_sent(&initial(&[9; 20], &[1; 8]), 1000);
        assert!(!shown.is_stray(&initial(&[1; 8], &[5; 8]), 1000 + KNOWN_MS), "an answer");
        assert!(shown.is_stray(&initial(&[1; 8], &[5; 8]), 1001 + KNOWN_MS), "long given up");
        assert!(shown.is_stray(&initial(&[2; 8], &[5; 8]), 1000), "for an earlier run");
        assert!(!shown.is_stray(&initial(&[2; 20], &[5; 8]), 1000), "a new connection");
        assert!(!shown.is_stray(&[0x43, 1, 2, 3], 1000), "a short header");
        assert!(!shown.is_stray(&long(HANDSHAKE, &[2; 8], &[5; 8]), 1000), "quinn drops it");
        assert!(!shown.is_stray(&initial(&[2; 8], &[])[..9], 1000), "cut short");
    }

    #[test]
    fn initial_packets_to_a_dialler_are_stray_once_it_has_sent_a_handshake_packet() {
        let mut shown = ShownIds::default();
        let answer = [initial(&[5; 8], &[1; 8]), long(HANDSHAKE, &[5; 8], &[1; 8])].concat();
        shown.note_sent(&answer, 1000);
        assert!(!shown.is_stray(&initial(&[1; 8], &[5; 8]), 1000), "the side that was dialled");
        shown.note_sent(&initial(&[9; 20], &[2; 8]), 1000);
        assert!(!shown.is_stray(&initial(&[2; 8], &[5; 8]), 1000));
        shown.note_sent(
            &[initial(&[5; 8], &[2; 8]), long(HANDSHAKE, &[5; 8], &[2; 8])].concat(),
            1001,
        );
        assert!(shown.is_stray(&initial(&[2; 8], &[5; 8]), 1001));
    }
}
