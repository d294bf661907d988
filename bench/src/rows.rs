//! The rows of the table: what is measured, and what we aim at.

use std::fmt;

use crate::peers::PeerKind;

/// One thing measured.
#[derive(
    Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Row {
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
}

/// The load of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// Round trips of `payload_bytes` with `outstanding` of them in the air.
    RoundTrips { outstanding: u32, payload_bytes: usize },
    /// One-way messages of `payload_bytes`.
    OneWay { payload_bytes: usize },
    /// Bulk data alone.
    Bulk,
    /// Connections one after another, each with one round trip of `payload_bytes`.
    Connect { payload_bytes: usize },
    /// Bulk data with round trips of `payload_bytes`, 1 outstanding, beside it.
    Mixed { payload_bytes: usize },
}

/// The figure a row is judged by.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// Messages per second.
    RatePerS,
    /// Payload per second, in units of 10⁶ bytes.
    MbPerS,
    /// Median latency in microseconds.
    P50Us,
    /// 99th percentile of latency in microseconds.
    P99Us,
}

/// What our transport should reach.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Aim {
    /// Measured, not judged.
    None,
    /// The ratio to the baseline is at most this.
    RatioAtMost(f64),
    /// The ratio to the baseline is at least this.
    RatioAtLeast(f64),
    /// The figure itself is below this many microseconds.
    BelowUs(f64),
}

impl Row {
    /// Every row, in the order of the table.
    pub(crate) const ALL: [Self; 9] = [
        Self::RoundTrip1,
        Self::RoundTrip64,
        Self::RoundTrip1024,
        Self::OneWay,
        Self::RoundTrip4K,
        Self::RoundTrip64K,
        Self::Bulk,
        Self::Connect,
        Self::Mixed,
    ];

    /// What the client does.
    pub(crate) const fn load(self) -> Load {
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
        }
    }

    /// The figure the ratio is taken of.
    pub(crate) const fn metric(self) -> Metric {
        match self {
            Self::RoundTrip1 | Self::Connect => Metric::P50Us,
            Self::RoundTrip64
            | Self::RoundTrip1024
            | Self::OneWay
            | Self::RoundTrip4K
            | Self::RoundTrip64K => Metric::RatePerS,
            Self::Bulk => Metric::MbPerS,
            Self::Mixed => Metric::P99Us,
        }
    }

    /// What our transport should reach.
    pub(crate) const fn aim(self) -> Aim {
        match self {
            Self::RoundTrip1 => Aim::RatioAtMost(1.1),
            Self::RoundTrip64 | Self::RoundTrip1024 | Self::RoundTrip4K | Self::RoundTrip64K => {
                Aim::RatioAtLeast(0.9)
            }
            Self::OneWay => Aim::RatioAtLeast(0.5),
            Self::Bulk => Aim::RatioAtLeast(0.9),
            Self::Connect => Aim::None,
            Self::Mixed => Aim::BelowUs(10_000.0),
        }
    }

    /// The peer that counts as 1.00×.
    pub(crate) const fn baseline(self) -> PeerKind {
        match self {
            Self::OneWay => PeerKind::QuinnBatched,
            _ => PeerKind::Quinn,
        }
    }

    /// Whether `peer` can carry this row.
    pub(crate) fn includes(self, peer: PeerKind) -> bool {
        match peer {
            PeerKind::Vioduct | PeerKind::Quinn => true,
            PeerKind::Runtime => {
                matches!(self.load(), Load::RoundTrips { .. } | Load::OneWay { .. })
            }
            PeerKind::QuinnBatched => self == Self::OneWay,
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
        })
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => out.pad("-"),
            Self::RatioAtMost(bound) => out.pad(&format!("<= {bound:.2}x")),
            Self::RatioAtLeast(bound) => out.pad(&format!(">= {bound:.2}x")),
            Self::BelowUs(bound) => out.pad(&format!("< {:.0} ms", bound / 1000.0)),
        }
    }
}
