//! The tables of disks: `[[vios]]`, `[[adapter]]`, `[storage]`, `[phyp]`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use vioduct_certs::identity::NodeName;
use vioduct_transport::TransportConfig;
use vioduct_vios::dsa::limits::DsaLimits;
use vioduct_vios::lpar::OutsideLu;
use vioduct_vios::outside::{Export, NoServer, OutsideConfig};
use vioduct_vios::redirect::limits::{
    InitiatorLimits, LimitError, OwnerLimits, RelayLimits, StoreLimits,
};
use vioduct_vios::redirect::name::{LuId, ViosId};
use vioduct_vios::roles::layout::{Layout, Place};
use vioduct_vios::roles::phyp::{DISKS_MAX, DiskConfig, Front, PhypConfig};
use vioduct_vios::roles::storage::StorageConfig;
use vioduct_vios::roles::vios::{AdapterConfig, ViosConfig};

use super::WrongSetting;
use super::transport::{millis, set};

/// Where it is kept who owns LUs on storages outside of the cluster.
const OWNERS: &str = "owners";
/// A fabric that is back is dialled within this time.
const FABRIC_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A VIOS gives its connection up after so many times what its DSA takes for silence: later than
/// the DSA gives the path up, and soon enough to dial a storage that was killed and runs again.
const IDLE_SILENCES: f64 = 2.5;

/// What a node does for disks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskRoles {
    /// The volume that it serves.
    pub storage: Option<StorageConfig>,
    /// The VIOS that runs on it.
    pub vios: Option<ViosConfig>,
    /// The disks of clients that it carries.
    pub phyp: Option<PhypConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawVios {
    id: u32,
    node: NodeName,
    cec: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAdapter {
    name: Option<String>,
    listen: Option<SocketAddr>,
    storage: NodeName,
    addr: SocketAddr,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOutside {
    name: Option<String>,
    server: String,
    #[serde(default)]
    export: Vec<RawExport>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExport {
    lu: u64,
    #[serde(default)]
    name: String,
    #[serde(default)]
    sole: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStorage {
    volume: PathBuf,
    listen: RawPorts,
    #[serde(default)]
    lu: Vec<RawLu>,
}

/// One port, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawPorts {
    One(SocketAddr),
    Several(Vec<SocketAddr>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLu {
    id: u64,
    size: RawSize,
}

/// Bytes, or a text with a unit.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum RawSize {
    Bytes(u64),
    Text(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPhyp {
    cec: u32,
    #[serde(default)]
    disk: Vec<RawDisk>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDisk {
    lu: u64,
    socket: String,
    #[serde(default)]
    outside: bool,
    request_life_ms: Option<u32>,
}

/// Times are in milliseconds; ranges stand at [`DsaLimits`].
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDsa {
    beat_every_ms: Option<u32>,
    silence_max_ms: Option<u32>,
    slow_round_trip_ms: Option<u32>,
    slow_for_ms: Option<u32>,
    slow_device_ms: Option<u32>,
    steady_for_ms: Option<u32>,
    steady_max_ms: Option<u32>,
}

/// All of them, as the file has them.
pub(super) struct RawDisks {
    pub(super) vios: Vec<RawVios>,
    pub(super) adapter: Vec<RawAdapter>,
    pub(super) outside: Option<RawOutside>,
    pub(super) dsa: RawDsa,
    pub(super) storage: Option<RawStorage>,
    pub(super) phyp: Option<RawPhyp>,
}

pub(super) fn wrong(
    key: impl Into<String>,
    value: impl ToString,
    bound: impl ToString,
) -> WrongSetting {
    WrongSetting { key: key.into(), value: value.to_string(), bound: bound.to_string() }
}

impl RawDisks {
    /// What the node `name`, which listens on `host`, does. Paths lie relative to `home`.
    pub(super) fn checked(
        self,
        name: &NodeName,
        host: IpAddr,
        home: &Path,
    ) -> Result<DiskRoles, WrongSetting> {
        let Self { vios, adapter, outside, dsa, storage, phyp } = self;
        let place = |raw: RawVios| Place { vios: ViosId(raw.id), node: raw.node, cec: raw.cec };
        let layout = Layout::new(vios.into_iter().map(place).collect()).map_err(|error| {
            wrong("vios", error, "a list of VIOSes with numbers and nodes of their own")
        })?;
        let dsa = dsa.checked()?;
        let outside = outside.map(RawOutside::checked).transpose()?;
        let vios = own_vios(&layout, adapter, outside, name, host)?.map(|vios| {
            let fabric = fabric_of(&dsa);
            ViosConfig { dsa, fabric, ..vios }
        });
        let storage = storage.map(|raw| raw.checked(&layout, home)).transpose()?;
        let phyp = phyp.map(|raw| raw.checked(layout, home)).transpose()?;
        Ok(DiskRoles { storage, vios, phyp })
    }
}

fn fabric() -> TransportConfig {
    TransportConfig { backoff_max: FABRIC_BACKOFF_MAX, ..TransportConfig::default() }
}

/// A VIOS's end of the fabric; the storage's own time-out is the longest there is.
fn fabric_of(dsa: &DsaLimits) -> TransportConfig {
    let fabric = fabric();
    let idle_timeout = dsa.silence_max.mul_f64(IDLE_SILENCES).min(fabric.idle_timeout);
    let keep_alive = (idle_timeout / 5).min(fabric.keep_alive);
    TransportConfig { keep_alive, idle_timeout, ..fabric }
}

fn own_vios(
    layout: &Layout,
    adapters: Vec<RawAdapter>,
    outside: Option<OutsideConfig>,
    name: &NodeName,
    host: IpAddr,
) -> Result<Option<ViosConfig>, WrongSetting> {
    let Some(own) = layout.on(name).cloned() else {
        let bound = "left out, since [[vios]] names no VIOS on this node";
        if let Some(adapter) = adapters.first() {
            return Err(wrong("adapter", adapter.addr, bound));
        }
        return outside
            .map_or(Ok(None), |outside| Err(wrong("outside.server", outside.server, bound)));
    };
    let bound = "at least 1, or an [outside] in their place, since [[vios]] names this node";
    if adapters.is_empty() == outside.is_none() {
        return Err(wrong("the number of adapters", adapters.len(), bound));
    }
    let mut checked: Vec<AdapterConfig> = Vec::with_capacity(adapters.len());
    for (number, RawAdapter { name, listen, storage, addr }) in (1..).zip(adapters) {
        let name = name.unwrap_or_else(|| format!("adapter{number}"));
        if checked.iter().any(|other| other.name == name) {
            return Err(wrong("adapter.name", name, "another name than every other adapter's"));
        }
        if checked.iter().any(|other| other.addr == addr) {
            return Err(wrong("adapter.addr", addr, "another address than every other adapter's"));
        }
        let listen = listen.unwrap_or(SocketAddr::new(host, 0));
        checked.push(AdapterConfig { name, listen, storage, addr });
    }
    let (limits, dsa) = (RelayLimits::default(), DsaLimits::default());
    let (layout, adapters) = (layout.clone(), checked);
    Ok(Some(ViosConfig { own, layout, adapters, outside, limits, dsa, fabric: fabric() }))
}

impl RawOutside {
    fn checked(self) -> Result<OutsideConfig, WrongSetting> {
        let Self { name, server, export } = self;
        let bound = "unix:/PATH or tcp:ADDR:PORT";
        let server = server
            .parse()
            .map_err(|NoServer(text)| wrong("outside.server", format!("{text:?}"), bound))?;
        if !(1..=DISKS_MAX).contains(&export.len()) {
            let bound = format!("1 to {DISKS_MAX}");
            return Err(wrong("the number of outside.export", export.len(), bound));
        }
        let mut exports = BTreeMap::new();
        for RawExport { lu, name, sole } in export {
            if exports.insert(LuId(lu), Export { name, is_sole: sole }).is_some() {
                return Err(wrong("outside.export.lu", lu, "another LU than every other export's"));
            }
        }
        let name = name.unwrap_or_else(|| "outside".to_owned());
        Ok(OutsideConfig { name, server, exports, limits: InitiatorLimits::default() })
    }
}

impl RawDsa {
    fn checked(self) -> Result<DsaLimits, WrongSetting> {
        let mut limits = DsaLimits::default();
        set(&mut limits.beat_every, self.beat_every_ms.map(millis));
        set(&mut limits.silence_max, self.silence_max_ms.map(millis));
        set(&mut limits.slow_round_trip, self.slow_round_trip_ms.map(millis));
        set(&mut limits.slow_for, self.slow_for_ms.map(millis));
        set(&mut limits.slow_device, self.slow_device_ms.map(millis));
        set(&mut limits.steady_for, self.steady_for_ms.map(millis));
        set(&mut limits.steady_max, self.steady_max_ms.map(millis));
        let shown = |nanos: u128| format!("{} ms", nanos / 1_000_000);
        limits.validate().map_err(|LimitError { name, value, min, max }| {
            let bound = format!("{} to {}", shown(min), shown(max));
            wrong(format!("dsa.{name}_ms"), shown(value), bound)
        })?;
        Ok(limits)
    }
}

impl RawStorage {
    fn checked(self, layout: &Layout, home: &Path) -> Result<StorageConfig, WrongSetting> {
        let Self { volume, listen, lu } = self;
        let ports = match listen {
            RawPorts::One(port) => vec![port],
            RawPorts::Several(ports) => ports,
        };
        let bound = "an address with a port from 1 to 65535, or a list of 1 to 256 of them";
        if let Some(port) = ports.iter().find(|port| port.port() == 0) {
            return Err(wrong("storage.listen", port, bound));
        }
        if !(1..=256).contains(&ports.len()) {
            return Err(wrong("storage.listen", format!("{} addresses", ports.len()), bound));
        }
        let mut lus = BTreeMap::new();
        for RawLu { id, size } in lu {
            let size = size.bytes().map_err(|shown| {
                let bound = "a number of bytes, or a text such as \"512MiB\", \"10GiB\", \"2TiB\"";
                wrong(format!("storage.lu.size of LU {id}"), shown, bound)
            })?;
            if lus.insert(LuId(id), size).is_some() {
                return Err(wrong("storage.lu.id", id, "another number than every other LU's"));
            }
        }
        Ok(StorageConfig {
            dir: home.join(volume),
            ports,
            lus,
            vioses: layout.numbers(),
            limits: StoreLimits::default(),
            fabric: fabric(),
        })
    }
}

impl RawSize {
    pub(super) fn bytes(self) -> Result<u64, String> {
        let text = match self {
            Self::Bytes(bytes) => return Ok(bytes),
            Self::Text(text) => text,
        };
        let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
        let parsed = units.into_iter().find_map(|(unit, shift)| {
            let count: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
            count.checked_mul(1 << shift)
        });
        parsed.ok_or_else(|| format!("{text:?}"))
    }
}

impl RawPhyp {
    fn checked(self, layout: Layout, home: &Path) -> Result<PhypConfig, WrongSetting> {
        let Self { cec, disk } = self;
        if disk.len() > DISKS_MAX {
            let bound = format!("at most {DISKS_MAX}");
            return Err(wrong("the number of phyp.disk", disk.len(), bound));
        }
        let mut disks: Vec<DiskConfig> = Vec::with_capacity(disk.len());
        for RawDisk { lu, socket, outside, request_life_ms } in disk {
            let Some(front) = front(&socket, home) else {
                let key = format!("phyp.disk.socket of LU {lu}");
                return Err(wrong(key, format!("{socket:?}"), "unix:PATH or tcp:ADDR:PORT"));
            };
            let lu = LuId(lu);
            if disks.iter().any(|other| other.lu == lu || other.front == front) {
                let bound = "another LU and another socket than every other disk's";
                return Err(wrong("phyp.disk", format!("LU {} at {socket}", lu.0), bound));
            }
            if let Some(millis) = request_life_ms.filter(|_| !outside) {
                let bound = "left out, since the disk has no outside = true";
                return Err(wrong("phyp.disk.request_life_ms", millis, bound));
            }
            let outside = outside.then(|| OutsideLu {
                records: home.join(OWNERS),
                request_life: request_life_ms.map(millis),
            });
            disks.push(DiskConfig { lu, front, outside });
        }
        Ok(PhypConfig { cec, layout, disks, limits: OwnerLimits::default() })
    }
}

/// A socket; a path lies relative to `home`.
fn front(text: &str, home: &Path) -> Option<Front> {
    match text.strip_prefix("unix:") {
        Some("") => None,
        Some(path) => Some(Front::Unix(std::path::absolute(home.join(path)).ok()?)),
        None => text.parse().ok(),
    }
}
