//! Has the node's certificate renewed before it expires.
//!
//! The CA's key is never on a node. When renewal is due, the node makes a new key and a signing
//! request, and runs the operator's command to have the request signed. The answer is checked and
//! put in place like any other certificate; taking it into use is left to the watcher of the
//! certificate directory. Until then, and after any failure, the old certificate stays in use.
//!
//! ```text
//!  waiting ──due──▶ command runs ──answer installed──▶ waiting for the next one
//!     ▲                 │ failed, or due again at once
//!     └── back-off ◀────┘
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, sleep_until};
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::{Kind, NodeName};
use vioduct_certs::inspect::{certificates, describe};
use vioduct_certs::install::{Answer, InstallError, Installed, install, pending_request};
use vioduct_certs::moment::{after, between, text};
use vioduct_certs::rotation::{Schedule, retry_wait};
use vioduct_transport::Endpoint;

use crate::config::{NodeConfig, RenewalConfig};
use crate::reload::{TrustState, locked};
use crate::status::RenewalStatus;

mod signer;

pub use signer::SignError;

/// How often the wall clock is compared with the date of renewal: it may be set at any time.
const LOOK: Duration = Duration::from_secs(1);
/// How long the watcher may take to put a renewed certificate into use.
const IN_USE_MAX: Duration = Duration::from_secs(5);
const DUE_AT_ONCE_MEND: &str =
    "set this host's clock and that of the CA's host, or have longer lives signed";

/// Why a certificate was not renewed. The old one stays in use, the new key waits.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The node's file has no `[renewal]` table. Fault: the operator.
    #[error("{} has no [renewal] table, so nothing says who signs", path.display())]
    NoCommand {
        /// The node's file.
        path: PathBuf,
    },
    /// Key or signing request could not be made.
    #[error("no signing request")]
    Request(#[source] InstallError),
    /// The command did not sign it.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The command ended well, without a certificate. Fault: whoever wrote it.
    #[error("the renewal command printed no PEM certificate on its standard output")]
    NoCertificate,
    /// The certificate is for somebody else. Fault: whoever wrote the command.
    #[error("the renewal command's certificate is for {offered}, not for node {node}")]
    OtherHolder {
        /// The name in the node's file.
        node: NodeName,
        /// Whom the certificate is for, or why that can't be told.
        offered: String,
    },
    /// The certificate is not one that this node can use.
    #[error("certificate not installed")]
    Install(#[source] InstallError),
    /// The certificate was installed, but the node goes on with the old one.
    #[error("certificate {installed} was installed, but {in_use} is still in use")]
    NotInUse {
        /// Serial number of the installed certificate.
        installed: String,
        /// Serial number of the one in use.
        in_use: String,
    },
    /// A task ended before its time. Fault: ours.
    #[error("a file operation was cut off")]
    Task(#[from] JoinError),
}

/// Has the certificate renewed now, due or not, and puts the new one in place. A node that runs
/// takes it into use by itself.
///
/// Not cancel-safe: the command is killed; the new key waits for the next try.
///
/// # Errors
/// [`RenewError`]; the old certificate is still in place then.
pub async fn renew(config: &NodeConfig, now: UnixTime) -> Result<Installed, RenewError> {
    let path = &config.path;
    let renewal =
        config.renewal.as_ref().ok_or_else(|| RenewError::NoCommand { path: path.clone() })?;
    sign_and_install(renewal, &config.name, &config.certs_dir, now).await
}

async fn sign_and_install(
    config: &RenewalConfig,
    node: &NodeName,
    dir: &Path,
    now: UnixTime,
) -> Result<Installed, RenewError> {
    let (request_dir, name) = (dir.to_owned(), node.clone());
    let request = spawn_blocking(move || pending_request(&request_dir, &name));
    let request = request.await?.map_err(RenewError::Request)?;
    let printed = signer::run(config, node, request.as_bytes()).await?;
    let answer = Answer::parse(&printed).ok_or(RenewError::NoCertificate)?;
    require_holder(node, &answer)?;
    let dir = dir.to_owned();
    let installed = spawn_blocking(move || install(&dir, &answer.installation(), now));
    installed.await?.map_err(RenewError::Install)
}

/// The installed certificate, which an installation compares with, may be unreadable; the node's
/// name is not.
fn require_holder(node: &NodeName, answer: &Answer) -> Result<(), RenewError> {
    let leaves = certificates(answer.cert.as_bytes()).map_err(InstallError::from);
    let leaves = leaves.map_err(RenewError::Install)?;
    for leaf in &leaves {
        let identity = describe(leaf).map(|described| described.identity);
        let offered = match identity {
            Ok(Ok(holder)) if holder.kind == Kind::Node && holder.name == *node => continue,
            Ok(Ok(other)) => other.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        return Err(RenewError::OtherHolder { node: node.clone(), offered });
    }
    Ok(())
}

/// What a status tells of renewal.
#[derive(Debug, Clone, Default)]
pub(crate) struct RenewalState {
    renewed: u64,
    failures: u32,
    /// When the next try is due after a failure.
    retry_at: Option<UnixTime>,
    error: Option<String>,
}

impl RenewalState {
    pub(crate) fn status(&self, due: UnixTime, now: UnixTime) -> RenewalStatus {
        RenewalStatus {
            next_try_in_s: between(now, self.retry_at.unwrap_or(due)).as_secs(),
            renewed: self.renewed,
            failures: self.failures,
            last_error: self.error.clone(),
        }
    }
}

pub(crate) fn schedule(credentials: &Credentials) -> Schedule {
    let seed = credentials.serial().seed();
    Schedule::new(credentials.not_before(), credentials.not_after(), seed)
}

/// Renews the certificate of a running node.
pub(crate) struct Renewer {
    config: RenewalConfig,
    node: NodeName,
    dir: PathBuf,
    endpoint: Endpoint,
    trust: Arc<Mutex<TrustState>>,
    /// No try before.
    hold: Instant,
    failures: u32,
    /// Serial number of a renewed certificate that has to be in use when `hold` is over.
    installed: Option<String>,
}

impl Renewer {
    pub(crate) fn new(
        config: RenewalConfig,
        node: NodeName,
        dir: PathBuf,
        endpoint: Endpoint,
        trust: Arc<Mutex<TrustState>>,
    ) -> Self {
        locked(&trust).renewal = Some(RenewalState::default());
        let hold = Instant::now();
        Self { config, node, dir, endpoint, trust, hold, failures: 0, installed: None }
    }

    /// Renews whenever that is due, until it is dropped; a command under way is killed then.
    pub(crate) async fn run(mut self) {
        loop {
            self.look(UnixTime::now()).await;
            let now = Instant::now();
            let look = now + LOOK;
            // Before a retry no longer than the wait that was announced.
            let waits = self.failures > 0 && self.hold > now;
            let next = if waits { look.min(self.hold) } else { look };
            sleep_until(next).await;
        }
    }

    async fn look(&mut self, now: UnixTime) {
        let credentials = self.endpoint.credentials();
        let in_use = credentials.serial().to_string();
        if now < schedule(&credentials).renew_at() {
            // Renewed, be it by hand; but not settled by a certificate that is due in a moment.
            self.installed = None;
            if !self.is_due_at_once(&credentials, now) {
                self.settle();
            }
            return;
        }
        if Instant::now() < self.hold {
            return;
        }
        let result = match self.installed.take().filter(|installed| *installed != in_use) {
            Some(installed) => Err(RenewError::NotInUse { installed, in_use }),
            None => self.renew(&credentials, now).await,
        };
        // The command took its time.
        let now = UnixTime::now();
        match result {
            Ok(installed) => self.succeeded(&installed, now),
            Err(error) => self.failed(error, &credentials, now),
        }
    }

    async fn renew(
        &self,
        credentials: &Credentials,
        now: UnixTime,
    ) -> Result<Installed, RenewError> {
        let (serial, not_after) = (credentials.serial(), text(credentials.not_after()));
        let program = &self.config.program;
        tracing::info!(%serial, not_after, program, "certificate is due, asking for a new one");
        sign_and_install(&self.config, &self.node, &self.dir, now).await
    }

    /// Forgets failures.
    fn settle(&mut self) {
        self.failures = 0;
        if let Some(state) = &mut locked(&self.trust).renewal {
            (state.failures, state.retry_at, state.error) = (0, None, None);
        }
    }

    /// The least time between two renewals.
    fn pause(&self) -> Duration {
        IN_USE_MAX.max(self.config.retry.min)
    }

    /// Whether a certificate is due before the next renewal may be.
    fn is_due_at_once(&self, credentials: &Credentials, now: UnixTime) -> bool {
        schedule(credentials).renew_at() <= after(now, self.pause())
    }

    fn succeeded(&mut self, installed: &Installed, now: UnixTime) {
        let fresh = &installed.credentials;
        let (serial, not_after) = (fresh.serial().to_string(), text(fresh.not_after()));
        tracing::info!(
            serial.from = installed.replaced.map(|serial| serial.to_string()),
            serial.to = serial,
            not_after,
            "certificate renewed"
        );
        if let Some(state) = &mut locked(&self.trust).renewal {
            state.renewed += 1;
        }
        if self.is_due_at_once(fresh, now) {
            // It would be signed again and again, for nothing.
            let error = format!("certificate {serial} is due again at once; {DUE_AT_ONCE_MEND}");
            let wait = self.back_off(error, fresh, now, self.pause());
            let (failures, retry_ms) = (self.failures, wait.as_millis());
            let mend = DUE_AT_ONCE_MEND;
            tracing::warn!(
                serial,
                not_after,
                failures,
                retry_ms,
                mend,
                "certificate renewed, but due again at once"
            );
        } else {
            self.settle();
            self.hold = Instant::now() + self.pause();
        }
        self.installed = Some(serial);
    }

    fn failed(&mut self, error: RenewError, credentials: &Credentials, now: UnixTime) {
        let error = format!("{:#}", anyhow::Error::new(error));
        let wait = self.back_off(error.clone(), credentials, now, Duration::ZERO);
        let (failures, retry_ms) = (self.failures, wait.as_millis());
        let left_s = between(now, credentials.not_after()).as_secs();
        tracing::warn!(
            error,
            failures,
            retry_ms,
            left_s,
            "certificate not renewed, the old one stays in use"
        );
    }

    /// Counts a failure, and returns how long nothing is tried, at least `pause`.
    fn back_off(
        &mut self,
        error: String,
        credentials: &Credentials,
        now: UnixTime,
        pause: Duration,
    ) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let left = between(now, credentials.not_after());
        let seed = credentials.serial().seed();
        let wait = retry_wait(self.config.retry, self.failures, left, seed).max(pause);
        self.hold = Instant::now() + wait;
        if let Some(state) = &mut locked(&self.trust).renewal {
            (state.failures, state.error) = (self.failures, Some(error));
            state.retry_at = Some(after(now, wait));
        }
        wait
    }
}

#[cfg(test)]
mod tests;
