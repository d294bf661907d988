//! A service with a disk of its own that survives the loss of a fabric: a storage, two VIOSes and
//! the service's node, here all in one process.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vioduct_certs::UnixTime;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::{Role, Roles};
use vioduct_runtime::Node;
use vioduct_transport::TransportConfig;
use vioduct_vios::disk::Disk;
use vioduct_vios::dsa::limits::DsaLimits;
use vioduct_vios::lpar::{LparConfig, LparDisk};
use vioduct_vios::redirect::limits::{OwnerLimits, RelayLimits, StoreLimits};
use vioduct_vios::redirect::name::{LuId, ViosId};
use vioduct_vios::roles::layout::{Layout, Layouts, Place};
use vioduct_vios::roles::storage::{StorageConfig, StorageRole};
use vioduct_vios::roles::vios::{AdapterConfig, ViosConfig, ViosRole};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const LU: LuId = LuId(8);
const SIZE: u64 = 16 << 20;
const SOON: Duration = Duration::from_secs(20);
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

async fn node(ca: &mut DevCa, name: &str, role: Role) -> Result<Node> {
    let credentials = ca.node(name, Roles::from_iter([role]))?;
    Ok(Node::builder(Arc::new(credentials)).workers(1).start().await?)
}

async fn vios(node: &Node, vioses: &Layouts, storage: SocketAddr) -> Result<ViosRole> {
    let (name, host) = ("fcs0".to_owned(), "storage".parse()?);
    let adapters = vec![AdapterConfig { name, listen: ANY, storage: host, addr: storage }];
    let (limits, dsa) = (RelayLimits::default(), DsaLimits::default());
    let fabric = TransportConfig::default();
    let config = ViosConfig { adapters, outside: None, limits, dsa, fabric };
    Ok(ViosRole::start(node, vioses, config).await?)
}

#[tokio::main]
async fn main() -> Result<()> {
    let dir = tempfile::TempDir::new()?;
    let mut ca = DevCa::new("outside", UnixTime::now())?;
    let place = |vios, node: &str| -> Result<Place> {
        Ok(Place { vios: ViosId(vios), node: node.parse()?, cec: 1 })
    };
    let layout = Layout::new(vec![place(1, "a")?, place(2, "b")?])?;
    let vioses = Layouts::from(layout.clone());

    let storage_node = node(&mut ca, "storage", Role::Storage).await?;
    let storage = StorageConfig {
        dir: dir.path().join("volume"),
        ports: vec![ANY],
        lus: BTreeMap::from([(LU, SIZE)]),
        limits: StoreLimits::default(),
        fabric: TransportConfig::default(),
    };
    let storage = StorageRole::start(&storage_node, &vioses, storage).await?;
    let fabric = storage.fabrics().first().ok_or("no fabric")?.local_addr()?;
    let (a, b) = (node(&mut ca, "a", Role::Vios).await?, node(&mut ca, "b", Role::Vios).await?);
    let (vios_a, vios_b) = (vios(&a, &vioses, fabric).await?, vios(&b, &vioses, fabric).await?);

    let service = node(&mut ca, "service", Role::Phyp).await?;
    for other in [&storage_node, &a, &b] {
        service.connect(other.name().clone(), other.local_addr()?).await?;
    }
    a.connect(b.name().clone(), b.local_addr()?).await?;
    let entries = layout.entries(1, LU.0);
    let (client, limits) = (String::new(), OwnerLimits::default());
    let config = LparConfig { lu: LU, client, entries, limits, outside: None };
    let disk = LparDisk::open(&service, config, SOON).await?;

    for block in 0..200_u64 {
        let data = Bytes::from(block.to_le_bytes().repeat(512));
        disk.write(block * 4096, data).await?;
        if block == 100 {
            disk.flush().await?;
            // The cable of a's adapter is pulled.
            for fabric in vios_a.fabrics() {
                fabric.close().await;
            }
        }
    }
    for block in 0..200_u64 {
        let data = disk.read(block * 4096, 4096).await?;
        assert_eq!(data, block.to_le_bytes().repeat(512), "block {block}");
    }
    let figures = disk.figures(SOON).await?;
    assert!(figures.paths_lost >= 1, "{figures:?}");
    println!("200 blocks written and read over a lost fabric");

    disk.close(SOON).await;
    service.shutdown(SOON).await;
    vios_b.close().await;
    storage.close().await;
    Ok(())
}
