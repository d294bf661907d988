//! How long a disk stood still.

use serde::Serialize;

/// A span of time, by its length and its beginning. The longer one is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stretch {
    pub(crate) length_ns: u64,
    pub(crate) start_ns: u64,
}

/// The same, as the result has it: when it began counts from the start of the measurement.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct StretchReport {
    pub(crate) ms: f64,
    pub(crate) at_s: f64,
}

impl Stretch {
    #[expect(clippy::cast_precision_loss, reason = "times stay far below 2⁵³ ns")]
    pub(crate) fn report(self, origin_ns: u64) -> StretchReport {
        let at_ns = i128::from(self.start_ns) - i128::from(origin_ns);
        let is_empty = self.length_ns == 0;
        StretchReport {
            ms: self.length_ns as f64 / 1e6,
            at_s: if is_empty { 0.0 } else { at_ns as f64 / 1e9 },
        }
    }
}

/// Watches the requests of a disk: the longest time in which none was answered while some were
/// waiting, and the longest single one.
///
/// An error is no answer: a disk that refuses stands still until it carries something out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stalls {
    waiting: u32,
    /// Since when requests wait without an answer.
    since_ns: Option<u64>,
    worst: Stretch,
    longest: Stretch,
}

impl Stalls {
    /// A request waits from now on.
    pub(crate) fn begin(&mut self, now_ns: u64) {
        self.waiting += 1;
        self.since_ns.get_or_insert(now_ns);
    }

    /// One that began at `planned_ns` was carried out.
    pub(crate) fn answer(&mut self, planned_ns: u64, now_ns: u64) {
        self.note(now_ns);
        self.end(planned_ns, now_ns);
        self.since_ns = (self.waiting > 0).then_some(now_ns);
    }

    /// One that began at `planned_ns` was not.
    pub(crate) fn fail(&mut self, planned_ns: u64, now_ns: u64) {
        self.end(planned_ns, now_ns);
    }

    fn end(&mut self, planned_ns: u64, now_ns: u64) {
        self.waiting = self.waiting.saturating_sub(1);
        let length_ns = now_ns.saturating_sub(planned_ns);
        self.longest = self.longest.max(Stretch { length_ns, start_ns: planned_ns });
    }

    fn note(&mut self, now_ns: u64) {
        if let Some(start_ns) = self.since_ns {
            let length_ns = now_ns.saturating_sub(start_ns);
            self.worst = self.worst.max(Stretch { length_ns, start_ns });
        }
    }

    /// Forgets what was; what still waits counts from now.
    pub(crate) fn restart(&mut self, now_ns: u64) {
        let since_ns = self.since_ns.map(|_before| now_ns);
        *self = Self { waiting: self.waiting, since_ns, ..Self::default() };
    }

    /// The worst time without an answer, up to now.
    pub(crate) fn worst(mut self, now_ns: u64) -> Stretch {
        self.note(now_ns);
        self.worst
    }

    /// The longest request that has ended.
    pub(crate) const fn longest(self) -> Stretch {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(start_ns: u64, length_ns: u64) -> Stretch {
        Stretch { length_ns, start_ns }
    }

    #[test]
    fn a_stall_is_the_time_between_answers_while_something_waits() {
        let mut stalls = Stalls::default();
        stalls.begin(10);
        stalls.begin(12);
        stalls.answer(10, 15);
        stalls.answer(12, 95);
        assert_eq!(stalls.worst(500), stretch(15, 80), "nothing waits any more");
        assert_eq!(stalls.longest(), stretch(12, 83));
        stalls.begin(1000);
        assert_eq!(stalls.worst(1100), stretch(1000, 100), "still waiting");
    }

    #[test]
    fn a_slow_request_among_fast_ones_is_long_and_no_stall() {
        let mut stalls = Stalls::default();
        stalls.begin(0);
        for now_ns in (10..100).step_by(10) {
            stalls.begin(now_ns);
            stalls.answer(now_ns, now_ns + 10);
        }
        stalls.answer(0, 105);
        assert_eq!(stalls.worst(105).length_ns, 20);
        assert_eq!(stalls.longest(), stretch(0, 105));
    }

    #[test]
    fn errors_do_not_end_a_stall() {
        let mut stalls = Stalls::default();
        stalls.begin(100);
        stalls.fail(100, 110);
        stalls.begin(150);
        stalls.fail(150, 160);
        stalls.begin(180);
        stalls.answer(180, 200);
        assert_eq!(stalls.worst(900), stretch(100, 100));
    }

    #[test]
    fn what_was_before_the_measurement_does_not_count_and_what_still_waits_does() {
        let mut stalls = Stalls::default();
        stalls.begin(0);
        stalls.answer(0, 700);
        stalls.begin(700);
        stalls.restart(1000);
        stalls.answer(700, 1100);
        assert_eq!(stalls.worst(1100), stretch(1000, 100));
        assert_eq!(stalls.longest(), stretch(700, 400));
    }
}
