//! The redirect protocol's machines together: owners, relays and a store, over a network and a disk
//! that fail. The machines are the real ones; only what lies between them is made up.

#![cfg(test)]
#![expect(clippy::print_stdout, reason = "figures and failed runs are for whoever runs the tests")]

#[cfg(test)]
mod disk;
#[cfg(test)]
mod exits;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod model;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod planted;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod unfenced;
#[cfg(test)]
mod world;
