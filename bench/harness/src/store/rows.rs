//! The stores, and the rows of their table.

use std::fmt;

use clap::ValueEnum;

/// Which store a process speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// Our database.
    Vioduct,
    /// etcd.
    Etcd,
}

impl StoreKind {
    /// Both, in the order in which they are measured.
    pub const ALL: [Self; 2] = [Self::Vioduct, Self::Etcd];
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.pad(value.get_name()))
    }
}

/// One thing measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreRow {
    /// Puts, one at a time.
    #[value(name = "put-1")]
    #[serde(rename = "put-1")]
    Put1,
    /// Puts of 32 clients.
    #[value(name = "put-32")]
    #[serde(rename = "put-32")]
    Put32,
    /// Puts of 256 clients.
    #[value(name = "put-256")]
    #[serde(rename = "put-256")]
    Put256,
    /// Linearizable gets, one at a time.
    #[value(name = "get-1")]
    #[serde(rename = "get-1")]
    Get1,
    /// Linearizable gets of 32 clients.
    #[value(name = "get-32")]
    #[serde(rename = "get-32")]
    Get32,
    /// Linearizable gets of 256 clients.
    #[value(name = "get-256")]
    #[serde(rename = "get-256")]
    Get256,
    /// Puts, one at a time, each seen by one that watches.
    #[value(name = "watch-1")]
    #[serde(rename = "watch-1")]
    Watch1,
    /// The same, each seen by all of 10.
    #[value(name = "watch-10")]
    #[serde(rename = "watch-10")]
    Watch10,
    /// The same, each seen by all of 100.
    #[value(name = "watch-100")]
    #[serde(rename = "watch-100")]
    Watch100,
}

/// The load of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreLoad {
    /// Puts.
    Puts {
        /// Each with one put in the air.
        clients: u32,
    },
    /// Gets of rows that are there.
    Gets {
        /// Each with one get in the air.
        clients: u32,
    },
    /// Puts of one client, the next one when all that watch were told of the last.
    Watched {
        /// That watch.
        watchers: usize,
    },
}

impl StoreRow {
    /// Every row, in the order of the table.
    pub const ALL: [Self; 9] = [
        Self::Put1,
        Self::Put32,
        Self::Put256,
        Self::Get1,
        Self::Get32,
        Self::Get256,
        Self::Watch1,
        Self::Watch10,
        Self::Watch100,
    ];

    /// What the client does.
    #[must_use]
    pub const fn load(self) -> StoreLoad {
        match self {
            Self::Put1 => StoreLoad::Puts { clients: 1 },
            Self::Put32 => StoreLoad::Puts { clients: 32 },
            Self::Put256 => StoreLoad::Puts { clients: 256 },
            Self::Get1 => StoreLoad::Gets { clients: 1 },
            Self::Get32 => StoreLoad::Gets { clients: 32 },
            Self::Get256 => StoreLoad::Gets { clients: 256 },
            Self::Watch1 => StoreLoad::Watched { watchers: 1 },
            Self::Watch10 => StoreLoad::Watched { watchers: 10 },
            Self::Watch100 => StoreLoad::Watched { watchers: 100 },
        }
    }
}

impl fmt::Display for StoreRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.pad(value.get_name()))
    }
}
