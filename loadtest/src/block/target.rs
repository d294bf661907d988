//! What a client drives: an export of an NBD server, or the disk of an LU through its actor.

use std::fmt;
use std::str::FromStr;

use super::uri::{Uri, UriError};

/// A disk, as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Nbd(Uri),
    /// The number of the LU, at the hypervisor that the harness runs.
    Lu(u64),
}

/// Why a text names no disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("lu: takes the number of an LU, as `vioduct lu ls` shows it: lu:7")]
    Lu,
    #[error("{0}; or lu:N for the disk of an LU, with --hypervisor")]
    Uri(#[from] UriError),
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        match text.strip_prefix("lu:") {
            Some(number) => number.parse().map(Self::Lu).map_err(|_no_number| TargetError::Lu),
            None => Ok(Self::Nbd(text.parse()?)),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nbd(uri) => uri.fmt(f),
            Self::Lu(number) => write!(f, "lu:{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_lu_by_its_number_and_any_export_are_targets_and_are_shown_as_they_were_given() {
        assert_eq!("lu:7".parse(), Ok(Target::Lu(7)));
        assert_eq!("lu:18446744073709551615".parse(), Ok(Target::Lu(u64::MAX)));
        assert!(matches!("nbd://lu:7/".parse(), Ok(Target::Nbd(_))));
        for text in ["lu:7", "nbd://h/lu:7", "nbd+unix:///?socket=/run/d.sock"] {
            assert_eq!(text.parse::<Target>().map(|target| target.to_string()), Ok(text.into()));
        }
    }

    #[test]
    fn what_is_neither_is_refused_with_what_may_stand_there() {
        for text in ["lu:", "lu:x", "lu:-1", "lu:7/", "lu: 7", "lu:18446744073709551616"] {
            assert_eq!(text.parse::<Target>(), Err(TargetError::Lu), "{text}");
        }
        for text in ["", "lu", "7", "LU:7", "/run/d.sock"] {
            assert_eq!(text.parse::<Target>(), Err(TargetError::Uri(UriError::Form)), "{text}");
        }
        assert_eq!("nbds://h/".parse::<Target>(), Err(TargetError::Uri(UriError::Scheme)));
    }
}
