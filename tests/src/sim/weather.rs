//! What each direction of each path does to datagrams: delay, jitter, loss, duplication.
//!
//! turmoil has one latency for both directions of a pair and no loss of single datagrams, so both
//! are drawn here, before a datagram is given to turmoil. Neither depends on the datagram's size.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// What one direction of a path does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// Delay of every datagram, milliseconds.
    pub delay_ms: u16,
    /// Most that is added to the delay, drawn evenly for each datagram, milliseconds.
    pub jitter_ms: u16,
    /// Datagrams of a thousand that overtake those before them; all others stay in order.
    pub overtaking_per_mille: u16,
    /// Datagrams lost of a thousand.
    pub lost_per_mille: u16,
    /// Datagrams that arrive twice of a thousand.
    pub doubled_per_mille: u16,
}

/// One direction, with its own randomness: what one draws does not change another.
#[derive(Debug)]
struct Direction {
    now: Conditions,
    calm: Conditions,
    /// When the last datagram in order goes on, milliseconds of virtual time.
    last_ms: u64,
    rng: StdRng,
}

/// The directions between all hosts.
#[derive(Debug, Default)]
pub(super) struct Weather(BTreeMap<(IpAddr, IpAddr), Direction>);

impl Weather {
    pub(super) fn add(&mut self, from: IpAddr, to: IpAddr, calm: Conditions, seed: u64) {
        let rng = StdRng::seed_from_u64(seed);
        self.0.insert((from, to), Direction { now: calm, calm, last_ms: 0, rng });
    }

    pub(super) fn set(&mut self, from: IpAddr, to: IpAddr, conditions: Conditions) {
        if let Some(direction) = self.0.get_mut(&(from, to)) {
            direction.now = conditions;
        }
    }

    /// Back to what the direction was made with.
    pub(super) fn calm(&mut self, from: IpAddr, to: IpAddr) {
        if let Some(direction) = self.0.get_mut(&(from, to)) {
            direction.now = direction.calm;
        }
    }

    /// After how long each copy of a datagram goes on; none when it is lost.
    pub(super) fn draw(&mut self, from: IpAddr, to: IpAddr, now_ms: u64) -> Vec<Duration> {
        let Some(Direction { now, last_ms, rng, .. }) = self.0.get_mut(&(from, to)) else {
            return Vec::new();
        };
        if hits(rng, now.lost_per_mille) {
            return Vec::new();
        }
        let copies = if hits(rng, now.doubled_per_mille) { 2 } else { 1 };
        let delay = |_copy| {
            let jitter_ms = rng.random_range(0..=now.jitter_ms);
            let due_ms = now_ms + u64::from(now.delay_ms) + u64::from(jitter_ms);
            if hits(rng, now.overtaking_per_mille) {
                return Duration::from_millis(due_ms - now_ms);
            }
            *last_ms = due_ms.max(*last_ms);
            Duration::from_millis(*last_ms - now_ms)
        };
        (0..copies).map(delay).collect()
    }
}

fn hits(rng: &mut StdRng, per_mille: u16) -> bool {
    rng.random_range(0..1000) < per_mille
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const TO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
    const CALM: Conditions = Conditions {
        delay_ms: 5,
        jitter_ms: 20,
        overtaking_per_mille: 0,
        lost_per_mille: 0,
        doubled_per_mille: 0,
    };

    /// When the copies of a thousand datagrams go on, one sent each millisecond.
    fn sent(weather: &mut Weather) -> Vec<u64> {
        let each = |now_ms| {
            let waits = weather.draw(FROM, TO, now_ms);
            waits.into_iter().map(move |wait| now_ms + u64::try_from(wait.as_millis()).unwrap())
        };
        (0..1000).flat_map(each).collect()
    }

    #[test]
    fn a_calm_direction_delays_and_keeps_the_order() {
        let mut weather = Weather::default();
        weather.add(FROM, TO, CALM, 1);
        let due = sent(&mut weather);
        assert_eq!(due.len(), 1000);
        assert!(due.is_sorted());
        assert!((0..).zip(&due).all(|(at_ms, due_ms)| (at_ms + 5..=at_ms + 25).contains(due_ms)));
        assert!(weather.draw(TO, FROM, 0).is_empty(), "there is no such direction");
    }

    #[test]
    fn a_storm_loses_doubles_and_reorders_until_it_is_over() {
        let mut weather = Weather::default();
        weather.add(FROM, TO, CALM, 1);
        let storm = Conditions { lost_per_mille: 300, ..CALM };
        weather.set(FROM, TO, storm);
        assert!((600..800).contains(&sent(&mut weather).len()));
        weather.set(FROM, TO, Conditions { doubled_per_mille: 200, ..CALM });
        assert!((1100..1300).contains(&sent(&mut weather).len()));
        weather.set(FROM, TO, Conditions { overtaking_per_mille: 100, ..CALM });
        assert!(!sent(&mut weather).is_sorted());
        weather.calm(FROM, TO);
        assert_eq!(sent(&mut weather).len(), 1000);
    }
}
