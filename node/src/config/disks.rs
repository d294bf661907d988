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
use super::cm::CmSettings;
use super::size::ByteSize;
use super::transport::{millis, set};

/// Where it is kept who owns LUs on storages outside of the cluster.
const OWNERS: &str = "owners";
/// Where clients find disks, in the data directory.
const SOCKETS: &str = "sockets";
/// A fabric that is back is dialled within this time.
const FABRIC_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A VIOS gives its connection up after so many times what its DSA takes for silence: later than
/// the DSA gives the path up, and soon enough to dial a storage that was killed and runs again.
const IDLE_SILENCES: f64 = 2.5;

/// What a node does for disks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskRoles {
    /// The VIOSes of the cluster, if the file has them.
    pub layout: Layout,
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

/// The node that a file is for.
pub(super) struct Site<'a> {
    pub(super) name: &'a NodeName,
    /// Where it listens.
    pub(super) host: IpAddr,
    /// Where its file lies: paths are relative to it.
    pub(super) home: &'a Path,
    pub(super) data_dir: &'a Path,
    pub(super) cluster: Option<&'a CmSettings>,
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
    /// What a node does. In a cluster, the database has what is left out here.
    pub(super) fn checked(self, site: &Site<'_>) -> Result<DiskRoles, WrongSetting> {
        if site.cluster.is_some() {
            self.leaves_to_database()?;
        }
        let Self { vios, adapter, outside, dsa, storage, phyp } = self;
        let place = |raw: RawVios| Place { vios: ViosId(raw.id), node: raw.node, cec: raw.cec };
        let layout = Layout::new(vios.into_iter().map(place).collect()).map_err(|error| {
            wrong("vios", error, "a list of VIOSes with numbers and nodes of their own")
        })?;
        let dsa = dsa.checked()?;
        let outside = outside.map(RawOutside::checked).transpose()?;
        let vios = own_vios(&layout, adapter, outside, site)?.map(|vios| {
            let fabric = fabric_of(&dsa);
            ViosConfig { dsa, fabric, ..vios }
        });
        let storage = storage.map(|raw| raw.checked(site.home)).transpose()?;
        let phyp = phyp.map(|raw| raw.checked(site)).transpose()?;
        Ok(DiskRoles { layout, storage, vios, phyp })
    }

    /// What the cluster's database has, no file may say otherwise.
    fn leaves_to_database(&self) -> Result<(), WrongSetting> {
        let bound = |mend: &str| format!("left out, since [cm] has it from the database: {mend}");
        if let Some(vios) = self.vios.first() {
            return Err(wrong("vios", &vios.node, bound("`vioduct vios add`")));
        }
        if let Some(lu) = self.storage.iter().flat_map(|storage| &storage.lu).next() {
            return Err(wrong("storage.lu.id", lu.id, bound("`vioduct lu create`")));
        }
        let disks = self.phyp.iter().flat_map(|phyp| &phyp.disk);
        match disks.filter(|disk| !disk.outside).map(|disk| disk.lu).next() {
            Some(lu) => Err(wrong("phyp.disk.lu", lu, bound("`vioduct vtd create`"))),
            None => Ok(()),
        }
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
    site: &Site<'_>,
) -> Result<Option<ViosConfig>, WrongSetting> {
    let (is_vios, bound) = match site.cluster {
        Some(cm) => (cm.cec.is_some(), "left out, since [cm] has no cec for a VIOS"),
        None => {
            let bound = "left out, since [[vios]] names no VIOS on this node";
            (layout.on(site.name).is_some(), bound)
        }
    };
    if !is_vios {
        if let Some(adapter) = adapters.first() {
            return Err(wrong("adapter", adapter.addr, bound));
        }
        return outside
            .map_or(Ok(None), |outside| Err(wrong("outside.server", outside.server, bound)));
    }
    if adapters.is_empty() && outside.is_none() && site.cluster.is_some() {
        // It registers, and serves nobody.
        return Ok(None);
    }
    let bound = "at least 1, or an [outside] in their place, since the node has a VIOS";
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
        let listen = listen.unwrap_or(SocketAddr::new(site.host, 0));
        checked.push(AdapterConfig { name, listen, storage, addr });
    }
    let (limits, dsa) = (RelayLimits::default(), DsaLimits::default());
    Ok(Some(ViosConfig { adapters: checked, outside, limits, dsa, fabric: fabric() }))
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
    fn checked(self, home: &Path) -> Result<StorageConfig, WrongSetting> {
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
            limits: StoreLimits::default(),
            fabric: fabric(),
        })
    }
}

impl RawSize {
    pub(super) fn bytes(self) -> Result<u64, String> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Text(text) => {
                text.parse().map(|ByteSize(bytes)| bytes).map_err(|_no_size| format!("{text:?}"))
            }
        }
    }
}

impl RawPhyp {
    fn checked(self, site: &Site<'_>) -> Result<PhypConfig, WrongSetting> {
        let (Self { cec, disk }, home) = (self, site.home);
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
            disks.push(DiskConfig { lu, front, vtd: None, outside });
        }
        let sockets = std::path::absolute(site.data_dir.join(SOCKETS));
        let sockets = sockets
            .map_err(|_no_path| wrong("node.data_dir", site.data_dir.display(), "a directory"))?;
        Ok(PhypConfig { cec, sockets, disks, limits: OwnerLimits::default() })
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
