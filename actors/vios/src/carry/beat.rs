//! Heartbeats of the fabric. They travel on its control lane, before all data.

use actix::Message;
use serde::{Deserialize, Serialize};
use vioduct_runtime::RemoteMessage;

/// A VIOS asks whether the storage hears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "vios.Beat")]
pub struct Beat {
    /// Which: the answer bears the same number.
    pub no: u64,
}

/// The storage answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "vios.Echo")]
pub struct Echo {
    /// Which heartbeat.
    pub no: u64,
    /// How long the oldest operation of its device has been under way, microseconds.
    pub oldest_us: u64,
    /// Operations of its device that have failed since it was started.
    pub failures: u64,
}

impl Message for Beat {
    type Result = ();
}

impl Message for Echo {
    type Result = ();
}
