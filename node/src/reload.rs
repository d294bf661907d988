//! Takes changed credentials into use while the node runs.
//!
//! The four files of the certificate directory are replaced one after another by whoever rotates
//! them. So a set that does not fit together is looked at again before anybody is told: only when
//! the files have stopped changing is it a mistake.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::{
    CERT_FILE, CRL_FILE, Credentials, KEY_FILE, LoadError, ROOTS_FILE,
};
use vioduct_certs::files::read_public;
use vioduct_certs::inspect::{certificates, describe};
use vioduct_certs::moment::{between, text};
use vioduct_certs::rotation::Urgency;
use vioduct_transport::Endpoint;
use vioduct_vios::roles::keep::Fabrics;

use crate::renewal::{RenewalState, schedule};
use crate::status::{AuthorityStatus, LeafStatus, RevocationStatus, TrustStatus};

/// How often the files are looked at.
pub(crate) const POLL: Duration = Duration::from_secs(1);
/// How soon they are looked at again after a set that does not fit.
pub(crate) const SETTLE: Duration = Duration::from_millis(200);
const ROOTS_BYTES_MAX: u64 = 256 << 10;

/// What tells one content of the directory from another: inode, length and time of change of each
/// file; `None` for one that is not there.
type Fingerprint = [Option<(u64, u64, i64, i64)>; 4];

fn fingerprint(dir: &Path) -> Fingerprint {
    [CERT_FILE, KEY_FILE, ROOTS_FILE, CRL_FILE].map(|file| {
        // A file that can't be looked at can't be read either, and loading says why.
        let metadata = dir.join(file).metadata().ok()?;
        // The time of change covers the mode too: a key made private again is seen.
        Some((metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec()))
    })
}

/// What a status tells of the credentials, besides what they tell themselves.
#[derive(Debug, Default)]
pub(crate) struct TrustState {
    authorities: Vec<(String, UnixTime)>,
    reloads: u64,
    error: Option<String>,
    /// `None` when the certificate is renewed by hand.
    pub(crate) renewal: Option<RenewalState>,
}

impl TrustState {
    pub(crate) fn status(&self, credentials: &Credentials, now: UnixTime) -> TrustStatus {
        let authorities = self.authorities.iter().map(|(subject, not_after)| AuthorityStatus {
            subject: subject.clone(),
            not_after: text(*not_after),
            expires_in_s: between(now, *not_after).as_secs(),
        });
        let lists = credentials.crls().into_iter().map(|list| RevocationStatus {
            number: list.number,
            revoked_count: list.revoked_count as u64,
            next_update: text(list.next_update),
            expires_in_s: between(now, list.next_update).as_secs(),
        });
        let schedule = schedule(credentials);
        let due = schedule.renew_at();
        TrustStatus {
            leaf: LeafStatus {
                serial: credentials.serial(),
                // It was parsed when it was loaded.
                issuer: describe(credentials.leaf()).map_or_else(|_| String::new(), |it| it.issuer),
                not_after: text(credentials.not_after()),
                expires_in_s: between(now, credentials.not_after()).as_secs(),
                due_in_s: between(now, due).as_secs(),
                urgency: schedule.urgency(now).label().to_owned(),
            },
            authorities: authorities.collect(),
            revocation_lists: lists.collect(),
            reloads: self.reloads,
            reload_error: self.error.clone(),
            renewal: self.renewal.as_ref().map(|renewal| renewal.status(due, now)),
        }
    }
}

/// Subject and end of life of each root; for a status only, so one that can't be read is left out.
fn authorities(dir: &Path) -> Vec<(String, UnixTime)> {
    let Ok(pem) = read_public(&dir.join(ROOTS_FILE), ROOTS_BYTES_MAX) else { return Vec::new() };
    let Ok(roots) = certificates(&pem) else { return Vec::new() };
    let described = roots.iter().filter_map(|root| describe(root).ok());
    described.map(|root| (root.subject, root.not_after)).collect()
}

/// What made the watcher look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// Time has passed.
    Poll,
    /// The operator asked for it.
    Signal,
}

/// Watches a certificate directory for a node's endpoints.
#[derive(Debug)]
pub(crate) struct Watcher {
    dir: PathBuf,
    endpoint: Endpoint,
    /// Those that show the same certificate.
    others: Fabrics,
    trust: Arc<Mutex<TrustState>>,
    /// The content that is in use, or was refused and reported.
    settled: Fingerprint,
    /// A content that was refused and may still be changing.
    doubtful: Option<Fingerprint>,
    urgency: Urgency,
}

impl Watcher {
    /// Watches `dir`, whose content at `loaded` the endpoint and `others` use.
    pub(crate) fn new(
        dir: PathBuf,
        loaded: Loaded,
        endpoint: Endpoint,
        others: Fabrics,
        trust: Arc<Mutex<TrustState>>,
    ) -> Self {
        let (settled, doubtful) = (loaded.fingerprint, None);
        Self { dir, endpoint, others, trust, settled, doubtful, urgency: Urgency::Fresh }
    }

    /// How long to wait before looking again.
    pub(crate) const fn pause(&self) -> Duration {
        if self.doubtful.is_some() { SETTLE } else { POLL }
    }

    /// Looks at the files, and takes them into use when they have changed.
    pub(crate) async fn look(&mut self, prompt: Prompt, now: UnixTime) {
        let found = fingerprint(&self.dir);
        if prompt == Prompt::Signal || found != self.settled {
            self.reload(prompt, found, now).await;
        }
        self.note_urgency(now);
    }

    async fn reload(&mut self, prompt: Prompt, found: Fingerprint, now: UnixTime) {
        let (old, dir) = (self.endpoint.credentials(), self.dir.clone());
        let reading = Arc::clone(&old);
        let read = spawn_blocking(move || {
            reading.reload(&dir, now).map(|fresh| (fresh, authorities(&dir)))
        });
        // The closure does not panic, and nobody cancels it.
        let Ok(result) = read.await else { return };
        match result {
            Ok((fresh, authorities)) => {
                (self.settled, self.doubtful) = (found, None);
                self.adopt(&old, fresh, authorities);
            }
            Err(_maybe_unfinished) if prompt == Prompt::Poll && self.doubtful != Some(found) => {
                self.doubtful = Some(found);
            }
            Err(error) => {
                (self.settled, self.doubtful) = (found, None);
                self.refuse(error);
            }
        }
    }

    fn adopt(&self, old: &Credentials, fresh: Credentials, authorities: Vec<(String, UnixTime)>) {
        let highest = |credentials: &Credentials| {
            credentials.crls().iter().map(|list| list.number).max().unwrap_or(0)
        };
        tracing::info!(
            serial.from = %old.serial(),
            serial.to = %fresh.serial(),
            crl_number.from = highest(old),
            crl_number.to = highest(&fresh),
            not_after = text(fresh.not_after()),
            "credentials reloaded"
        );
        // First, so that a status that shows the new serial shows the rest as well.
        let mut trust = locked(&self.trust);
        trust.reloads += 1;
        (trust.authorities, trust.error) = (authorities, None);
        drop(trust);
        let fresh = Arc::new(fresh);
        self.endpoint.set_credentials(Arc::clone(&fresh));
        self.others.show(&fresh);
    }

    fn refuse(&self, error: LoadError) {
        let message = format!("{:#}", anyhow::Error::new(error));
        let dir = self.dir.display();
        tracing::warn!(
            %dir,
            error = message,
            mend = "`vioduct cert verify --dir DIR` tells what is wrong; install a set that fits",
            "credentials not reloaded, the old ones stay in use"
        );
        locked(&self.trust).error = Some(message);
    }

    fn note_urgency(&mut self, now: UnixTime) {
        let credentials = self.endpoint.credentials();
        let urgency = schedule(&credentials).urgency(now);
        let before = std::mem::replace(&mut self.urgency, urgency);
        if before == urgency {
            return;
        }
        let not_after = text(credentials.not_after());
        let (from, to) = (before.label(), urgency.label());
        if urgency < Urgency::Warning {
            tracing::info!(from, to, not_after, "renewal of the certificate");
        } else {
            let mend = "issue a new one with `vioduct ca issue`, or sign a request";
            tracing::warn!(from, to, not_after, mend, "renewal of the certificate is late");
        }
    }
}

pub(crate) fn locked(trust: &Mutex<TrustState>) -> MutexGuard<'_, TrustState> {
    trust.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Credentials as they were read at the start.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) credentials: Credentials,
    fingerprint: Fingerprint,
    authorities: Vec<(String, UnixTime)>,
}

impl Loaded {
    /// Reads a certificate directory.
    pub(crate) fn read(dir: &Path, now: UnixTime) -> Result<Self, LoadError> {
        // Taken first: a change while reading is then seen by the first look.
        let fingerprint = fingerprint(dir);
        let credentials = Credentials::load(dir, now)?;
        Ok(Self { credentials, fingerprint, authorities: authorities(dir) })
    }

    pub(crate) fn trust_state(&self) -> Arc<Mutex<TrustState>> {
        let authorities = self.authorities.clone();
        Arc::new(Mutex::new(TrustState { authorities, ..TrustState::default() }))
    }
}
