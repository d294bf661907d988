//! Settings of the membership, and what foca is told of them.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use foca::PeriodicParams;

/// Smallest datagram in which every message fits, with the longest names.
const DATAGRAM_BYTES_MIN: u16 = 512;
/// Largest datagram that fits the largest packet of a link.
const DATAGRAM_BYTES_MAX: u16 = 6400;
/// News is passed on as if there were at least so many nodes, twelve times by each. With the eight
/// times for 100 nodes, in one of thirty deaths somebody did not hear of it, and found out by its
/// own probe a minute later; and the first nodes of a cluster, which know of few others, would stop
/// before the rest had heard.
const NEWS_NODES_MIN: NonZeroU32 = NonZeroU32::new(1024).expect("it is not zero");
const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Settings of the membership. [`Default`] suits a local network of up to 1000 nodes.
///
/// All nodes of a cluster need the same `datagram_bytes_max`; the rest may differ for the time of a
/// change. How often a change is passed on, and how long a suspicion lasts, grow with the logarithm
/// of the number of members, and follow it by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipConfig {
    /// One member is probed each such period, 10 ms..=1 min. Default 1 s.
    pub probe_period: Duration,
    /// How long the probed member may take to answer before others are asked to probe it, 1 ms up
    /// to half of `probe_period`. Default 400 ms.
    pub probe_rtt: Duration,
    /// Others asked to probe a member that did not answer, 1..=16. Default 3. As many are told of a
    /// leave.
    pub indirect_probes: u8,
    /// A suspicion lasts this many periods times the decimal logarithm of the number of members,
    /// or of 10 if that is more, 1..=60. Default 4.
    pub suspicion_factor: u8,
    /// While there is news, it is sent to some members this often, 1 ms..=1 min. Default 200 ms.
    pub gossip_period: Duration,
    /// To how many members at once, 1..=16. Default 3.
    pub gossip_fan_out: u8,
    /// Each such period one member is asked for some members that it knows, 1 s..=1 h. Default
    /// 30 s.
    pub refresh_period: Duration,
    /// Each such period two members that are down are spoken to, so that the parts of a cluster
    /// that was cut in two learn of each other, 1 s..=1 h. Default 65 s.
    pub heal_period: Duration,
    /// As long as no member is known, the seeds are asked each such period, 10 ms..=1 min. Default
    /// 1 s.
    pub join_period: Duration,
    /// Longest datagram, bytes, 512..=6400. The default, 1150, fits a QUIC packet of 1200 bytes
    /// with 12 to spare.
    pub datagram_bytes_max: u16,
    /// Names known at most, those that are down counted, 2..=65 536. Default 4096. When one more
    /// comes, the member that has been down the longest is forgotten; if none is down, the newcomer
    /// is not let in.
    pub members_max: u32,
}

impl Default for MembershipConfig {
    fn default() -> Self {
        Self {
            probe_period: Duration::from_secs(1),
            probe_rtt: Duration::from_millis(400),
            indirect_probes: 3,
            suspicion_factor: 4,
            gossip_period: Duration::from_millis(200),
            gossip_fan_out: 3,
            refresh_period: Duration::from_secs(30),
            heal_period: Duration::from_secs(65),
            join_period: Duration::from_secs(1),
            datagram_bytes_max: 1150,
            members_max: 4096,
        }
    }
}

/// A setting out of its range. Fault: the operator. Nothing was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("membership setting `{field}` is {value}; it must be {bound}")]
pub struct MembershipConfigError {
    /// Name of the setting.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What is allowed.
    pub bound: String,
}

impl MembershipConfig {
    /// Checks every range.
    ///
    /// # Errors
    /// [`MembershipConfigError`] names the first setting that is out of range.
    pub fn validate(&self) -> Result<(), MembershipConfigError> {
        let second = Duration::from_secs(1);
        duration("probe_period", self.probe_period, 10 * MILLISECOND, MINUTE)?;
        duration("probe_rtt", self.probe_rtt, MILLISECOND, self.probe_period / 2)?;
        number("indirect_probes", self.indirect_probes, 1, 16)?;
        number("suspicion_factor", self.suspicion_factor, 1, 60)?;
        duration("gossip_period", self.gossip_period, MILLISECOND, MINUTE)?;
        number("gossip_fan_out", self.gossip_fan_out, 1, 16)?;
        duration("refresh_period", self.refresh_period, second, HOUR)?;
        duration("heal_period", self.heal_period, second, HOUR)?;
        duration("join_period", self.join_period, 10 * MILLISECOND, MINUTE)?;
        let bytes = self.datagram_bytes_max;
        number("datagram_bytes_max", bytes, DATAGRAM_BYTES_MIN.into(), DATAGRAM_BYTES_MAX.into())?;
        number("members_max", self.members_max, 2, 65_536)
    }

    /// How long a suspicion lasts in a cluster of `nodes`, before the suspect is declared down.
    #[must_use]
    pub fn suspicion(&self, nodes: u32) -> Duration {
        let factor = f64::from(self.suspicion_factor) * f64::from(nodes.max(10)).log10();
        self.probe_period.mul_f64(factor)
    }

    /// foca's settings for a cluster of `nodes`; `packet_bytes` is what it may fill.
    pub(super) fn foca(&self, nodes: NonZeroU32, packet_bytes: usize) -> foca::Config {
        let one = NonZeroUsize::MIN;
        let news_for = nodes.max(NEWS_NODES_MIN);
        let every = |frequency, num_members| Some(PeriodicParams { frequency, num_members });
        foca::Config {
            probe_period: self.probe_period,
            probe_rtt: self.probe_rtt,
            num_indirect_probes: count(self.indirect_probes),
            max_transmissions: foca::Config::new_lan(news_for).max_transmissions,
            suspect_to_down_after: self.suspicion(nodes.get()),
            // The machine itself says who is forgotten.
            remove_down_after: None,
            max_packet_size: NonZeroUsize::new(packet_bytes).unwrap_or(one),
            notify_down_members: true,
            periodic_announce: every(self.refresh_period, one),
            periodic_announce_to_down_members: every(self.heal_period, one.saturating_add(1)),
            periodic_gossip: every(self.gossip_period, count(self.gossip_fan_out)),
        }
    }
}

/// At least one, whatever is asked for.
fn count(number: u8) -> NonZeroUsize {
    NonZeroUsize::new(number.into()).unwrap_or(NonZeroUsize::MIN)
}

fn number(
    field: &'static str,
    value: impl Into<u32>,
    min: u32,
    max: u32,
) -> Result<(), MembershipConfigError> {
    let value = value.into();
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let bound = format!("{min} to {max}");
    Err(MembershipConfigError { field, value: value.to_string(), bound })
}

fn duration(
    field: &'static str,
    value: Duration,
    min: Duration,
    max: Duration,
) -> Result<(), MembershipConfigError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let bound = format!("{min:?} to {max:?}");
    Err(MembershipConfigError { field, value: format!("{value:?}"), bound })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_own_ranges() {
        assert_eq!(MembershipConfig::default().validate(), Ok(()));
    }

    #[test]
    fn a_setting_out_of_range_is_named_with_its_bound() {
        let rtt = Duration::from_millis(501);
        let slow = MembershipConfig { probe_rtt: rtt, ..MembershipConfig::default() };
        assert_eq!(
            slow.validate().unwrap_err().to_string(),
            "membership setting `probe_rtt` is 501ms; it must be 1ms to 500ms"
        );
        let small = MembershipConfig { datagram_bytes_max: 511, ..MembershipConfig::default() };
        assert_eq!(
            small.validate().unwrap_err().to_string(),
            "membership setting `datagram_bytes_max` is 511; it must be 512 to 6400"
        );
    }

    #[test]
    fn a_suspicion_lasts_longer_in_a_large_cluster() {
        let config = MembershipConfig::default();
        let secs = |nodes| config.suspicion(nodes).as_secs_f64();
        assert_eq!([secs(2), secs(10), secs(100), secs(1000)], [4.0, 4.0, 8.0, 12.0]);
    }

    #[test]
    fn news_is_passed_on_often_enough_in_any_cluster() {
        let transmissions = |nodes| {
            let nodes = NonZeroU32::new(nodes).unwrap();
            MembershipConfig::default().foca(nodes, 1100).max_transmissions.get()
        };
        assert_eq!([transmissions(2), transmissions(200), transmissions(4000)], [12, 12, 14]);
    }
}
