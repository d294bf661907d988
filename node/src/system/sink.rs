//! Counts what it is told, and whether it came in order: load tests tell it. It sends to nobody;
//! when it dies, its series are forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::{Actor, Context, Handler};

use super::messages::{Sink, SinkCount, SinkQuery};
use super::{Counts, count};

/// Series that are kept; the one that was told longest ago makes room for a new one.
const SERIES_MAX: usize = 1024;

#[derive(Debug, Default)]
struct Series {
    count: SinkCount,
    last_sequence: u64,
    /// When it was told last, in messages over all series.
    told_at: u64,
}

/// Answers [`SinkQuery`], and takes [`Sink`].
#[derive(Debug)]
pub struct SinkActor {
    series: BTreeMap<u64, Series>,
    told: u64,
    counts: Arc<Counts>,
}

impl SinkActor {
    pub(super) const fn new(counts: Arc<Counts>) -> Self {
        Self { series: BTreeMap::new(), told: 0, counts }
    }

    fn take(&mut self, number: u64, sequence: u64) {
        self.told += 1;
        if self.series.len() >= SERIES_MAX && !self.series.contains_key(&number) {
            let longest_ago = self.series.iter().min_by_key(|(_number, series)| series.told_at);
            if let Some(number) = longest_ago.map(|(number, _series)| *number) {
                self.series.remove(&number);
            }
        }
        let series = self.series.entry(number).or_default();
        series.told_at = self.told;
        series.count.received += 1;
        if sequence > series.last_sequence {
            series.last_sequence = sequence;
        } else {
            series.count.out_of_order += 1;
        }
    }

    fn count(&self, number: u64) -> SinkCount {
        self.series.get(&number).map(|series| series.count).unwrap_or_default()
    }
}

impl Actor for SinkActor {
    type Context = Context<Self>;
}

impl Handler<Sink> for SinkActor {
    type Result = ();

    fn handle(&mut self, Sink { series, sequence, .. }: Sink, _ctx: &mut Self::Context) {
        self.take(series, sequence);
        count(&self.counts.sunk);
    }
}

impl Handler<SinkQuery> for SinkActor {
    type Result = SinkCount;

    fn handle(&mut self, SinkQuery { series }: SinkQuery, _ctx: &mut Self::Context) -> SinkCount {
        self.count(series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_judged_within_a_series() {
        let mut sink = SinkActor::new(Arc::default());
        for (series, sequence) in [(1, 1), (2, 1), (1, 2), (2, 3), (2, 2), (2, 3), (2, 4)] {
            sink.take(series, sequence);
        }
        assert_eq!(sink.count(1), SinkCount { received: 2, out_of_order: 0 });
        assert_eq!(sink.count(2), SinkCount { received: 5, out_of_order: 2 });
    }

    #[test]
    fn the_series_told_longest_ago_makes_room_for_a_new_one() {
        let mut sink = SinkActor::new(Arc::default());
        let many = SERIES_MAX as u64;
        (0..many).for_each(|series| sink.take(series, 1));
        sink.take(0, 2);
        sink.take(many, 1);
        let received = [0, 1, many].map(|series| sink.count(series).received);
        assert_eq!((received, sink.series.len()), ([2, 0, 1], SERIES_MAX));
    }
}
