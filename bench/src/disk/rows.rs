//! What is measured, on what, and what it is held to.

use std::fmt;

use clap::ValueEnum;

use crate::scheme::Bound;

/// A load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Row {
    /// Random reads of 4 KiB, one at a time.
    #[value(name = "rr-1")]
    RandomRead1,
    /// 32 at a time.
    #[value(name = "rr-32")]
    RandomRead32,
    /// Random writes of 4 KiB, one at a time.
    #[value(name = "rw-1")]
    RandomWrite1,
    /// 32 at a time.
    #[value(name = "rw-32")]
    RandomWrite32,
    /// Reads of 1 MiB, one after the other in place, four at a time.
    #[value(name = "sr")]
    SequentialRead,
    /// The same of writes.
    #[value(name = "sw")]
    SequentialWrite,
}

impl Row {
    pub(crate) const ALL: [Self; 6] = [
        Self::RandomRead1,
        Self::RandomRead32,
        Self::RandomWrite1,
        Self::RandomWrite32,
        Self::SequentialRead,
        Self::SequentialWrite,
    ];

    /// As fio wants it: pattern, bytes, depth.
    pub(crate) const fn load(self) -> (&'static str, &'static str, u32) {
        match self {
            Self::RandomRead1 => ("randread", "4k", 1),
            Self::RandomRead32 => ("randread", "4k", 32),
            Self::RandomWrite1 => ("randwrite", "4k", 1),
            Self::RandomWrite32 => ("randwrite", "4k", 32),
            Self::SequentialRead => ("read", "1m", 4),
            Self::SequentialWrite => ("write", "1m", 4),
        }
    }

    pub(crate) const fn is_read(self) -> bool {
        matches!(self, Self::RandomRead1 | Self::RandomRead32 | Self::SequentialRead)
    }

    /// One at a time: what counts is how long one takes.
    pub(crate) const fn is_alone(self) -> bool {
        matches!(self, Self::RandomRead1 | Self::RandomWrite1)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

/// A server, or a chain of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contender {
    /// Our NBD server over a local file.
    File,
    /// qemu-nbd over the same file.
    QemuNbd,
    /// nbdkit's file plugin over the same file.
    Nbdkit,
    /// Client, VIOS and repository in one process.
    OneProcess,
    /// Each in a process of its own.
    Processes,
    /// qemu-nbd over another qemu-nbd's Unix socket, that over a file.
    QemuChain,
    /// As `one-process`, and the VIOS without a fabric: another one's is used.
    OneProcessRedirected,
    /// The same in processes.
    ProcessesRedirected,
}

impl Contender {
    pub(crate) const ALL: [Self; 8] = [
        Self::File,
        Self::QemuNbd,
        Self::Nbdkit,
        Self::OneProcess,
        Self::Processes,
        Self::QemuChain,
        Self::OneProcessRedirected,
        Self::ProcessesRedirected,
    ];

    /// Whom it is compared with.
    pub(crate) const fn baseline(self) -> Self {
        match self {
            Self::File | Self::QemuNbd | Self::Nbdkit => Self::QemuNbd,
            Self::OneProcess | Self::Processes | Self::QemuChain => Self::QemuChain,
            Self::OneProcessRedirected => Self::OneProcess,
            Self::ProcessesRedirected => Self::Processes,
        }
    }

    /// What the ratio to that should be: more is better.
    pub(crate) const fn aim(self, row: Row) -> Option<Bound> {
        match self {
            Self::File | Self::OneProcess | Self::Processes => Some(Bound::AtLeast(1.0)),
            // A request may take twice as long.
            Self::OneProcessRedirected | Self::ProcessesRedirected if row.is_alone() => {
                Some(Bound::AtLeast(0.5))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}
