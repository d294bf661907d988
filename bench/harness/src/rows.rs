//! The rows of the tables: what is measured.

use std::fmt;

use crate::peer::PeerKind;

/// One thing measured.
#[derive(
    Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Row {
    /// 64-byte round trips, 1 outstanding.
    #[serde(rename = "rt-1")]
    #[value(name = "rt-1")]
    RoundTrip1,
    /// 64-byte round trips, 64 outstanding.
    #[serde(rename = "rt-64")]
    #[value(name = "rt-64")]
    RoundTrip64,
    /// 64-byte round trips, 1024 outstanding.
    #[serde(rename = "rt-1024")]
    #[value(name = "rt-1024")]
    RoundTrip1024,
    /// 64-byte one-way messages, to the server's acknowledgement of all of them.
    #[serde(rename = "oneway")]
    #[value(name = "oneway")]
    OneWay,
    /// 4 KiB round trips, 64 outstanding.
    #[serde(rename = "rt-4k")]
    #[value(name = "rt-4k")]
    RoundTrip4K,
    /// 64 KiB round trips, 16 outstanding.
    #[serde(rename = "rt-64k")]
    #[value(name = "rt-64k")]
    RoundTrip64K,
    /// Bulk data one way.
    Bulk,
    /// From nothing to the first reply.
    Connect,
    /// 64-byte round trips, 1 outstanding, while bulk data moves the same way.
    Mixed,
    /// 64-byte asks within one process, 1 outstanding.
    #[serde(rename = "local-1")]
    #[value(name = "local-1")]
    Local1,
    /// 64-byte asks within one process, 64 outstanding.
    #[serde(rename = "local-64")]
    #[value(name = "local-64")]
    Local64,
    /// 64-byte one-way messages within one process, to the actor's acknowledgement of all of them.
    LocalTell,
}

/// The load of a row.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// Round trips.
    RoundTrips {
        /// Of them in the air.
        outstanding: u32,
        /// Of each message.
        payload_bytes: usize,
    },
    /// One-way messages.
    OneWay {
        /// Of each message.
        payload_bytes: usize,
    },
    /// Bulk data alone.
    Bulk,
    /// Connections one after another, each with one round trip.
    Connect {
        /// Of each message.
        payload_bytes: usize,
    },
    /// Bulk data with round trips, 1 outstanding, beside it.
    Mixed {
        /// Of each message of the round trips.
        payload_bytes: usize,
    },
    /// Asks within one process.
    LocalAsks {
        /// Of them waiting.
        outstanding: u32,
        /// Of each message.
        payload_bytes: usize,
    },
    /// One-way messages within one process.
    LocalTells {
        /// Of each message.
        payload_bytes: usize,
    },
}

/// A figure of a row.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Messages per second.
    RatePerS,
    /// Payload per second, in units of 10⁶ bytes.
    MbPerS,
    /// Median latency in microseconds.
    P50Us,
    /// 99th percentile of latency in microseconds.
    P99Us,
    /// Processor time of both processes per million messages, in seconds.
    CpuSPerMillion,
}

impl Row {
    /// Every row.
    pub const ALL: [Self; 12] = [
        Self::RoundTrip1,
        Self::RoundTrip64,
        Self::RoundTrip1024,
        Self::OneWay,
        Self::RoundTrip4K,
        Self::RoundTrip64K,
        Self::Bulk,
        Self::Connect,
        Self::Mixed,
        Self::Local1,
        Self::Local64,
        Self::LocalTell,
    ];

    /// What the client does.
    #[must_use]
    pub const fn load(self) -> Load {
        const SMALL: usize = 64;
        const fn round_trips(outstanding: u32, payload_bytes: usize) -> Load {
            Load::RoundTrips { outstanding, payload_bytes }
        }
        match self {
            Self::RoundTrip1 => round_trips(1, SMALL),
            Self::RoundTrip64 => round_trips(64, SMALL),
            Self::RoundTrip1024 => round_trips(1024, SMALL),
            Self::OneWay => Load::OneWay { payload_bytes: SMALL },
            Self::RoundTrip4K => round_trips(64, 4 * 1024),
            Self::RoundTrip64K => round_trips(16, 64 * 1024),
            Self::Bulk => Load::Bulk,
            Self::Connect => Load::Connect { payload_bytes: SMALL },
            Self::Mixed => Load::Mixed { payload_bytes: SMALL },
            Self::Local1 => Load::LocalAsks { outstanding: 1, payload_bytes: SMALL },
            Self::Local64 => Load::LocalAsks { outstanding: 64, payload_bytes: SMALL },
            Self::LocalTell => Load::LocalTells { payload_bytes: SMALL },
        }
    }

    /// Whether the row needs no server, and so no second process.
    #[must_use]
    pub const fn is_local(self) -> bool {
        matches!(self.load(), Load::LocalAsks { .. } | Load::LocalTells { .. })
    }

    /// Whether the row is meant for `peer`.
    #[must_use]
    pub fn includes(self, peer: PeerKind) -> bool {
        let is_message = matches!(self.load(), Load::RoundTrips { .. } | Load::OneWay { .. });
        match peer {
            PeerKind::Vioduct | PeerKind::Quinn => !self.is_local(),
            PeerKind::Runtime => is_message || self.is_local(),
            PeerKind::QuinnBatched => self == Self::OneWay,
            PeerKind::Actix => self.is_local(),
            PeerKind::Ractor | PeerKind::Kameo | PeerKind::Tonic => is_message,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::RoundTrip1 => "rt-1",
            Self::RoundTrip64 => "rt-64",
            Self::RoundTrip1024 => "rt-1024",
            Self::OneWay => "oneway",
            Self::RoundTrip4K => "rt-4k",
            Self::RoundTrip64K => "rt-64k",
            Self::Bulk => "bulk",
            Self::Connect => "connect",
            Self::Mixed => "mixed",
            Self::Local1 => "local-1",
            Self::Local64 => "local-64",
            Self::LocalTell => "local-tell",
        })
    }
}
