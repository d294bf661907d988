//! News of what is committed goes with the next entries.
//!
//! The library tells the others of each commit at once, with a request that has no entries. While
//! one entry follows another that would be a second message, and a second answer, for each of them.
//! So such a request waits a little for the next one, which says as much and more.

use std::pin::pin;
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt};
use openraft::raft::AppendEntriesRequest;
use tokio::time::{Instant, sleep_until};

use super::Types;

/// How long news waits. Nothing but reads from replicas that do not lead waits for it, too.
const WAIT: Duration = Duration::from_millis(2);

type Request = AppendEntriesRequest<Types>;

/// The requests without those whose news the next one has.
pub(super) fn with_the_next(
    requests: impl Stream<Item = Request> + Send + Unpin,
) -> impl Stream<Item = Request> + Send {
    stream::unfold(requests.fuse(), |mut requests| async move {
        let next = next(&mut requests).await?;
        Some((next, requests))
    })
}

async fn next(requests: &mut (impl Stream<Item = Request> + Unpin)) -> Option<Request> {
    let mut last = requests.next().await?;
    let mut over = pin!(sleep_until(Instant::now() + WAIT));
    while last.entries.is_empty() {
        tokio::select! {
            biased;
            next = requests.next() => match next {
                Some(next) => last = next,
                None => break,
            },
            () = &mut over => break,
        }
    }
    Some(last)
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;
    use openraft::entry::RaftEntry;
    use openraft::vote::RaftLeaderId;
    use tokio::sync::mpsc::{Sender, channel};
    use tokio::time::advance;

    use super::*;
    use crate::consensus::{Entry, LogId, Vote};

    fn request(entries: usize, committed: u64) -> Request {
        let vote = Vote::new_committed(1, 1);
        let log_id = |index| LogId::new(vote.leader_id.to_committed(), index);
        let entry = |_| Entry::new(log_id(committed + 1), EntryPayload::Blank);
        Request {
            vote,
            prev_log_id: None,
            entries: (0..entries).map(entry).collect(),
            leader_commit: Some(log_id(committed)),
        }
    }

    fn requests() -> (Sender<Request>, impl Stream<Item = Request> + Send) {
        let (give, given) = channel(16);
        let given = stream::unfold(given, |mut given| async {
            let next = given.recv().await?;
            Some((next, given))
        });
        (give, with_the_next(given.boxed()))
    }

    fn seen(request: Option<Request>) -> Option<(usize, u64)> {
        request.map(|request| (request.entries.len(), request.leader_commit.unwrap().index))
    }

    #[tokio::test(start_paused = true)]
    async fn entries_go_at_once_and_take_the_news_before_them_along() {
        let (give, joined) = requests();
        let mut joined = pin!(joined);
        let begun = Instant::now();
        for (entries, committed) in [(1, 1), (0, 2), (0, 3), (2, 4)] {
            give.send(request(entries, committed)).await.unwrap();
        }
        assert_eq!(seen(joined.next().await), Some((1, 1)));
        assert_eq!(seen(joined.next().await), Some((2, 4)));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn news_behind_which_nothing_comes_goes_after_its_wait_however_often_it_is_renewed() {
        let (give, joined) = requests();
        let read = tokio::spawn(async move {
            let begun = Instant::now();
            let first = pin!(joined).next().await;
            (seen(first), begun.elapsed())
        });
        for committed in 1..=12 {
            // Nobody reads any more once the first has come.
            drop(give.send(request(0, committed)).await);
            advance(WAIT / 3).await;
        }
        let (first, after) = read.await.unwrap();
        assert!(first.is_some_and(|(entries, committed)| entries == 0 && committed > 1));
        assert!(after >= WAIT && after <= WAIT * 2, "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_news_is_not_lost_when_the_requests_end() {
        let (give, joined) = requests();
        let mut joined = pin!(joined);
        give.send(request(0, 7)).await.unwrap();
        drop(give);
        assert_eq!(seen(joined.next().await), Some((0, 7)));
        assert_eq!(seen(joined.next().await), None);
    }
}
