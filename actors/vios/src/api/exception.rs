//! Why a request was not carried out.

use std::fmt;

use serde::{Deserialize, Serialize};
use vioduct_db::client::DbError;

use crate::cluster::admin::AdminError;
use crate::cluster::explain;
use crate::cluster::row::RowError;

/// Why a request was not carried out: a code for programs, words for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{text}")]
pub struct VioException {
    /// What is wrong.
    pub code: VioCode,
    /// The same in words, which name the mend.
    pub text: String,
}

/// What is wrong with a request, or with the cluster. Codes are never given another meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VioCode {
    /// There is such an object already.
    Exists,
    /// There is no such object.
    Missing,
    /// A name, a size, a socket or a count is none.
    Invalid,
    /// It is not done to objects of this kind, or in this way.
    NotSupported,
    /// Other objects need it as it is.
    InUse,
    /// There are as many as there can be.
    Full,
    /// It could not be made, or is being deleted.
    NotReady,
    /// Somebody else has changed it: look at it again.
    Changed,
    /// The caller's certificate does not grant it.
    NotAllowed,
    /// A newer program has written it, or none that is known.
    Unreadable,
    /// The database gives no answer. Nothing was changed.
    Unavailable,
    /// The database gave no answer in time. It may be done.
    MaybeDone,
    /// The database refuses it for another reason.
    Refused,
}

impl VioCode {
    /// Its name, as in serde's data model.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exists => "exists",
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::NotSupported => "not_supported",
            Self::InUse => "in_use",
            Self::Full => "full",
            Self::NotReady => "not_ready",
            Self::Changed => "changed",
            Self::NotAllowed => "not_allowed",
            Self::Unreadable => "unreadable",
            Self::Unavailable => "unavailable",
            Self::MaybeDone => "maybe_done",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for VioCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<&DbError> for VioCode {
    fn from(error: &DbError) -> Self {
        match error {
            DbError::Unavailable { .. } => Self::Unavailable,
            DbError::AcrossShards | DbError::Empty | DbError::Invalid { .. } => Self::Refused,
            DbError::NotItsTable { .. } => Self::NotAllowed,
            DbError::Exhausted
            | DbError::TooManySessions
            | DbError::TooManyLeases
            | DbError::TooManyWatches => Self::Full,
            DbError::NoTable { .. } | DbError::NoShard { .. } | DbError::NoLease { .. } => {
                Self::Missing
            }
            DbError::KeyTooLong { .. } | DbError::ValueTooLong { .. } => Self::Invalid,
            // Of what is not known here, the worst is to be expected.
            _ => Self::MaybeDone,
        }
    }
}

impl From<&AdminError> for VioCode {
    fn from(error: &AdminError) -> Self {
        match error {
            AdminError::Exists(_)
            | AdminError::Admitted(_)
            | AdminError::PoolExists(_)
            | AdminError::ClientExists(_)
            | AdminError::ExportTaken { .. }
            | AdminError::OneOutside(_)
            | AdminError::VtdExists { .. } => Self::Exists,
            AdminError::NoCluster
            | AdminError::NotAdmitted(_)
            | AdminError::NoPool(_)
            | AdminError::NoLu(_)
            | AdminError::NoClient(_)
            | AdminError::NoVtd(_)
            | AdminError::NotOwned(_) => Self::Missing,
            AdminError::Name(_)
            | AdminError::Founders(_)
            | AdminError::LuSize(_)
            | AdminError::ExportName
            | AdminError::NoLife
            | AdminError::Front(_) => Self::Invalid,
            AdminError::OtherStorage { .. }
            | AdminError::NoExports(_)
            | AdminError::NoSizes(_)
            | AdminError::NotOurs(_)
            | AdminError::Shrink { .. } => Self::NotSupported,
            AdminError::PoolInUse { .. }
            | AdminError::LuInUse { .. }
            | AdminError::LuShown { .. }
            | AdminError::Transferring { .. }
            | AdminError::ClientInUse { .. }
            | AdminError::OneClient { .. }
            | AdminError::Owned { .. }
            | AdminError::SameCec { .. } => Self::InUse,
            AdminError::Full | AdminError::TooManyVtds(_) | AdminError::TooLarge(_) => Self::Full,
            AdminError::LuFailed { .. } | AdminError::LuDeleting(_) => Self::NotReady,
            AdminError::Swept(_) | AdminError::Changed | AdminError::Version { .. } => {
                Self::Changed
            }
            AdminError::Row(RowError::Newer { .. } | RowError::Unreadable { .. }) => {
                Self::Unreadable
            }
            AdminError::Db(error) => error.into(),
        }
    }
}

impl From<AdminError> for VioException {
    fn from(error: AdminError) -> Self {
        Self { code: VioCode::from(&error), text: explain(&error) }
    }
}

impl VioException {
    pub(super) fn cluster_stays() -> Self {
        let text = "the cluster is not deleted; take VIOSes out with `vioduct vios remove`".into();
        Self { code: VioCode::NotSupported, text }
    }
}
