//! The tables of disks: `[[adapter]]`, `[outside]`, `[storage]`, `[phyp]`. Which VIOSes, LUs and
//! clients there are, the cluster's database has.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use vioduct_certs::identity::NodeName;
use vioduct_transport::TransportConfig;
use vioduct_vios::dsa::limits::DsaLimits;
use vioduct_vios::outside::{NoServer, OutsideConfig};
use vioduct_vios::redirect::limits::{
    InitiatorLimits, LimitError, OwnerLimits, RelayLimits, StoreLimits,
};
use vioduct_vios::roles::phyp::PhypConfig;
use vioduct_vios::roles::storage::StorageConfig;
use vioduct_vios::roles::vios::{AdapterConfig, ViosConfig};

use super::WrongSetting;
use super::cm::CmSettings;
use super::transport::{millis, set};

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
    /// The volume that it serves.
    pub storage: Option<StorageConfig>,
    /// The VIOS that runs on it.
    pub vios: Option<ViosConfig>,
    /// The disks of clients that it carries.
    pub phyp: Option<PhypConfig>,
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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStorage {
    volume: PathBuf,
    listen: RawPorts,
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
pub(super) struct RawPhyp {
    cec: u32,
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
    /// Where it listens.
    pub(super) host: IpAddr,
    /// Where its file lies: paths are relative to it.
    pub(super) home: &'a Path,
    pub(super) data_dir: &'a Path,
    pub(super) cluster: Option<&'a CmSettings>,
}

/// All of them, as the file has them.
pub(super) struct RawDisks {
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
    /// What a node does.
    pub(super) fn checked(self, site: &Site<'_>) -> Result<DiskRoles, WrongSetting> {
        let Self { adapter, outside, dsa, storage, phyp } = self;
        let dsa = dsa.checked()?;
        let outside = outside.map(RawOutside::checked).transpose()?;
        let vios = own_vios(adapter, outside, site)?.map(|vios| {
            let fabric = fabric_of(&dsa);
            ViosConfig { dsa, fabric, ..vios }
        });
        let storage = storage.map(|raw| raw.checked(site.home)).transpose()?;
        let phyp = phyp.map(|raw| raw.checked(site)).transpose()?;
        let needs = [("storage", storage.is_some()), ("phyp", phyp.is_some())];
        match needs.into_iter().find(|(_table, is_there)| *is_there && site.cluster.is_none()) {
            Some((table, _is_there)) => {
                let bound =
                    format!("there, since [{table}] is: disks are as the database has them");
                Err(wrong("[cm]", "missing", bound))
            }
            None => Ok(DiskRoles { storage, vios, phyp }),
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
    adapters: Vec<RawAdapter>,
    outside: Option<OutsideConfig>,
    site: &Site<'_>,
) -> Result<Option<ViosConfig>, WrongSetting> {
    if site.cluster.is_none_or(|cm| cm.cec.is_none()) {
        let bound = "left out, since there is no [cm] with the cec of a VIOS";
        if let Some(adapter) = adapters.first() {
            return Err(wrong("adapter", adapter.addr, bound));
        }
        return outside
            .map_or(Ok(None), |outside| Err(wrong("outside.server", outside.server, bound)));
    }
    if adapters.is_empty() && outside.is_none() {
        // It registers, and serves nobody.
        return Ok(None);
    }
    if !adapters.is_empty() && outside.is_some() {
        let bound = "0, since an [outside] stands in their place";
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
        let Self { name, server } = self;
        let bound = "unix:/PATH or tcp:ADDR:PORT";
        let server = server
            .parse()
            .map_err(|NoServer(text)| wrong("outside.server", format!("{text:?}"), bound))?;
        let name = name.unwrap_or_else(|| "outside".to_owned());
        let (exports, limits) = (BTreeMap::new(), InitiatorLimits::default());
        Ok(OutsideConfig { name, server, exports, limits })
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
        let Self { volume, listen } = self;
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
        Ok(StorageConfig {
            dir: home.join(volume),
            ports,
            lus: BTreeMap::new(),
            limits: StoreLimits::default(),
            fabric: fabric(),
        })
    }
}

impl RawPhyp {
    fn checked(self, site: &Site<'_>) -> Result<PhypConfig, WrongSetting> {
        let sockets = std::path::absolute(site.data_dir.join(SOCKETS));
        let sockets = sockets
            .map_err(|_no_path| wrong("node.data_dir", site.data_dir.display(), "a directory"))?;
        Ok(PhypConfig { cec: self.cec, sockets, limits: OwnerLimits::default() })
    }
}
