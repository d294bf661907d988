//! What nodes tell each other of their named and grouped actors.

use serde::{Deserialize, Serialize};

use crate::id::{ActorName, GroupName};

/// Groups that one actor can be in.
pub(crate) const GROUPS_MAX: usize = 16;
/// Changes on one page.
pub(crate) const CHANGES_MAX: usize = 1024;

/// One life of an actor that others can find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listing {
    pub(crate) serial: u64,
    pub(crate) name: Option<ActorName>,
    pub(crate) groups: Vec<GroupName>,
}

/// One change of a node's ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// This life can be found.
    Listed(Listing),
    /// It cannot any more.
    Ended { serial: u64 },
}

impl Change {
    pub(crate) const fn serial(&self) -> u64 {
        match self {
            Self::Listed(listing) => listing.serial,
            Self::Ended { serial } => *serial,
        }
    }

    /// More than it takes when encoded.
    pub(crate) fn bytes_max(&self) -> usize {
        const NUMBERS: usize = 24;
        match self {
            Self::Listed(Listing { name, groups, .. }) => {
                let name = name.as_ref().map_or(0, |name| name.as_str().len());
                let groups = groups.iter().map(|group| group.as_str().len() + 2);
                NUMBERS + name + groups.sum::<usize>()
            }
            Self::Ended { .. } => NUMBERS,
        }
    }
}

/// Some changes, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Page {
    /// They follow this version. With 0, what was read before does not count any more.
    pub(crate) after: u64,
    /// With them, this version is reached.
    pub(crate) upto: u64,
    /// The version at which the reading of everything began.
    pub(crate) since: u64,
    pub(crate) changes: Vec<Change>,
}

/// How far a reader has come in another node's ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Read {
    /// Every change up to this version is known that is still in the ledger; 0 for none.
    pub(crate) upto: u64,
    /// No end before this version was missed.
    pub(crate) since: u64,
}
