//! The ways from clients to the storage: virtual adapter, VIOS, physical adapter, its port there.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use vioduct_certs::identity::NodeName;
use vioduct_node::tool::{Target, ToolError};
use vioduct_vios::vsa::{AdapterInUse, Adapters, AskAdapters, Client, Exit, VSA_NAME, VsaDesk};

use crate::cli::table::Table;

const HEAD: [&str; 7] = ["CLIENT", "CLIENT ID", "ADAPTER ID", "LU", "VIOS", "LEAVES BY", "REASON"];

/// Answers that all of a VIOS's adapters come in, 128 in each.
const PARTS_MAX: usize = 1024;

/// A client's LU by one VIOS.
#[derive(Debug, Serialize)]
pub(super) struct ShownAdapter {
    /// CEC/NAME; none before it has logged in.
    client: Option<String>,
    client_id: Option<u32>,
    adapter_id: Option<u32>,
    lu: u64,
    /// The node of its hypervisor.
    phyp: NodeName,
    /// The node of the VIOS, and its virtual adapter's end there.
    vios: NodeName,
    vsa: &'static str,
    /// The physical adapter; none without a session, or over another VIOS.
    physical: Option<String>,
    storage: Option<String>,
    /// The storage-side port.
    port: Option<String>,
    /// The number of the VIOS that requests are redirected to.
    over: Option<u32>,
    /// Why the client has not logged in.
    reason: Option<String>,
}

impl ShownAdapter {
    pub(super) fn new(vios: NodeName, adapter: AdapterInUse) -> Self {
        let AdapterInUse { lu, phyp, client, leaves } = adapter;
        let (client, client_id, adapter_id, reason) = match client {
            Ok(Client { name, number, adapter }) => (Some(name), Some(number), Some(adapter), None),
            Err(reason) => (None, None, None, Some(reason)),
        };
        Self {
            client,
            client_id,
            adapter_id,
            lu,
            phyp,
            vios,
            vsa: VSA_NAME,
            physical: None,
            storage: None,
            port: None,
            over: None,
            reason,
        }
        .leaving(leaves)
    }

    fn leaving(self, leaves: Option<Exit>) -> Self {
        match leaves {
            None => self,
            Some(Exit::Vios(number)) => Self { over: Some(number), ..self },
            Some(Exit::Adapter { name, storage, port }) => {
                Self { physical: Some(name), storage: Some(storage), port, ..self }
            }
        }
    }

    fn cells(&self) -> [String; 7] {
        let dash = || "-".to_owned();
        let number = |number: Option<u32>| number.map_or_else(dash, |number| number.to_string());
        let leaves = match (&self.physical, self.over) {
            (Some(name), _) => {
                let port = self.port.iter().map(|port| format!(" {port}")).collect::<String>();
                format!("{name} to {}{port}", self.storage.as_deref().unwrap_or("-"))
            }
            (None, Some(vios)) => format!("VIOS {vios}"),
            (None, None) => dash(),
        };
        [
            self.client.clone().unwrap_or_else(dash),
            number(self.client_id),
            number(self.adapter_id),
            self.lu.to_string(),
            self.vios.to_string(),
            leaves,
            self.reason.clone().unwrap_or_else(dash),
        ]
    }
}

/// All that a VIOS tells of; none if there is no VIOS.
pub(super) async fn of(target: &Target, within: Duration) -> Result<Vec<AdapterInUse>, ToolError> {
    let (mut all, mut ask) = (Vec::<AdapterInUse>::new(), AskAdapters::default());
    for _part in 0..PARTS_MAX {
        let told = target.ask_if_there::<VsaDesk, _>(VSA_NAME, ask, within).await?;
        let Adapters { adapters, is_cut } = told.unwrap_or_default();
        all.extend(adapters);
        let Some(last) = all.last().filter(|_last| is_cut) else { break };
        ask = AskAdapters { behind: Some((last.lu, last.phyp.clone())) };
    }
    Ok(all)
}

/// Nothing if there are none.
pub(super) fn write(adapters: &[ShownAdapter], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if adapters.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(HEAD);
    adapters.iter().for_each(|adapter| table.row(adapter.cells()));
    write!(f, "\n{table}")
}
