//! The two directions through a proxy, and one value for each.

use std::fmt;

/// A direction through a proxy. A client is whoever sends to the proxy's own address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the clients to the target.
    ToTarget,
    /// From the target back to the clients.
    ToClient,
}

impl Direction {
    /// Both directions.
    pub const BOTH: [Self; 2] = [Self::ToTarget, Self::ToClient];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ToTarget => "to-target",
            Self::ToClient => "to-client",
        })
    }
}

/// One value for each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PerDirection<T> {
    /// The value from the clients to the target.
    pub to_target: T,
    /// The value from the target back to the clients.
    pub to_client: T,
}

impl<T> PerDirection<T> {
    /// The value of `direction`.
    pub const fn at(&self, direction: Direction) -> &T {
        match direction {
            Direction::ToTarget => &self.to_target,
            Direction::ToClient => &self.to_client,
        }
    }

    /// The value of `direction`, to be changed.
    pub const fn at_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::ToTarget => &mut self.to_target,
            Direction::ToClient => &mut self.to_client,
        }
    }
}
