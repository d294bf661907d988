//! Datagrams for nodes that there is no connection to yet.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use vioduct_certs::identity::NodeName;

/// Datagrams kept for one node; the oldest makes room.
const KEPT_MAX: usize = 8;

/// At most [`KEPT_MAX`] for each node that is being dialled.
#[derive(Debug, Default)]
pub(super) struct Post {
    kept: BTreeMap<NodeName, VecDeque<Bytes>>,
}

impl Post {
    pub(super) fn keep(&mut self, to: NodeName, datagram: Bytes) {
        let kept = self.kept.entry(to).or_default();
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(datagram);
    }

    pub(super) fn take(&mut self, to: &NodeName) -> VecDeque<Bytes> {
        self.kept.remove(to).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_datagrams_are_kept_for_each_node() {
        let (a, b): (NodeName, NodeName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let mut post = Post::default();
        for number in 0..10 {
            post.keep(a.clone(), Bytes::from(vec![number]));
        }
        post.keep(b.clone(), Bytes::from_static(b"b"));
        let numbers: Vec<u8> = post.take(&a).iter().map(|datagram| datagram[0]).collect();
        assert_eq!(numbers, (2..10).collect::<Vec<u8>>());
        assert!(post.take(&a).is_empty());
        assert_eq!(post.take(&b), ["b"]);
    }
}
