//! Clients' virtual adapters: made by the VIOS that a client logs in to.

use std::collections::{BTreeMap, BTreeSet};

use vioduct_db::client::{Db, Freshness};
use vioduct_db::command::PARTS_MAX;
use vioduct_db::query::FoundRow;

use super::{AdminError, Counter, Looked, Plan, contended, number, scan};
use crate::cluster::row::{
    AdapterKey, AdapterRow, ClientKey, ClientRow, Key, PrimaryRow, Row, ThePrimary, ViosRow,
};

/// Adapters that are forgotten at once.
const FORGOTTEN_MAX: usize = PARTS_MAX / 2;

/// The virtual adapter by which a client uses a VIOS; it is made if there is none.
///
/// # Errors
/// [`AdminError`]
pub(crate) async fn log_in(db: &Db, key: &AdapterKey) -> Result<AdapterRow, AdminError> {
    if let Some(adapter) = Found::look(db, key).await?.adapter() {
        return Ok(adapter);
    }
    let number = number(db, Counter::Adapters).await?;
    contended(move || async move {
        let found = Found::look(db, key).await?;
        if let Some(adapter) = found.adapter() {
            // Made by an earlier call that was not answered: the number is given to nobody.
            return Ok(adapter);
        }
        let adapter = AdapterRow { number, client: found.client.number };
        let mut plan = Plan::default();
        plan.expect::<ClientRow>(&key.client, found.client_revision);
        plan.replace(key, found.revision, &adapter);
        plan.commit(db).await?;
        Ok(adapter)
    })
    .await
}

/// Forgets virtual adapters whose client or VIOS the cluster has no more, some at a time: that is
/// the primary's to do. Its row is of this revision.
///
/// # Errors
/// [`AdminError`]
pub(crate) async fn forget_adapters(db: &Db, elected: u64) -> Result<(), AdminError> {
    // Adapters first: should it take several answers, the others' rows are no older.
    let tables = [AdapterRow::TABLE, ClientRow::TABLE, ViosRow::TABLE];
    let rows = scan(db, &tables, Freshness::Linearizable).await?.rows;
    let (mut adapters, mut clients, mut vioses) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
    for FoundRow { place, revision, value } in rows {
        if place.table == ClientRow::TABLE {
            let client = ClientRow::decode(&value)?.number;
            clients.extend(ClientKey::read(&place.key).map(|key| (key, client)));
        } else if place.table == ViosRow::TABLE {
            vioses.insert(ViosRow::decode(&value)?.number);
        } else {
            let adapter = AdapterKey::read(&place.key).zip(AdapterRow::decode(&value).ok());
            adapters.extend(adapter.map(|(key, row)| (key, revision, row)));
        }
    }
    adapters.retain(|(key, _revision, row)| {
        clients.get(&key.client) != Some(&row.client) || !vioses.contains(&key.vios)
    });
    if adapters.is_empty() {
        return Ok(());
    }
    let mut plan = Plan::default();
    plan.expect::<PrimaryRow>(&ThePrimary, elected);
    for (key, revision, _row) in adapters.iter().take(FORGOTTEN_MAX) {
        plan.delete::<AdapterRow>(key, *revision);
    }
    plan.commit(db).await.map(drop)
}

/// The rows of a client and its adapter.
struct Found {
    client_revision: u64,
    client: ClientRow,
    /// Of the adapter's row; 0 if there is none.
    revision: u64,
    adapter: Option<AdapterRow>,
}

impl Found {
    async fn look(db: &Db, key: &AdapterKey) -> Result<Self, AdminError> {
        let places = vec![ClientRow::place(&key.client), AdapterRow::place(key)];
        let looked = Looked::at(db, places).await?;
        let client = looked.get::<ClientRow>(&key.client)?;
        let (client_revision, client) =
            client.ok_or_else(|| AdminError::NoClient(key.client.clone()))?;
        let (revision, adapter) = looked.get::<AdapterRow>(key)?.unzip();
        Ok(Self { client_revision, client, revision: revision.unwrap_or(0), adapter })
    }

    /// Unless it was that of another client of this name.
    fn adapter(&self) -> Option<AdapterRow> {
        self.adapter.clone().filter(|adapter| adapter.client == self.client.number)
    }
}
