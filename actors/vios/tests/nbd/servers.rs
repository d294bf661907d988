//! Our client and the servers that others wrote.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use tempfile::TempDir;
use vioduct_vios::block::{Extent, Failure, Reply, Request};
use vioduct_vios::disk::Disk;
use vioduct_vios::nbd::client::{Address, Config, Remote, RequestError};

use crate::tool;

const SIZE: u64 = 64 << 20;

/// Writes, reads, flushes, trims and asks, as far as the server offers it.
async fn use_disk(disk: &Remote) {
    let device = disk.device();
    assert_eq!(device.size, SIZE);
    let data: Vec<u8> = (0..=252).cycle().take(1 << 20).collect();
    let fua = device.abilities.can_fua;
    let write = Request::Write { offset: 4096, data: data.clone().into(), fua };
    assert_eq!(disk.execute(write).await, Ok(Reply::Done));
    let extent = Extent { offset: 0, length: 2 << 20 };
    let expected = [vec![0; 4096], data, vec![0; (1 << 20) - 4096]].concat();
    let read = disk.execute(Request::Read { extent }).await;
    assert!(read == Ok(Reply::Data(expected.into())), "what was written, between zeroes");
    assert_eq!(disk.execute(Request::Flush).await, Ok(Reply::Done));
    let zeroes = Request::WriteZeroes { extent, fua, may_punch: true, only_fast: false };
    assert_eq!(disk.execute(zeroes).await, Ok(Reply::Done));
    let read = disk.execute(Request::Read { extent }).await;
    assert!(read == Ok(Reply::Data(vec![0; 2 << 20].into())));
    let Ok(Reply::Status(runs)) = disk.execute(Request::Status { extent }).await else {
        panic!("no status")
    };
    assert!(!runs.is_empty());
    let past = Extent { offset: SIZE, length: 512 };
    let refused = disk.execute(Request::Read { extent: past }).await;
    assert_eq!(refused, Err(RequestError::Device(Failure::Invalid)));
    let many = (0..200_u64).map(|block| async move {
        let data = block.to_be_bytes().repeat(512);
        let offset = block * 4096;
        let write = Request::Write { offset, data: data.clone().into(), fua: false };
        assert_eq!(disk.execute(write).await, Ok(Reply::Done));
        let extent = Extent { offset, length: 4096 };
        assert!(disk.execute(Request::Read { extent }).await == Ok(Reply::Data(data.into())));
    });
    futures_util::future::join_all(many).await;
}

#[tokio::test]
async fn qemu_nbd_serves_our_client() {
    tool::run("qemu-nbd", &["--version"]).await;
    let dir = TempDir::new().unwrap();
    let (image, socket) = (dir.path().join("disk.img"), dir.path().join("nbd.sock"));
    File::create(&image).unwrap().set_len(SIZE).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    let args = ["-f", "raw", "-x", "lu0", image.to_str().unwrap()];
    let mut server = tool::start("qemu-nbd", &args, listener);
    let config = Config { export: "lu0".to_owned(), ..Config::default() };
    let disk = Remote::connect(&Address::Unix(socket), &config).await.unwrap();
    assert!(disk.device().abilities.can_status);
    use_disk(&disk).await;
    disk.close().await;
    // It leaves with its last client.
    assert!(server.wait().await.unwrap().success());
}

#[tokio::test]
async fn nbdkit_serves_our_client() {
    tool::run("nbdkit", &["--version"]).await;
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("nbd.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let _server = tool::start("nbdkit", &["-f", "memory", "64M"], listener);
    let disk = Remote::connect(&Address::Unix(socket), &Config::default()).await.unwrap();
    use_disk(&disk).await;
    disk.close().await;
}

#[tokio::test]
async fn nbdkit_serves_our_client_over_tcp() {
    tool::run("nbdkit", &["--version"]).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let _server = tool::start("nbdkit", &["-f", "memory", "64M"], listener);
    let disk = Remote::connect(&address, &Config::default()).await.unwrap();
    use_disk(&disk).await;
    disk.close().await;
}
