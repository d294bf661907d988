//! The control language of the `fault-proxy` program: one command a line.
//!
//! | line | UDP | TCP | effect |
//! |---|---|---|---|
//! | `cut [DIRECTION]` | yes | yes | drops (UDP) or holds (TCP) everything |
//! | `heal` | yes | yes | takes away every fault |
//! | `loss SHARE [DIRECTION]` | yes | | loses a share, 0 to 1 |
//! | `reorder SHARE [DIRECTION]` | yes | | holds a share back |
//! | `duplicate SHARE [DIRECTION]` | yes | | sends a share twice |
//! | `delay MS [DIRECTION]` | yes | yes | adds to the time |
//! | `jitter MS [DIRECTION]` | yes | | adds a drawn time |
//! | `rate BYTES_PER_S or none [DIRECTION]` | yes | yes | limits the rate |
//! | `reset-after BYTES or none [DIRECTION]` | | yes | resets once that much has passed |
//! | `reset` | | yes | resets the open connections |
//! | `refuse`, `accept` | | yes | turns new clients away, takes them again |
//! | `stats` | yes | yes | prints the counts |
//! | `quit` | yes | yes | ends the proxy |
//!
//! DIRECTION is `to-target` or `to-client`; without it, both. A setting leaves the others alone.

use std::io;
use std::str::{FromStr, SplitWhitespace};
use std::time::Duration;

use super::{Direction, Faults, FaultsError, StreamFaults, TcpProxy, UdpProxy};

#[cfg(test)]
mod tests;

/// One line of control.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Command {
    /// Listens again.
    Accept,
    /// Drops or holds everything.
    Cut(Scope),
    /// Takes away every fault.
    Heal,
    /// Ends the proxy.
    Quit,
    /// Refuses new clients.
    Refuse,
    /// Resets open connections.
    Reset,
    /// Changes one fault.
    Set(Setting, Scope),
    /// Prints the counts.
    Stats,
}

/// Which directions a command is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Both directions.
    Both,
    /// This one.
    Only(Direction),
}

impl Scope {
    /// The directions it covers.
    pub fn directions(self) -> impl Iterator<Item = Direction> {
        Direction::BOTH.into_iter().filter(move |direction| match self {
            Self::Both => true,
            Self::Only(only) => only == *direction,
        })
    }
}

/// One fault and its new value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Setting {
    /// Time added.
    Delay(Duration),
    /// Share sent twice.
    Duplicate(f64),
    /// Largest drawn time added.
    Jitter(Duration),
    /// Share lost.
    Loss(f64),
    /// Bytes a second, if limited.
    Rate(Option<u64>),
    /// Share held back.
    Reorder(f64),
    /// Bytes until a reset, if any.
    ResetAfter(Option<u64>),
}

/// Why a line of control had no effect.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The line is empty. Fault: whoever wrote it.
    #[error("the line holds no command")]
    Empty,
    /// No such command or direction. Fault: whoever wrote the line.
    #[error("{word:?} is not known here")]
    Unknown {
        /// The word.
        word: String,
    },
    /// A command lacks its value. Fault: whoever wrote the line.
    #[error("{command} needs a value")]
    ValueMissing {
        /// The command.
        command: &'static str,
    },
    /// A value is not a number of its kind. Fault: whoever wrote the line.
    #[error("{word:?} is no value for {command}")]
    ValueUnreadable {
        /// The command.
        command: &'static str,
        /// The word.
        word: String,
    },
    /// The value is out of range. Fault: whoever wrote the line.
    #[error(transparent)]
    Faults(#[from] FaultsError),
    /// This kind of proxy has no such fault. Fault: whoever wrote the line.
    #[error("this kind of proxy has no {command:?}")]
    OtherKind {
        /// The command.
        command: Command,
    },
    /// The listening socket can't be made again. Fault: the machine.
    #[error("can't listen again")]
    Listen(#[source] io::Error),
}

impl FromStr for Command {
    type Err = CommandError;

    fn from_str(line: &str) -> Result<Self, CommandError> {
        let mut words = line.split_whitespace();
        let name = words.next().ok_or(CommandError::Empty)?;
        let setting = match name {
            "accept" => return last(Self::Accept, words),
            "heal" => return last(Self::Heal, words),
            "quit" => return last(Self::Quit, words),
            "refuse" => return last(Self::Refuse, words),
            "reset" => return last(Self::Reset, words),
            "stats" => return last(Self::Stats, words),
            "cut" => return last(Self::Cut(scope(&mut words)?), words),
            "delay" => Setting::Delay(Duration::from_millis(value("delay", &mut words)?)),
            "duplicate" => Setting::Duplicate(value("duplicate", &mut words)?),
            "jitter" => Setting::Jitter(Duration::from_millis(value("jitter", &mut words)?)),
            "loss" => Setting::Loss(value("loss", &mut words)?),
            "rate" => Setting::Rate(value_or_none("rate", &mut words)?),
            "reorder" => Setting::Reorder(value("reorder", &mut words)?),
            "reset-after" => Setting::ResetAfter(value_or_none("reset-after", &mut words)?),
            unknown => {
                return Err(CommandError::Unknown { word: unknown.to_owned() });
            }
        };
        last(Self::Set(setting, scope(&mut words)?), words)
    }
}

/// `command`, if no word is left over.
fn last(command: Command, mut words: SplitWhitespace<'_>) -> Result<Command, CommandError> {
    match words.next() {
        None => Ok(command),
        Some(word) => Err(CommandError::Unknown { word: word.to_owned() }),
    }
}

fn scope(words: &mut SplitWhitespace<'_>) -> Result<Scope, CommandError> {
    match words.next() {
        None => Ok(Scope::Both),
        Some("to-client") => Ok(Scope::Only(Direction::ToClient)),
        Some("to-target") => Ok(Scope::Only(Direction::ToTarget)),
        Some(word) => Err(CommandError::Unknown { word: word.to_owned() }),
    }
}

fn value<T: FromStr>(
    command: &'static str,
    words: &mut SplitWhitespace<'_>,
) -> Result<T, CommandError> {
    let word = words.next().ok_or(CommandError::ValueMissing { command })?;
    parse(command, word)
}

fn value_or_none<T: FromStr>(
    command: &'static str,
    words: &mut SplitWhitespace<'_>,
) -> Result<Option<T>, CommandError> {
    match words.next().ok_or(CommandError::ValueMissing { command })? {
        "none" => Ok(None),
        word => parse(command, word).map(Some),
    }
}

fn parse<T: FromStr>(command: &'static str, word: &str) -> Result<T, CommandError> {
    word.parse()
        .map_err(|_no_number| CommandError::ValueUnreadable { command, word: word.to_owned() })
}

impl Command {
    /// Carries the command out on a UDP proxy; printing and quitting are the program's part.
    ///
    /// # Errors
    /// [`CommandError::Faults`] out of range, [`CommandError::OtherKind`] for what only TCP has.
    /// Nothing changes then.
    pub fn apply_udp(self, proxy: &UdpProxy) -> Result<(), CommandError> {
        match self {
            Self::Cut(scope) => scope.directions().for_each(|direction| proxy.cut(direction)),
            Self::Heal => proxy.heal(),
            Self::Quit | Self::Stats => {}
            Self::Set(setting, scope) => {
                for direction in scope.directions() {
                    proxy.set(direction, self.datagram(setting, proxy.faults(direction))?);
                }
            }
            Self::Accept | Self::Refuse | Self::Reset => {
                return Err(CommandError::OtherKind { command: self });
            }
        }
        Ok(())
    }

    /// Carries the command out on a TCP proxy; printing and quitting are the program's part.
    ///
    /// # Errors
    /// [`CommandError::Faults`] out of range and [`CommandError::OtherKind`] for what only UDP
    /// has: nothing changes then. [`CommandError::Listen`] when new clients stay refused.
    pub fn apply_tcp(self, proxy: &TcpProxy) -> Result<(), CommandError> {
        match self {
            Self::Accept => proxy.accept().map_err(CommandError::Listen)?,
            Self::Cut(scope) => scope.directions().for_each(|direction| proxy.cut(direction)),
            Self::Heal => proxy.heal().map_err(CommandError::Listen)?,
            Self::Quit | Self::Stats => {}
            Self::Refuse => proxy.refuse(),
            Self::Reset => proxy.reset(),
            Self::Set(setting, scope) => {
                for direction in scope.directions() {
                    proxy.set(direction, self.stream(setting, proxy.faults(direction))?);
                }
            }
        }
        Ok(())
    }

    fn datagram(self, setting: Setting, faults: Faults) -> Result<Faults, CommandError> {
        Ok(match setting {
            Setting::Delay(delay) => faults.with_delay(delay)?,
            Setting::Duplicate(share) => faults.with_duplicate(share)?,
            Setting::Jitter(jitter) => faults.with_jitter(jitter)?,
            Setting::Loss(share) => faults.with_loss(share)?,
            Setting::Rate(rate) => faults.with_rate(rate)?,
            Setting::Reorder(share) => faults.with_reorder(share)?,
            Setting::ResetAfter(_) => return Err(CommandError::OtherKind { command: self }),
        })
    }

    fn stream(self, setting: Setting, faults: StreamFaults) -> Result<StreamFaults, CommandError> {
        Ok(match setting {
            Setting::Delay(delay) => faults.with_delay(delay)?,
            Setting::Rate(rate) => faults.with_rate(rate)?,
            Setting::ResetAfter(bytes) => faults.with_reset_after(bytes),
            Setting::Duplicate(_) | Setting::Jitter(_) | Setting::Loss(_) | Setting::Reorder(_) => {
                return Err(CommandError::OtherKind { command: self });
            }
        })
    }
}
