//! Keeps packets for connections that a node does not know any more from its endpoint.
//!
//! quinn tries the first packets of a connection that it does not know as a new one. Those that a
//! peer repeats to a crashed run, or to a connection that was given up, then decrypt to noise:
//! whether two bits of it are zero, a matter of TLS's own randomness, decides between dropping the
//! packet and reporting a broken handshake. So that a seed decides everything, they are lost.

use std::collections::BTreeMap;

/// Length of the connection ids that quinn's endpoints choose. What a dialler makes up for a peer
/// whose id it does not know yet is longer.
const CHOSEN_ID_BYTES: usize = 8;
/// A connection may be gone when it has sent nothing of its handshake for this long. Shorter than
/// quinn keeps a closed connection in mind, longer than a round trip in a storm.
const KNOWN_MS: u64 = 400;

/// The connection ids that one run has shown in its handshakes, and when it last did.
#[derive(Debug, Default)]
pub(super) struct ShownIds(BTreeMap<[u8; CHOSEN_ID_BYTES], u64>);

impl ShownIds {
    pub(super) fn note_sent(&mut self, datagram: &[u8], now_ms: u64) {
        if let Some((_to, from)) = long_header_ids(datagram)
            && let Ok(id) = from.try_into()
        {
            self.0.insert(id, now_ms);
        }
    }

    /// Whether a datagram that was received begins a handshake that is not under way any more.
    pub(super) fn is_stray(&self, datagram: &[u8], now_ms: u64) -> bool {
        let is_initial = datagram.first().is_some_and(|first| first & 0xb0 == 0x80);
        let Some((to, _from)) = long_header_ids(datagram).filter(|_ids| is_initial) else {
            return false;
        };
        let Ok(to): Result<[u8; CHOSEN_ID_BYTES], _> = to.try_into() else { return false };
        self.0.get(&to).is_none_or(|shown_ms| shown_ms + KNOWN_MS < now_ms)
    }
}

/// Destination and source of a packet with a long header. Source: RFC 9000, section 17.2.
fn long_header_ids(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = datagram.split_first()?;
    if first & 0x80 == 0 {
        return None;
    }
    let (_version, rest) = rest.split_at_checked(4)?;
    let (length, rest) = rest.split_first()?;
    let (to, rest) = rest.split_at_checked(usize::from(*length))?;
    let (length, rest) = rest.split_first()?;
    Some((to, rest.get(..usize::from(*length))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of an Initial packet.
    fn long(to: &[u8], from: &[u8]) -> Vec<u8> {
        let lengths = [to.len(), from.len()].map(|length| u8::try_from(length).unwrap());
        let mut packet = vec![0xc3, 0, 0, 0, 1, lengths[0]];
        packet.extend_from_slice(to);
        packet.push(lengths[1]);
        packet.extend_from_slice(from);
        packet
    }

    #[test]
    fn only_initial_packets_to_an_id_that_was_not_shown_lately_are_stray() {
        let mut shown = ShownIds::default();
        shown.note_sent(&long(&[9; 20], &[1; 8]), 1000);
        assert!(!shown.is_stray(&long(&[1; 8], &[5; 8]), 1000 + KNOWN_MS), "an answer");
        assert!(shown.is_stray(&long(&[1; 8], &[5; 8]), 1001 + KNOWN_MS), "long given up");
        assert!(shown.is_stray(&long(&[2; 8], &[5; 8]), 1000), "for an earlier run");
        assert!(!shown.is_stray(&long(&[2; 20], &[5; 8]), 1000), "a new connection");
        assert!(!shown.is_stray(&[0x43, 1, 2, 3], 1000), "a short header");
        let mut handshake = long(&[2; 8], &[5; 8]);
        handshake[0] = 0xe3;
        assert!(!shown.is_stray(&handshake, 1000), "quinn drops it by itself");
        assert!(!shown.is_stray(&long(&[2; 8], &[])[..9], 1000), "cut short");
    }
}
