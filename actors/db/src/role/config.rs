//! The settings of a database node.

use std::sync::Arc;
use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

use crate::clock::WallClock;
use crate::offload::Offload;
use crate::replica::Kept;
use crate::schema::Schema;

/// When replicas doubt their leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often a leader says that it leads. 10 ms to 10 s, default 100 ms.
    pub heartbeat: Duration,
    /// How long a leader is trusted that is not heard. After that, and a random time of one and a
    /// half heartbeats up to this long again, a replica asks for votes. Three heartbeats or more,
    /// default 400 ms.
    pub election: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { heartbeat: Duration::from_millis(100), election: Duration::from_millis(400) }
    }
}

impl Timing {
    /// Whether the times are in their ranges.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], with the first that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let Self { heartbeat, election } = *self;
        let ms = |duration: Duration| format!("{} ms", duration.as_millis());
        if !(10..=10_000).contains(&heartbeat.as_millis()) {
            let range = "10 ms to 10 s";
            return Err(ConfigError { setting: "heartbeat", found: ms(heartbeat), range });
        }
        if election < heartbeat * 3 || election > Duration::from_secs(60) {
            let range = "three heartbeats to 60 s";
            return Err(ConfigError { setting: "election", found: ms(election), range });
        }
        Ok(())
    }
}

/// A setting out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {found}, it has to be {range}")]
pub struct ConfigError {
    /// Which.
    pub setting: &'static str,
    /// What it is.
    pub found: String,
    /// What it may be.
    pub range: &'static str,
}

/// The settings of a database node.
#[derive(Clone, Debug)]
pub struct DbRoleConfig {
    /// The tables, the same on all nodes.
    pub schema: Arc<Schema>,
    /// When replicas doubt their leader.
    pub timing: Timing,
    /// Entries after which the rows are flushed and the log behind them may go, 100 to 10,000,000.
    /// Default 20,000.
    pub flush_every: u64,
    /// Entries that are kept in the log behind a flush, for replicas that are a little late.
    /// Default 10,000.
    pub keep: u64,
    /// Bytes of a shard's log past which the same is done though they are fewer entries; half of
    /// them are kept. 1 MiB to 1 TiB. Default 256 MiB.
    pub log_bytes: u64,
    /// What time leaders write on commands.
    pub clock: WallClock,
    /// Where replicas wait for the disk.
    pub offload: Offload,
}

impl DbRoleConfig {
    /// The default settings for these tables.
    #[must_use]
    pub fn new(schema: Arc<Schema>) -> Self {
        Self {
            schema,
            timing: Timing::default(),
            flush_every: 20_000,
            keep: 10_000,
            log_bytes: 256 << 20,
            clock: WallClock::system(),
            offload: Offload::Threads,
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.timing.check()?;
        if !(100..=10_000_000).contains(&self.flush_every) {
            let found = self.flush_every.to_string();
            return Err(ConfigError { setting: "flush_every", found, range: "100 to 10000000" });
        }
        if !(1 << 20..=1 << 40).contains(&self.log_bytes) {
            let found = format!("{} bytes", self.log_bytes);
            return Err(ConfigError { setting: "log_bytes", found, range: "1 MiB to 1 TiB" });
        }
        Ok(())
    }

    pub(super) fn kept(&self) -> Kept {
        Kept { entries: self.keep, bytes: self.log_bytes }
    }

    /// The same, as the consensus library has it.
    pub(super) fn consensus(&self) -> Config {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Config {
            cluster_name: "vioduct".into(),
            heartbeat_interval: ms(self.timing.heartbeat),
            // The library's longest time-out is how long it trusts a leader, too.
            election_timeout_min: ms(self.timing.heartbeat * 3 / 2),
            election_timeout_max: ms(self.timing.election),
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.flush_every),
            // The replica sees to that.
            max_in_snapshot_log_to_keep: u64::MAX,
            enable_pre_vote: Some(true),
            // One that starts again as the leader that it was would answer reads before it knows
            // again which of its entries are committed.
            enable_leader_restore: Some(false),
            ..Config::default()
        }
    }
}

/// How long the first entry of a shard may take.
pub(super) const FOUND_WITHIN: Duration = Duration::from_secs(10);
