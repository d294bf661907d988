//! Arguments of `block`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Shown, duration, positive};
use crate::block::Target;

/// Clients of one run: each has latencies of its own.
const CLIENTS_MAX: i64 = 256;

/// Block I/O against disks. It overwrites what they hold.
#[derive(Args, Debug)]
pub(crate) struct BlockArgs {
    /// Exports to drive: nbd://HOST:PORT/EXPORT, nbd+unix:///EXPORT?socket=PATH, nbd:unix:PATH; and
    /// lu:N with `--hypervisor`, the disk of an LU through its actor.
    #[arg(required = true, value_name = "DISK")]
    pub(crate) disks: Vec<Target>,
    /// The file, vioduct.toml, of a node that carries clients' disks. The node runs in this process
    /// for the time of the load, in place of `vioduct node start`.
    #[arg(long, value_name = "FILE")]
    pub(crate) hypervisor: Option<PathBuf>,
    /// Clients. They take the disks in turn; those that share a disk have a part of it each.
    /// Default: one for each disk.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=CLIENTS_MAX))]
    pub(crate) clients: Option<u32>,
    /// Bytes of a request; several, separated by commas, are as likely as each other.
    #[arg(long, value_name = "SIZE,...", default_value = "4k", value_delimiter = ',',
        value_parser = size)]
    pub(crate) size: Vec<u64>,
    /// Bytes of the disk that each client uses, from the first one's start on.
    #[arg(long, value_name = "SIZE", default_value = "64m", value_parser = size)]
    pub(crate) range: u64,
    /// Requests of a client under way at any time; with `--rate` at most.
    #[arg(long, value_name = "N", default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) depth: u32,
    /// Open loop: requests a second over all clients, whatever the answers do.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) rate: Option<u32>,
    /// Goes through the range from its start to its end instead of at random.
    #[arg(long)]
    pub(crate) sequential: bool,
    /// Share of reads, in per cent of the requests.
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = percent())]
    pub(crate) reads: u32,
    /// Share of writes that are answered when on stable media, in per cent of the writes.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    pub(crate) fua: u32,
    /// Share of writes that write zeroes without sending them.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    pub(crate) zeroes: u32,
    /// Share of writes that trim.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = percent())]
    pub(crate) trims: u32,
    /// A flush after so many other requests of a client; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) flush_every: u32,
    /// Reads blocks while they are written, too: for disks that put such requests in an order.
    #[arg(long)]
    pub(crate) overlap: bool,
    /// Runs a shell command so long after the measurement's start. May be repeated.
    #[arg(long, value_name = "TIME=COMMAND", value_parser = event)]
    pub(crate) at: Vec<(Duration, String)>,
    /// The same for a command that takes the power from the storage and gives it back: nothing is
    /// under way meanwhile, and what was not flushed may be gone afterwards.
    #[arg(long, value_name = "TIME=COMMAND", value_parser = event)]
    pub(crate) power_cut: Vec<(Duration, String)>,
    /// Where the sequence of requests begins.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Time before the measurement, with the same load.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(crate) warmup: Duration,
    /// Time of the measurement.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = positive)]
    pub(crate) duration: Duration,
    /// How long an answer is waited for; then the connection is cut, and made anew. Also how long
    /// the disk of an LU is waited for at the start.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = positive)]
    pub(crate) deadline: Duration,
    /// Between two readings of all that was written, at the end: late writes land meanwhile.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub(crate) settle: Duration,
    /// Open loop: a request that leaves this long after its planned moment is late.
    #[arg(long, value_name = "TIME", default_value = "5ms", value_parser = positive)]
    pub(crate) late_after: Duration,
    #[command(flatten)]
    pub(crate) shown: Shown,
}

fn percent() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(0..=100)
}

/// `512`, `4k`, `64m`, `1g`.
fn size(text: &str) -> Result<u64, String> {
    let letters = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(letters);
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _other => return Err("a size is bytes, or has k, m or g behind it: 512, 4k, 1g".to_owned()),
    };
    let number: u64 = number.parse().map_err(|error| format!("{number:?}: {error}"))?;
    match number.checked_mul(1 << shift) {
        None | Some(0) => Err("it is 1 byte to 16 EiB".to_owned()),
        Some(bytes) => Ok(bytes),
    }
}

/// `5s=COMMAND`.
fn event(text: &str) -> Result<(Duration, String), String> {
    let (time, command) = text.split_once('=').ok_or("it is TIME=COMMAND")?;
    Ok((duration(time)?, command.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        assert_eq!(size("512"), Ok(512));
        assert_eq!(size("4k"), Ok(4096));
        assert_eq!(size("3g"), Ok(3 << 30));
        for text in ["", "k", "0", "0k", "4K", "4kb", "-1", "1.5m", "99999999999g"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_event_is_a_time_and_a_command_of_any_letters() {
        let expected = (Duration::from_millis(1500), "kill -9 $(cat a=b)".to_owned());
        assert_eq!(event("1500ms=kill -9 $(cat a=b)"), Ok(expected));
        assert!(event("kill").is_err() && event("5=kill").is_err());
    }
}
