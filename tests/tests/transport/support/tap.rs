//! Reads off the wire which key exchange two sides agree on, as anyone on the path can: the first
//! packets of QUIC are protected by keys that follow from what they show (RFC 9001, section 5.2).
#![expect(clippy::indexing_slicing, reason = "what is not as expected here fails the test")]

use std::net::SocketAddr;

use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{Keys, Version};
use rustls::{NamedGroup, Side};
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::within;

/// Carries datagrams between one dialler and one listener, until it is dropped.
pub(crate) struct Tap {
    pub(crate) addr: SocketAddr,
    group: oneshot::Receiver<NamedGroup>,
    carrying: JoinHandle<()>,
}

impl Tap {
    pub(crate) async fn before(listener: SocketAddr) -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        let addr = socket.local_addr().unwrap();
        let (tell, group) = oneshot::channel();
        Self { addr, group, carrying: tokio::spawn(carry(socket, listener, tell)) }
    }

    /// The group that the listener's server hello names.
    pub(crate) async fn key_exchange(&mut self) -> NamedGroup {
        within(&mut self.group).await.expect("the listener answers")
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

async fn carry(socket: UdpSocket, listener: SocketAddr, tell: oneshot::Sender<NamedGroup>) {
    let mut buffer = vec![0; 1 << 16];
    let (mut dialler, mut keys, mut tell) = (None, None, Some(tell));
    loop {
        let (bytes, from) = socket.recv_from(&mut buffer).await.unwrap();
        let datagram = &buffer[..bytes];
        let to = if from == listener {
            let group = keys.as_ref().and_then(|keys| server_hello_group(datagram, keys));
            if let Some((tell, group)) = group.and_then(|group| Some((tell.take()?, group))) {
                tell.send(group).expect("the tap lives");
            }
            dialler.expect("a listener only answers")
        } else {
            dialler = Some(from);
            keys.get_or_insert_with(|| initial_keys(datagram));
            listener
        };
        socket.send_to(datagram, to).await.unwrap();
    }
}

/// The dialler's view of the keys of initial packets; its first one names their seed.
fn initial_keys(datagram: &[u8]) -> Keys {
    let mut rest = Bytes(&datagram[5..]);
    let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap().quic_suite().unwrap();
    let seed_bytes = rest.number(1);
    suite.keys(rest.take(seed_bytes), Side::Client, Version::V1)
}

/// The key exchange group of a server hello at the beginning of a listener's datagram, if there is
/// one. A hybrid share does not fit one packet, but what stands before it does.
fn server_hello_group(datagram: &[u8], keys: &Keys) -> Option<NamedGroup> {
    if datagram[0] & 0xb0 != 0x80 {
        return None; // Not an initial packet; one may hide its second bit (RFC 9287).
    }
    let payload = initial_payload(datagram, keys);
    let mut hello = Bytes(crypto_from_start(Bytes(&payload))?);
    assert_eq!(hello.number(1), 2, "a listener begins with its server hello");
    hello.take(3 + 2 + 32);
    let session_bytes = hello.number(1);
    hello.take(session_bytes + 2 + 1 + 2);
    loop {
        let (extension, bytes) = (hello.number(2), hello.number(2));
        if extension == 51 {
            return Some(NamedGroup::from(u16::try_from(hello.number(2)).unwrap()));
        }
        hello.take(bytes);
    }
}

/// Takes the protection off an initial packet (RFC 9001, sections 5.3 and 5.4).
fn initial_payload(datagram: &[u8], keys: &Keys) -> Vec<u8> {
    let mut packet = datagram.to_vec();
    let mut rest = Bytes(&datagram[5..]);
    for _connection_id in 0..2 {
        let bytes = rest.number(1);
        rest.take(bytes);
    }
    let token_bytes = rest.varint();
    rest.take(token_bytes);
    let protected_bytes = rest.varint();
    let number_at = datagram.len() - rest.0.len();
    let (header, protected) = packet.split_at_mut(number_at);
    let (number, sampled) = protected.split_at_mut(4);
    let (first, sample) = (&mut header[0], &sampled[..keys.remote.header.sample_len()]);
    keys.remote.header.decrypt_in_place(sample, first, number).unwrap();
    let number_bytes = usize::from(*first & 3) + 1;
    let number = Bytes(number).number(number_bytes);
    let end = number_at + protected_bytes;
    let (header, payload) = packet[..end].split_at_mut(number_at + number_bytes);
    let number = u64::try_from(number).unwrap();
    let plain = keys.remote.packet.decrypt_in_place(number, header, payload);
    plain.expect("a listener's initial packet").to_vec()
}

/// The first bytes of the TLS messages, if these frames carry them.
fn crypto_from_start(mut frames: Bytes<'_>) -> Option<&[u8]> {
    while !frames.0.is_empty() {
        match frames.varint() {
            0 | 1 => {} // Padding, and a ping.
            2 => {
                let [_largest, _delay, ranges, _first] = [(); 4].map(|()| frames.varint());
                for _gap_and_range in 0..2 * ranges {
                    frames.varint();
                }
            }
            6 => {
                let (offset, bytes) = (frames.varint(), frames.varint());
                let crypto = frames.take(bytes);
                if offset == 0 {
                    return Some(crypto);
                }
            }
            other => panic!("frame {other} in an initial packet"),
        }
    }
    None
}

/// Bytes not read yet; big-endian numbers.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes);
        self.0 = rest;
        taken
    }

    fn number(&mut self, bytes: usize) -> usize {
        self.take(bytes).iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
    }

    fn varint(&mut self) -> usize {
        let bytes = 1 << (self.0[0] >> 6);
        self.number(bytes) & ((1 << (8 * bytes - 2)) - 1)
    }
}
