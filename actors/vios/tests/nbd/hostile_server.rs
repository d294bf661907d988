//! Our client and servers that lie, vanish, or answer in pieces.

use std::io::ErrorKind;

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use vioduct_vios::block::{Extent, Failure, Reply, Request};
use vioduct_vios::disk::{DeviceError, Disk};
use vioduct_vios::nbd::ReplyError;
use vioduct_vios::nbd::client::{
    Address, Config, ConnectError, LinkEnd, Remote, RequestError, TcpOptions,
};

/// Has flags, flush and write zeroes.
const FLAGS: u16 = 1 | 4 | 64;

struct Server<S> {
    socket: S,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Server<S> {
    /// Greets a client, with simple replies and a disk of `size` bytes in blocks of `block`.
    async fn greet(socket: S, size: u64, block: u32) -> Self {
        let mut server = Self { socket };
        server.say(&[b"NBDMAGICIHAVEOPT\0\x03"]).await;
        assert_eq!(server.bytes(4).await, [0, 0, 0, 3]);
        let (structured_reply, go, unsupported) = (8, 7, (1 << 31) + 1);
        assert_eq!(server.option().await, structured_reply);
        server.option_reply(structured_reply, unsupported, b"").await;
        assert_eq!(server.option().await, go);
        let export = [&[0, 0][..], &size.to_be_bytes(), &FLAGS.to_be_bytes()].concat();
        server.option_reply(go, 3, &export).await;
        let sizes = [block, 4096, 32 << 20].map(u32::to_be_bytes).concat();
        server.option_reply(go, 3, &[&[0, 3][..], &sizes].concat()).await;
        server.option_reply(go, 1, b"").await;
        server
    }

    async fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.socket.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    async fn say(&mut self, bytes: &[&[u8]]) {
        self.socket.write_all(&bytes.concat()).await.unwrap();
    }

    /// Reads an option, and gives its code.
    async fn option(&mut self) -> u32 {
        assert_eq!(self.bytes(8).await, b"IHAVEOPT");
        let option = self.socket.read_u32().await.unwrap();
        let length = self.socket.read_u32().await.unwrap();
        self.bytes(length.try_into().unwrap()).await;
        option
    }

    async fn option_reply(&mut self, option: u32, kind: u32, data: &[u8]) {
        let length = u32::try_from(data.len()).unwrap();
        let magic = 0x0003_e889_0455_65a9_u64;
        let head = [option.to_be_bytes(), kind.to_be_bytes(), length.to_be_bytes()].concat();
        self.say(&[&magic.to_be_bytes(), &head, data]).await;
    }

    /// The next request's cookie.
    async fn request(&mut self) -> u64 {
        self.bytes(8).await;
        let cookie = self.socket.read_u64().await.unwrap();
        self.bytes(12).await;
        cookie
    }

    async fn simple(&mut self, cookie: u64, error: u32, data: &[u8]) {
        let magic = 0x6744_6698_u32.to_be_bytes();
        self.say(&[&magic, &error.to_be_bytes(), &cookie.to_be_bytes(), data]).await;
    }
}

/// A client, and the server that it has connected to.
async fn connected(size: u64, block: u32) -> (Result<Remote, ConnectError>, Server<UnixStream>) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("nbd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let address = Address::Unix(path);
    let config = Config::default();
    let server = async {
        let (socket, _) = listener.accept().await.unwrap();
        Server::greet(socket, size, block).await
    };
    tokio::join!(Remote::connect(&address, &config), server)
}

fn read(length: u32) -> Request {
    Request::Read { extent: Extent { offset: 0, length } }
}

#[tokio::test]
async fn a_disk_that_makes_no_sense_is_not_taken() {
    let (remote, _server) = connected(1 << 20, 3).await;
    let expected = DeviceError::BlockMin { block: 3 };
    assert!(matches!(remote, Err(ConnectError::Device(error)) if error == expected));
    let (remote, _server) = connected(u64::MAX, 1).await;
    assert!(matches!(remote, Err(ConnectError::Device(DeviceError::Size { .. }))));
}

#[tokio::test]
async fn a_request_whose_answer_never_came_is_told_from_one_that_was_not_sent() {
    let (remote, mut server) = connected(1 << 30, 1).await;
    let remote = remote.unwrap();
    let vanish = async {
        server.request().await;
        drop(server);
    };
    let (answer, ()) = tokio::join!(remote.execute(Request::Flush), vanish);
    assert_eq!(answer, Err(RequestError::Unanswered(LinkEnd::HungUp)));
    assert_eq!(Failure::from(answer.unwrap_err()), Failure::Io);
    assert_eq!(remote.ended().await, LinkEnd::HungUp);
    let later = remote.execute(Request::Flush).await;
    assert_eq!(later, Err(RequestError::NotSent(LinkEnd::HungUp)), "it never connects again");
}

#[tokio::test]
async fn what_did_not_fit_into_the_socket_is_known_not_to_be_sent() {
    let (remote, mut server) = connected(1 << 30, 1).await;
    let remote = remote.unwrap();
    // More than any socket buffer: the second request stays behind it.
    let data = bytes::Bytes::from(vec![1; 32 << 20]);
    let write = Request::Write { offset: 0, data, fua: false };
    let vanish = async {
        server.request().await;
        drop(server);
    };
    let (first, second, ()) =
        tokio::join!(remote.execute(write), remote.execute(Request::Flush), vanish);
    assert!(matches!(first, Err(RequestError::Unanswered(_))), "{first:?}");
    assert!(matches!(second, Err(RequestError::NotSent(_))), "{second:?}");
}

#[tokio::test]
async fn an_answer_that_came_before_the_end_counts() {
    let (remote, mut server) = connected(1 << 30, 1).await;
    let remote = remote.unwrap();
    let answer_and_go = async {
        let cookie = server.request().await;
        server.simple(cookie, 0, b"data").await;
        drop(server);
    };
    let (answer, ()) = tokio::join!(remote.execute(read(4)), answer_and_go);
    assert_eq!(answer, Ok(Reply::Data(b"data"[..].into())));
}

#[tokio::test]
async fn a_reply_that_nobody_asked_for_ends_the_connection() {
    let (remote, mut server) = connected(1 << 30, 1).await;
    let remote = remote.unwrap();
    let lie = async {
        let cookie = server.request().await;
        server.simple(cookie + 1, 0, b"").await;
        // Reads until the client has hung up.
        assert_eq!(server.socket.read(&mut [0]).await.unwrap(), 0);
        cookie
    };
    let (answer, cookie) = tokio::join!(remote.execute(Request::Flush), lie);
    let end = LinkEnd::Garbage(ReplyError::Stray { cookie: cookie + 1 });
    assert_eq!(answer, Err(RequestError::Unanswered(end)));
}

#[tokio::test]
async fn errors_of_the_server_are_errors_of_the_disk() {
    let (remote, mut server) = connected(1 << 30, 1).await;
    let remote = remote.unwrap();
    for (code, failure) in [(28, Failure::NoSpace), (108, Failure::ShuttingDown)] {
        let refuse = async {
            let cookie = server.request().await;
            server.simple(cookie, code, b"").await;
        };
        let (answer, ()) = tokio::join!(remote.execute(read(512)), refuse);
        assert_eq!(answer, Err(RequestError::Device(failure)));
    }
    let fua = Request::Write { offset: 0, data: b"x"[..].into(), fua: true };
    let refused = Err(RequestError::Device(Failure::NotSupported));
    assert_eq!(remote.execute(fua).await, refused, "never offered, so never sent");
}

#[tokio::test]
async fn a_cut_leaves_no_socket_and_says_what_became_of_each_request() {
    let (remote, mut server) = connected(1 << 30, 1).await;
    let remote = remote.unwrap();
    let cut = async {
        server.request().await;
        assert_eq!(remote.cut().await, LinkEnd::Closed);
        assert_eq!(server.socket.read(&mut [0]).await.unwrap(), 0);
    };
    let (answer, ()) = tokio::join!(remote.execute(Request::Flush), cut);
    assert_eq!(answer, Err(RequestError::Unanswered(LinkEnd::Closed)));
    let later = remote.execute(Request::Flush).await;
    assert_eq!(later, Err(RequestError::NotSent(LinkEnd::Closed)));
}

/// How the stream ends that a server reads on after its client was cut off, with bytes of a long
/// write still in the client's kernel.
async fn end_of_a_cut_stream(zero_linger: bool) -> Result<usize, ErrorKind> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let tcp = TcpOptions { zero_linger, ..TcpOptions::default() };
    let config = Config { tcp, ..Config::default() };
    let server = async {
        let (socket, _) = listener.accept().await.unwrap();
        Server::greet(socket, 1 << 30, 1).await
    };
    let (remote, mut server) = tokio::join!(Remote::connect(&address, &config), server);
    let remote = remote.unwrap();
    let data = bytes::Bytes::from(vec![1; 32 << 20]);
    let write = Request::Write { offset: 0, data, fua: false };
    let cut = async {
        server.request().await;
        remote.cut().await;
    };
    let (answer, ()) = tokio::join!(remote.execute(write), cut);
    assert_eq!(answer, Err(RequestError::Unanswered(LinkEnd::Closed)));
    let mut rest = Vec::new();
    server.socket.read_to_end(&mut rest).await.map_err(|error| error.kind())
}

#[tokio::test]
async fn a_kernel_sends_nothing_more_of_a_connection_that_was_cut() {
    assert_eq!(end_of_a_cut_stream(true).await, Err(ErrorKind::ConnectionReset));
    let with_linger = end_of_a_cut_stream(false).await;
    assert!(with_linger.is_ok_and(|rest| rest > 0), "the option is what makes the difference");
}

#[tokio::test]
async fn a_client_that_closes_takes_its_leave() {
    let (remote, mut server) = connected(1 << 30, 1).await;
    let remote = remote.unwrap();
    let leave = async {
        let bytes = server.bytes(28).await;
        assert_eq!(bytes[4..8], [0, 0, 0, 2], "NBD_CMD_DISC");
        assert_eq!(server.socket.read(&mut [0]).await.unwrap(), 0);
    };
    tokio::join!(remote.close(), leave);
}

#[tokio::test]
async fn nobody_is_waited_for_who_does_not_greet() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("nbd.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let connect_timeout = std::time::Duration::from_millis(50);
    let config = Config { connect_timeout, ..Config::default() };
    let slow = Remote::connect(&Address::Unix(path), &config).await;
    assert!(matches!(slow, Err(ConnectError::Slow)));
    let nobody = Remote::connect(&Address::Unix(dir.path().join("none")), &config).await;
    assert!(matches!(nobody, Err(ConnectError::Connection(_))));
}
