//! What the server asks of a connection beyond its bytes.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// A connection whose other end can be seen to hang up while bytes of it are still unread.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {
    /// Whether the peer has hung up, or said that it will send no more. One system call.
    fn has_hung_up(&self) -> bool;
}

impl Socket for TcpStream {
    fn has_hung_up(&self) -> bool {
        has_hung_up(self)
    }
}

impl Socket for UnixStream {
    fn has_hung_up(&self) -> bool {
        has_hung_up(self)
    }
}

fn has_hung_up(socket: &impl AsFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut asked = [PollFd::new(socket, PollFlags::RDHUP)];
    // A poll that fails tells nothing; the read that follows will.
    let found = poll(&mut asked, Some(&now)).unwrap_or(0);
    found > 0
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_peer_is_seen_to_hang_up_while_its_bytes_are_unread() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (far, near) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (far, (near, _)) = (far.unwrap(), near.unwrap());
        far.try_write(b"unread").unwrap();
        near.readable().await.unwrap();
        assert!(!near.has_hung_up());
        drop(far);
        assert!(near.has_hung_up());
        let (near, far) = UnixStream::pair().unwrap();
        far.try_write(b"unread").unwrap();
        assert!(!near.has_hung_up());
        drop(far);
        assert!(near.has_hung_up());
    }
}
