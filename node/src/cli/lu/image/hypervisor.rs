//! The hypervisor that serves an LU to the command itself.

use std::io;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail, ensure};
use futures_util::future::join_all;
use tokio::time::interval;
use vioduct_node::tool::{Target, Tool, ToolError};
use vioduct_vios::cluster::row::VtdKey;
use vioduct_vios::nbd::client::{Config, ConnectError, Remote};
use vioduct_vios::redirect::name::LuId;
use vioduct_vios::roles::phyp::{
    DiskPhase, DiskState, Disks, Front, ListDisks, PHYP_NAME, PhypDesk,
};

use crate::cli::cluster::TargetArgs;
use crate::cli::vios::DbTargetArgs;

/// How long a node is waited for.
const ASK_WITHIN: Duration = Duration::from_secs(2);
/// How often it is looked whether the disk is served.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A hypervisor that is there.
pub(super) struct Hypervisor {
    cec: u32,
    target: Target,
}

impl Hypervisor {
    /// That of a CEC, or the only one.
    pub(super) async fn find(tool: &Tool, whom: &TargetArgs, cec: Option<u32>) -> Result<Self> {
        let asked = whom.nodes()?.into_iter().map(async |(node, addr)| {
            let target = tool.connect(node, &addr).await?;
            let disks = list(&target).await?;
            Ok::<_, ToolError>(disks.map(|Disks { cec, .. }| Self { cec, target }))
        });
        let (mut found, mut errors) = (Vec::new(), Vec::new());
        for answer in join_all(asked).await {
            match answer {
                Ok(phyp) => found.extend(phyp),
                Err(error) => errors.push(format!("; {:#}", Error::new(error))),
            }
        }
        let all: Vec<String> = found
            .iter()
            .map(|phyp| format!("{} of CEC {}", phyp.target.name(), phyp.cec))
            .collect();
        found.retain(|phyp| cec.is_none_or(|cec| phyp.cec == cec));
        ensure!(
            found.len() < 2 || cec.is_some(),
            "there are several hypervisors, name the host of one with --cec: {}",
            all.join(", ")
        );
        found.pop().with_context(|| {
            let which = cec.map(|cec| format!(" of CEC {cec}")).unwrap_or_default();
            let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
            format!("no hypervisor{which} answers, but {all}{}", errors.concat())
        })
    }

    pub(super) const fn cec(&self) -> u32 {
        self.cec
    }

    /// The disk of this VTD, once it is served.
    pub(super) async fn serving(&self, db: &DbTargetArgs, lu: LuId, vtd: VtdKey) -> Result<Remote> {
        let mut why = "its hypervisor has not seen the VTD yet".to_owned();
        let served = db.within(async {
            let mut looks = interval(LOOK_EVERY);
            loop {
                looks.tick().await;
                let disks = list(&self.target).await?.map_or(Vec::new(), |all| all.disks);
                let Some(disk) = disks.into_iter().find(|disk| disk.lu == lu.0) else { continue };
                why = match disk {
                    DiskState { vtd: other, front, .. } if other != Some(vtd.0) => {
                        format!("its hypervisor carries it for others, at {front}")
                    }
                    DiskState { phase: DiskPhase::Serving, front, .. } => return Ok(front),
                    DiskState { error: Some(error), .. } => error,
                    DiskState { .. } => "there is no path to its storage yet".to_owned(),
                };
            }
        });
        let uri = served.await.with_context(|| format!("LU {} is not served: {why}", lu.0))?;
        let front = Front::from_uri(&uri).with_context(|| format!("{uri} is no socket"))?;
        self.connect(front).await
    }

    async fn connect(&self, front: Front) -> Result<Remote> {
        let place = front.to_string();
        match Remote::connect(&front.into(), &Config::default()).await {
            Ok(remote) => Ok(remote),
            Err(ConnectError::Connection(error)) if error.kind() == io::ErrorKind::NotFound => {
                bail!(
                    "{place} is not on this host: run this on the host of {}, or have the LU \
                     served where this one reaches it, with --front",
                    self.target.name()
                )
            }
            Err(error) => Err(error).with_context(|| place),
        }
    }
}

async fn list(target: &Target) -> Result<Option<Disks>, ToolError> {
    target.ask_if_there::<PhypDesk, _>(PHYP_NAME, ListDisks, ASK_WITHIN).await
}
