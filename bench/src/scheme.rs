//! What a benchmark's table shows, and what it aims at.

use std::fmt;

use vioduct_bench_harness::peer::PeerKind;
use vioduct_bench_harness::rows::{Metric, Row};

/// A table: figures of rows, and whose aims they are held to.
#[derive(Debug)]
pub(crate) struct Scheme {
    /// The one that aims are for.
    pub(crate) judged: PeerKind,
    /// In the order of the table.
    pub(crate) figures: &'static [Figure],
}

/// One figure of one row, shown of every peer that has it.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) row: Row,
    pub(crate) metric: Metric,
    /// The peer that counts as 1.00×.
    pub(crate) baseline: PeerKind,
    pub(crate) aims: &'static [Aim],
}

/// What the judged peer should reach. A figure has one aim at most against the baseline or by
/// itself, and one at most against each other peer.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Aim {
    pub(crate) against: Against,
    pub(crate) bound: Bound,
}

/// What a bound is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Against {
    /// The figure itself.
    Itself,
    /// The ratio to this peer's figure of the same round.
    Peer(PeerKind),
}

/// The bound.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// Strictly: at the bound it is missed, if by nothing.
    Below(f64),
}

impl Figure {
    /// The aim shown on the judged peer's own line.
    pub(crate) fn own_aim(&self) -> Option<Aim> {
        let is_own = |aim: &&Aim| match aim.against {
            Against::Itself => true,
            Against::Peer(peer) => peer == self.baseline,
        };
        self.aims.iter().find(is_own).copied()
    }

    /// The aim shown on the line of another peer.
    pub(crate) fn aim_against(&self, peer: PeerKind) -> Option<Aim> {
        let is_it = |aim: &&Aim| aim.against == Against::Peer(peer) && peer != self.baseline;
        self.aims.iter().find(is_it).copied()
    }
}

impl Aim {
    pub(crate) const fn ratio(peer: PeerKind, bound: Bound) -> Self {
        Self { against: Against::Peer(peer), bound }
    }

    pub(crate) const fn itself(bound: Bound) -> Self {
        Self { against: Against::Itself, bound }
    }
}

impl Bound {
    /// By how much it is missed; nothing when it is met.
    pub(crate) fn excess(self, reached: f64) -> Option<f64> {
        let (is_met, excess) = match self {
            Self::AtMost(bound) => (reached <= bound, reached - bound),
            Self::AtLeast(bound) => (reached >= bound, bound - reached),
            Self::Below(bound) => (reached < bound, reached - bound),
        };
        (!is_met).then_some(excess)
    }

    pub(crate) fn limit(self) -> f64 {
        match self {
            Self::AtMost(bound) | Self::AtLeast(bound) | Self::Below(bound) => bound,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::AtMost(_) => "<=",
            Self::AtLeast(_) => ">=",
            Self::Below(_) => "<",
        })
    }
}
