//! `vioduct ca trust`: the files for the time in which a cluster trusts two CAs.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::{CRL_FILE, ROOTS_FILE};
use vioduct_certs::files::{
    PUBLIC_MODE, create_private_dir, read_public, require_absent, write_atomic,
};
use vioduct_certs::moment::text;
use vioduct_certs::trust::{TrustFiles, TrustSource};

use crate::cli::output::OutputFormat;

const FILE_MAX: u64 = 12 << 20;

/// Arguments of `ca trust`.
#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// A directory with ca.crt and ca.crl, such as a CA's; once for each. No key is read.
    #[arg(long, required = true)]
    from: Vec<PathBuf>,
    /// Directory to write ca.crt and ca.crl to.
    #[arg(long)]
    out: PathBuf,
    /// Replace files that are there already.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Serialize)]
struct Trusted {
    out: PathBuf,
    authorities: Vec<Authority>,
}

#[derive(Debug, Serialize)]
struct Authority {
    subject: String,
    crl_number: u64,
    crl_next_update: String,
}

impl fmt::Display for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Authority { subject, crl_number, crl_next_update } in &self.authorities {
            let list = format!("revocation list {crl_number}, to be replaced by {crl_next_update}");
            writeln!(f, "{subject}: {list}")?;
        }
        let out = self.out.display();
        writeln!(f, "install both on every host and for every tool:")?;
        writeln!(f, "  vioduct cert install --dir DIR --ca {out}/ca.crt --crl {out}/ca.crl")
    }
}

impl TrustArgs {
    pub(super) fn run(self, now: UnixTime, out: OutputFormat) -> Result<()> {
        let (roots_path, crls_path) = (self.out.join(ROOTS_FILE), self.out.join(CRL_FILE));
        if !self.force {
            let context = "nothing written; add --force to replace it";
            require_absent(&roots_path).context(context)?;
            require_absent(&crls_path).context(context)?;
        }
        let mut read = Vec::with_capacity(self.from.len());
        for dir in &self.from {
            let roots = read_public(&dir.join(ROOTS_FILE), FILE_MAX)?;
            read.push((roots, read_public(&dir.join(CRL_FILE), FILE_MAX)?));
        }
        let sources: Vec<_> =
            read.iter().map(|(roots, crls)| TrustSource { roots, crls }).collect();
        let files = TrustFiles::join(&sources, now).context("nothing written")?;
        create_private_dir(&self.out)?;
        write_atomic(&roots_path, files.roots_pem.as_bytes(), PUBLIC_MODE)?;
        write_atomic(&crls_path, files.crls_pem.as_bytes(), PUBLIC_MODE)?;
        let authorities = files.roots.into_iter().map(|root| Authority {
            subject: root.subject,
            crl_number: root.crl.number,
            crl_next_update: text(root.crl.next_update),
        });
        out.print(&Trusted { out: self.out, authorities: authorities.collect() })?;
        Ok(())
    }
}
