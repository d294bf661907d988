//! Logs the clients of a VIOS in: their hypervisors say who they are, and the cluster's database
//! has a virtual adapter for each of them.
//!
//! Source: US 8,726,274, the login of a client and the IDs that it gets.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use vioduct_runtime::{ActorRef, LocalRef, Node};

use super::name;
use super::phyp::{AskClient, PHYP_NAME, PhypDesk};
use crate::cluster::admin::log_in;
use crate::cluster::cm::ClusterSight;
use crate::cluster::explain;
use crate::cluster::row::{AdapterKey, ClientKey, LuRow, VtdRow};
use crate::redirect::name::ViosId;
use crate::vsa::{Came, Client, LoggedIn, Vsa};

/// How long a hypervisor may take to answer.
const ASK_WITHIN: Duration = Duration::from_secs(2);
/// How long after a failure one is tried again that came to nothing.
const PAUSE: Duration = Duration::from_millis(200);
/// The VSA answers on this node.
const TELL_WITHIN: Duration = Duration::from_secs(5);
/// Logins that have not begun, and those that are to be tried again. Of more, one is begun anew
/// with its client's next session.
pub(super) const LOGINS_MAX: usize = 4096;

/// Logs clients in.
pub(super) struct Logins {
    pub(super) node: Node,
    pub(super) vios: ViosId,
    pub(super) cluster: ClusterSight,
    pub(super) vsa: LocalRef<Vsa>,
    pub(super) came: mpsc::Receiver<Came>,
}

impl Logins {
    /// Ends with the VSA.
    pub(super) async fn run(mut self) {
        let mut failed: VecDeque<Came> = VecDeque::new();
        let mut again = Instant::now();
        loop {
            let came = tokio::select! {
                () = sleep_until(again), if !failed.is_empty() => failed.pop_front(),
                came = self.came.recv() => match came {
                    Some(came) => Some(came),
                    None => return,
                },
            };
            let Some(came) = came else { continue };
            let login = self.log_in(&came).await;
            let (is_done, told) = (login.is_ok(), LoggedIn { came: came.clone(), login });
            let Ok(is_there) = self.vsa.ask(told, TELL_WITHIN).await else { return };
            // Once one succeeds the others may, too.
            again = Instant::now() + if is_done { Duration::ZERO } else { PAUSE };
            if !is_done && is_there {
                if failed.len() >= LOGINS_MAX {
                    failed.pop_front();
                }
                failed.push_back(came);
            }
        }
    }

    async fn log_in(&self, came: &Came) -> Result<Client, String> {
        let client = self.who(came).await?;
        let key = AdapterKey { client, vios: self.vios.0 };
        let adapter = log_in(&self.cluster.db, &key).await;
        let adapter = adapter.map_err(|error| explain(&error))?;
        let name = key.client.to_string();
        tracing::info!(client = name, adapter = adapter.number, "a client has logged in");
        Ok(Client { name, number: adapter.client, adapter: adapter.number })
    }

    /// The client that its hypervisor names, if the cluster shows the LU to that.
    async fn who(&self, Came { lu, node, .. }: &Came) -> Result<ClientKey, String> {
        let silent = || format!("{node} does not say whose disk it is");
        let ask = async {
            let phyp: ActorRef<PhypDesk> = self.node.lookup(node, &name(PHYP_NAME)).await.ok()?;
            phyp.ask(AskClient { lu: lu.0 }, ASK_WITHIN).await.ok()
        };
        let said = timeout(ASK_WITHIN, ask).await.ok().flatten().ok_or_else(silent)?;
        let said = said.ok_or_else(|| format!("{node} carries the LU for no client"))?;
        let client: ClientKey = said.parse().map_err(|_no_client| silent())?;
        let view = self.cluster.view.borrow().clone();
        let view = view.ok_or("the cluster is not known yet")?;
        let vtds = view.get::<LuRow>(lu).map(|row| row.vtds).unwrap_or_default();
        let is_shown = |vtd| view.get::<VtdRow>(vtd).is_some_and(|row| row.client == client);
        if !vtds.iter().any(is_shown) {
            return Err(format!("{node} says client {client}, and no VTD shows it the LU"));
        }
        Ok(client)
    }
}
