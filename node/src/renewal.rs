//! Has the node's certificate renewed before it expires.
//!
//! The CA's key is never on a node. When renewal is due, the node makes a new key and a signing
//! request, and runs the operator's command to have the request signed. The answer is checked and
//! put in place like any other certificate; taking it into use is left to the watcher of the
//! certificate directory. Until then, and after any failure, the old certificate stays in use.
//!
//! ```text
//!  waiting ──due──▶ command runs ──answer installed──▶ waiting for the next one
//!     ▲                 │ failed
//!     └── back-off ◀────┘
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, sleep_until};
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::NodeName;
use vioduct_certs::install::{Answer, InstallError, Installed, install, pending_request};
use vioduct_certs::moment::{after, between, text};
use vioduct_certs::rotation::{Schedule, retry_wait};
use vioduct_transport::Endpoint;

use crate::config::{NodeConfig, RenewalConfig};
use crate::reload::{TrustState, locked};
use crate::service::RenewalStatus;

mod signer;

pub use signer::SignError;

/// How often the wall clock is compared with the date of renewal: it may be set at any time.
const LOOK: Duration = Duration::from_secs(1);
/// How long the watcher may take to put a renewed certificate into use.
const IN_USE_MAX: Duration = Duration::from_secs(5);

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
    let dir = dir.to_owned();
    let installed = spawn_blocking(move || install(&dir, &answer.installation(), now));
    installed.await?.map_err(RenewError::Install)
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
            let look = Instant::now() + LOOK;
            // Before a retry no longer than the wait that was announced.
            let next = if self.failures > 0 { look.min(self.hold) } else { look };
            sleep_until(next).await;
        }
    }

    async fn look(&mut self, now: UnixTime) {
        let credentials = self.endpoint.credentials();
        let in_use = credentials.serial().to_string();
        if now < schedule(&credentials).renew_at() {
            // Renewed, be it by hand.
            self.installed = None;
            self.settle();
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
            Ok(installed) => self.succeeded(&installed),
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

    fn succeeded(&mut self, installed: &Installed) {
        let fresh = &installed.credentials;
        tracing::info!(
            serial.from = installed.replaced.map(|serial| serial.to_string()),
            serial.to = %fresh.serial(),
            not_after = text(fresh.not_after()),
            "certificate renewed"
        );
        self.settle();
        if let Some(state) = &mut locked(&self.trust).renewal {
            state.renewed += 1;
        }
        self.installed = Some(fresh.serial().to_string());
        // Also the least time between two renewals, should each be due as soon as it is signed.
        self.hold = Instant::now() + IN_USE_MAX.max(self.config.retry.min);
    }

    fn failed(&mut self, error: RenewError, credentials: &Credentials, now: UnixTime) {
        self.failures = self.failures.saturating_add(1);
        let failures = self.failures;
        let left = between(now, credentials.not_after());
        let seed = credentials.serial().seed();
        let wait = retry_wait(self.config.retry, failures, left, seed);
        self.hold = Instant::now() + wait;
        let error = format!("{:#}", anyhow::Error::new(error));
        let (retry_ms, left_s) = (wait.as_millis(), left.as_secs());
        tracing::warn!(
            error,
            failures,
            retry_ms,
            left_s,
            "certificate not renewed, the old one stays in use"
        );
        if let Some(state) = &mut locked(&self.trust).renewal {
            (state.failures, state.error) = (failures, Some(error));
            state.retry_at = Some(after(now, wait));
        }
    }
}

#[cfg(test)]
mod tests;
