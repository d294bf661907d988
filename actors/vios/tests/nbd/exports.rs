//! Several disks behind one TCP address.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::net::TcpListener;
use vioduct_vios::block::{Extent, Reply, Request};
use vioduct_vios::disk::Disk;
use vioduct_vios::file::{self, FileDisk};
use vioduct_vios::nbd::client::{self, Address, ConnectError, Remote};
use vioduct_vios::nbd::server::{Config, Listener, serve};
use vioduct_vios::nbd::{HandshakeError, Refusal};

use crate::tool;

#[tokio::test]
async fn each_name_leads_to_its_own_disk() {
    let dir = TempDir::new().unwrap();
    let mut disks = BTreeMap::new();
    for name in ["lu0", "lu1"] {
        let path = dir.path().join(name);
        File::create(&path).unwrap().set_len(1 << 20).unwrap();
        let disk = FileDisk::open(&path, file::Config::default()).unwrap();
        disks.insert(name.to_owned(), Arc::new(disk));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let forever = std::future::pending();
    tokio::spawn(serve(Listener::Tcp(listener), disks, Config::default(), forever));
    let connect = async |name: &str| {
        let config = client::Config { export: name.to_owned(), ..client::Config::default() };
        Remote::connect(&Address::Tcp(address), &config).await
    };
    for (name, byte) in [("lu0", 1), ("lu1", 2)] {
        let disk = connect(name).await.unwrap();
        let write = Request::Write { offset: 0, data: vec![byte; 4096].into(), fua: false };
        assert_eq!(disk.execute(write).await, Ok(Reply::Done));
    }
    let disk = connect("lu0").await.unwrap();
    let read = disk.execute(Request::Read { extent: Extent { offset: 0, length: 4096 } }).await;
    assert!(read == Ok(Reply::Data(vec![1; 4096].into())));
    for name in ["", "lu2"] {
        let refused = connect(name).await;
        assert!(matches!(
            refused,
            Err(ConnectError::Handshake(HandshakeError::Refused { refusal: Refusal::Unknown }))
        ));
    }
    let listed = tool::run("nbdinfo", &["--list", &format!("nbd://{address}")]).await;
    assert!(listed.contains("export=\"lu0\"") && listed.contains("export=\"lu1\""), "{listed}");
}
