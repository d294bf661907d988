//! Congestion control that keeps the queue on the path short, so that bulk data does not delay the
//! small messages behind it.
//!
//! The window is the smaller of CUBIC's and of a bound that follows FAST TCP (Jin, Wei and Low,
//! INFOCOM 2004): once per round trip, `window × shortest round trip ÷ round trip + target`. In
//! balance, `target` bytes wait on the path, whatever its rate. CUBIC alone fills the path until
//! something is lost: on loopback that is the receiver's whole socket buffer, 10 ms and more.
//!
//! Against flows that fill the queue the bound never falls below `target`.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{Controller, ControllerFactory, CubicConfig};
use quinn_proto::RttEstimator;

/// Makes a [`ShortQueue`] for each connection.
#[derive(Debug)]
pub(crate) struct ShortQueueConfig {
    /// Bytes that may wait on the path.
    pub(crate) target_bytes: u64,
}

impl ControllerFactory for ShortQueueConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(ShortQueue {
            cubic: Arc::new(CubicConfig::default()).build(now, current_mtu),
            bound: Bound { target_bytes: self.target_bytes, window_bytes: u64::MAX },
            round_ends: now,
            acknowledged: 0,
        })
    }
}

/// Packets of a connection that its peer has acknowledged, those left out that ask for none.
pub(crate) fn acknowledged(connection: &quinn::Connection) -> u64 {
    let own = connection.congestion_state().into_any().downcast::<ShortQueue>();
    own.map_or(0, |own| own.acknowledged)
}

struct ShortQueue {
    cubic: Box<dyn Controller>,
    bound: Bound,
    round_ends: Instant,
    acknowledged: u64,
}

/// The part of the window that delay decides.
#[derive(Debug, Clone, Copy)]
struct Bound {
    target_bytes: u64,
    window_bytes: u64,
}

impl Bound {
    /// Half-way from the window in use to the one at which `target_bytes` wait.
    fn step(&mut self, window_bytes: u64, shortest: Duration, smoothed: Duration) {
        let share = shortest.as_secs_f64() / smoothed.as_secs_f64().max(f64::MIN_POSITIVE);
        let parts_of_1024 = (share.clamp(0.0, 1.0) * 1024.0).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 1024"
        )]
        let kept = u128::from(window_bytes) * u128::from(parts_of_1024 as u64) / 1024;
        let kept = u64::try_from(kept).unwrap_or(u64::MAX);
        let aim = kept.saturating_add(self.target_bytes);
        self.window_bytes = window_bytes.midpoint(aim).max(self.target_bytes);
    }
}

impl Controller for ShortQueue {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.cubic.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
        self.acknowledged += 1;
        if app_limited || now < self.round_ends {
            return;
        }
        self.round_ends = now + rtt.get();
        self.bound.step(self.window(), rtt.min(), rtt.get());
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.cubic.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.cubic.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.cubic.window().min(self.bound.window_bytes)
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            cubic: self.cubic.clone_box(),
            bound: self.bound,
            round_ends: self.round_ends,
            acknowledged: self.acknowledged,
        })
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path of `rate` bytes a second: what is in flight beyond its own delay waits.
    fn settle(rate: f64, path: Duration, target_bytes: u64, start: u64) -> (u64, Duration) {
        let mut bound = Bound { target_bytes, window_bytes: start };
        let mut delay = path;
        for _round in 0..200 {
            delay = path.max(Duration::from_secs_f64(bound.window_bytes as f64 / rate));
            bound.step(bound.window_bytes, path, delay);
        }
        (bound.window_bytes, delay)
    }

    #[test]
    fn in_balance_the_target_waits_on_the_path_whatever_its_rate() {
        for (rate, path_us) in [(5e8, 50), (1e9, 500), (1e8, 20_000), (1e7, 1000)] {
            let path = Duration::from_micros(path_us);
            let (window, delay) = settle(rate, path, 512 << 10, 64 << 20);
            let own = rate * path.as_secs_f64();
            let waiting = window as f64 - own;
            assert!((waiting / f64::from(512 << 10) - 1.0).abs() < 0.1, "{rate} {waiting}");
            let queueing = delay.saturating_sub(path).as_secs_f64();
            assert!(queueing <= 1.1 * f64::from(512 << 10) / rate, "{rate} {queueing}");
        }
    }

    #[test]
    fn the_window_grows_from_small_and_never_falls_below_the_target() {
        let (window, _delay) = settle(1e9, Duration::from_millis(1), 512 << 10, 10_000);
        assert!(window > 1_000_000, "{window}");
        let (window, _delay) = settle(1.0, Duration::from_micros(1), 512 << 10, 1 << 20);
        assert!(window >= 512 << 10, "{window}");
    }
}
