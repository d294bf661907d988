//! The way to a replica that is not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use openraft::impls::leader_id_adv::LeaderId;
use openraft::network::{RPCOption, RaftNetworkFactory, v2::RaftNetworkV2};
use openraft::raft::AppendEntriesRequest;
use vioduct_db::ShardId;
use vioduct_db::consensus::Vote;
use vioduct_db::consensus::entry::Host;
use vioduct_db::consensus::network::Ways;
use vioduct_db::offload::Offload;
use vioduct_db::replica::{Sending, replica_name};
use vioduct_db::state::MemoryShard;

use crate::cluster::Cluster;

/// The library waits after a failure when it is asked for the first request. A way that fails
/// before that is tried again at once, over and over: with all of a core, and, where time is
/// simulated, for ever.
#[tokio::test]
async fn a_replica_that_cannot_be_found_is_looked_up_only_when_there_is_something_to_send() {
    let mut cluster = Cluster::empty(0);
    cluster.join().await;
    let node = cluster.nodes[0].node.clone();
    let mut ways =
        Ways::<MemoryShard>::new(node, replica_name(ShardId(0)), Offload::Here, Sending::default());
    let mut way = ways.new_client(7, &Host("d9".into())).await;
    let is_asked = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&is_asked);
    let requests = stream::once(async move {
        asked.store(true, Ordering::Relaxed);
        let leader_id = LeaderId { term: 1, node_id: 1 };
        let vote = Vote { leader_id, committed: true };
        AppendEntriesRequest { vote, prev_log_id: None, entries: Vec::new(), leader_commit: None }
    });
    let option = RPCOption::new(Duration::from_millis(100));
    let sent = way.stream_append(requests.boxed(), option).await;
    assert!(sent.is_err(), "d9 is nobody");
    assert!(is_asked.load(Ordering::Relaxed), "it failed before it was asked to send");
}
