//! Where a request was when: a row of times that travels with it.
//!
//! The processes share a machine and so its wall clock, which only has to stand still between two
//! marks.

use std::time::{SystemTime, UNIX_EPOCH};

/// Places that a read passes, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mark {
    /// The NBD session has read it from the socket.
    Read,
    /// The LPAR actor handles it.
    Lpar,
    /// The VIOS's node was handed it by its link.
    AtVios,
    /// The VIOS actor handles it.
    Vios,
    /// The storage's node was handed it by its link.
    AtStorage,
    /// The storage actor handles it.
    Storage,
    /// The device begins.
    Device,
    /// The device is done.
    Done,
    /// The VIOS's node was handed the answer.
    BackAtVios,
    /// The VIOS actor goes on with it.
    ViosGoesOn,
    /// The LPAR's node was handed the answer.
    BackAtLpar,
    /// The LPAR actor goes on with it.
    LparGoesOn,
    /// The NBD session is about to write it to the socket.
    Replied,
}

/// How many marks there are.
pub(crate) const MARKS: usize = 13;

/// What lies between one mark and the next.
pub(crate) const HOPS: [&str; MARKS - 1] = [
    "NBD session to LPAR actor",
    "LPAR actor to n2's delivery (link)",
    "n2's delivery to VIOS actor",
    "VIOS actor to n3's delivery (link)",
    "n3's delivery to storage actor",
    "storage actor to device",
    "device: read of the page cache",
    "device to n2's delivery (link)",
    "n2's delivery to VIOS actor's task",
    "VIOS actor's task to n1's delivery (link)",
    "n1's delivery to LPAR actor",
    "LPAR actor to NBD session",
];

/// Nanoseconds since 1970 at each mark; zero where it has not been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Trace(pub(crate) [u64; MARKS]);

impl Trace {
    /// Notes the time.
    pub(crate) fn mark(&mut self, mark: Mark) {
        #[expect(clippy::disallowed_methods, reason = "a measurement across processes")]
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Some(place) = self.0.get_mut(usize::from(mark as u8)) {
            *place = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        }
    }
}

/// Median and 99th percentile of each hop and of the whole, in nanoseconds, and how many traces
/// they are of. A trace that lacks a mark took another way, and is not among them.
pub(crate) fn percentiles(traces: &[Trace]) -> (usize, Vec<(&'static str, u64, u64)>) {
    let whole: Vec<&Trace> = traces.iter().filter(|trace| !trace.0.contains(&0)).collect();
    let column = |name, from: usize, to: usize| {
        let took = |trace: &&Trace| match (trace.0.get(from), trace.0.get(to)) {
            (Some(from), Some(to)) => to.saturating_sub(*from),
            _outside => 0,
        };
        let mut all: Vec<u64> = whole.iter().map(took).collect();
        let (p50, p99) = p50_p99(&mut all);
        (name, p50, p99)
    };
    let hops = HOPS.into_iter().zip(0..).map(|(name, from)| column(name, from, from + 1));
    (whole.len(), hops.chain([column("all of these", 0, MARKS - 1)]).collect())
}

/// Sorts, and gives the median and the 99th percentile; zeroes of nothing.
pub(crate) fn p50_p99(all: &mut [u64]) -> (u64, u64) {
    all.sort_unstable();
    let at = |share: usize| all.get(all.len() * share / 100).copied().unwrap_or_default();
    (at(50), at(99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_with_a_mark_missing_is_not_counted() {
        let mut times = [0; MARKS];
        (1..).zip(&mut times).for_each(|(number, time)| *time = number * 10);
        let mut other = Trace(times);
        other.0[4] = 0;
        let (count, rows) = percentiles(&[Trace(times), other]);
        assert_eq!((count, rows.len()), (1, MARKS));
        assert!(rows[..MARKS - 1].iter().all(|(_hop, p50, p99)| (*p50, *p99) == (10, 10)));
        assert_eq!(rows[MARKS - 1], ("all of these", 120, 120));
    }
}
