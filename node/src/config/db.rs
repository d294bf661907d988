//! The table of the database: `[db]`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use vioduct_db::role::{DiskConfig, Timing};

use super::WrongSetting;
use super::disks::wrong;
use super::size::RawSize;
use crate::db::{DATA_SHARDS_MAX, DbConfig};

const RESERVE_BYTES: u64 = 256 << 20;
const CACHE_BYTES: u64 = 64 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDb {
    dir: PathBuf,
    #[serde(default)]
    shards: u32,
    heartbeat_ms: Option<u32>,
    election_ms: Option<u32>,
    reserve: Option<RawSize>,
    cache: Option<RawSize>,
}

impl RawDb {
    /// Paths lie relative to `home`.
    pub(super) fn checked(self, home: &Path) -> Result<DbConfig, WrongSetting> {
        let Self { dir, shards, heartbeat_ms, election_ms, reserve, cache } = self;
        if shards > DATA_SHARDS_MAX {
            return Err(wrong("db.shards", shards, format!("at most {DATA_SHARDS_MAX}")));
        }
        let default = Timing::default();
        let millis = |ms: Option<u32>, default: Duration| {
            ms.map_or(default, |ms| Duration::from_millis(ms.into()))
        };
        let timing = Timing {
            heartbeat: millis(heartbeat_ms, default.heartbeat),
            election: millis(election_ms, default.election),
        };
        timing
            .check()
            .map_err(|error| wrong(format!("db.{}_ms", error.setting), error.found, error.range))?;
        let bound = "a count of bytes, or a text such as \"256MiB\"";
        let bytes = |key: &str, size: Option<RawSize>, default: u64| match size {
            Some(size) => size.bytes().map_err(|text| wrong(key, text, bound)),
            None => Ok(default),
        };
        let reserve_bytes = bytes("db.reserve", reserve, RESERVE_BYTES)?;
        let cache_bytes = bytes("db.cache", cache, CACHE_BYTES)?;
        let cache_bytes = usize::try_from(cache_bytes)
            .map_err(|_too_large| wrong("db.cache", cache_bytes, bound))?;
        let disk = DiskConfig { dir: home.join(dir), cache_bytes, reserve_bytes };
        Ok(DbConfig { disk, shards, timing })
    }
}
