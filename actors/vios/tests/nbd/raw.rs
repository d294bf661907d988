//! A client that sends what it is told, and a server's side for the same purpose.
//!
//! The bytes are written out here once more, so that a mistake in ours shows.

use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

pub(crate) const GO: u32 = 7;
pub(crate) const READ: u16 = 0;
pub(crate) const WRITE: u16 = 1;
pub(crate) const DISC: u16 = 2;
pub(crate) const FLUSH: u16 = 3;

pub(crate) struct Raw {
    pub(crate) socket: UnixStream,
}

impl Raw {
    pub(crate) async fn connect(path: &Path) -> Self {
        Self { socket: UnixStream::connect(path).await.unwrap() }
    }

    /// Connects, and goes into transmission with simple replies.
    pub(crate) async fn go(path: &Path) -> Self {
        let mut raw = Self::connect(path).await;
        raw.greet().await;
        raw.option(GO, &[&3_u32.to_be_bytes()[..], b"lu0", &[0, 0]].concat()).await;
        while raw.option_reply().await.0 != 1 {}
        raw
    }

    pub(crate) async fn greet(&mut self) {
        assert_eq!(self.bytes(18).await, b"NBDMAGICIHAVEOPT\0\x03");
        self.socket.write_u32(3).await.unwrap();
    }

    pub(crate) async fn option(&mut self, option: u32, data: &[u8]) {
        let length = u32::try_from(data.len()).unwrap();
        let head = [b"IHAVEOPT", &option.to_be_bytes()[..], &length.to_be_bytes()].concat();
        self.socket.write_all(&[&head, data].concat()).await.unwrap();
    }

    /// Type and data of a reply to an option.
    pub(crate) async fn option_reply(&mut self) -> (u32, Vec<u8>) {
        assert_eq!(self.socket.read_u64().await.unwrap(), 0x0003_e889_0455_65a9);
        let _option = self.socket.read_u32().await.unwrap();
        let kind = self.socket.read_u32().await.unwrap();
        let length = self.socket.read_u32().await.unwrap();
        (kind, self.bytes(length.try_into().unwrap()).await)
    }

    pub(crate) async fn request(&mut self, command: u16, cookie: u64, offset: u64, length: u32) {
        self.socket.write_all(&request(command, cookie, offset, length)).await.unwrap();
    }

    pub(crate) async fn write(&mut self, cookie: u64, offset: u64, data: &[u8]) {
        let length = u32::try_from(data.len()).unwrap();
        let bytes = [&request(WRITE, cookie, offset, length), data].concat();
        self.socket.write_all(&bytes).await.unwrap();
    }

    /// Error and cookie of a simple reply.
    pub(crate) async fn reply(&mut self) -> (u32, u64) {
        assert_eq!(self.socket.read_u32().await.unwrap(), 0x6744_6698);
        (self.socket.read_u32().await.unwrap(), self.socket.read_u64().await.unwrap())
    }

    pub(crate) async fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.socket.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    /// Waits until the other side has closed the connection, and gives what it still said.
    pub(crate) async fn closed(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end as well.
        drop(self.socket.read_to_end(&mut rest).await);
        rest
    }
}

/// The bytes before a request's data.
pub(crate) fn request(command: u16, cookie: u64, offset: u64, length: u32) -> Vec<u8> {
    let mut bytes = vec![0x25, 0x60, 0x95, 0x13, 0, 0];
    bytes.extend(command.to_be_bytes());
    bytes.extend(cookie.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes
}
