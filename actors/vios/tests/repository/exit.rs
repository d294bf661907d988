//! The fabric's other end: what a VIOS sends and hears, by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::NodeName;
use vioduct_runtime::{Codec, Wire};
use vioduct_transport::seam::Surroundings;
use vioduct_transport::{
    BoxFuture, DialError, Endpoint, Flow, Inbound, Link, LinkEvent, Message, TransportConfig,
};
use vioduct_vios::block::{Failure, Reply, Request};
use vioduct_vios::carry::{Beat, CarriedCall, CarriedWord, Echo};
use vioduct_vios::redirect::Epoch;
use vioduct_vios::redirect::message::{Call, Word};
use vioduct_vios::redirect::name::{Holder, LuId, OwnerId};

const BOUND: Duration = Duration::from_secs(20);

struct Ears {
    words: mpsc::Sender<CarriedWord>,
    echoes: mpsc::Sender<Echo>,
}

impl Inbound for Ears {
    fn deliver<'a>(
        &'a self,
        _from: &'a Link,
        lane: u8,
        batch: &'a mut Vec<Message>,
    ) -> BoxFuture<'a> {
        Box::pin(async move {
            for Message { head, body, .. } in batch.drain(..) {
                // The test may have ended.
                if lane == 0 {
                    self.echoes.send(Codec::Postcard.decode(&head).unwrap()).await.ok();
                    continue;
                }
                let mut word: CarriedWord = Codec::Postcard.decode(&head).unwrap();
                word.put_body(body).unwrap();
                self.words.send(word).await.ok();
            }
        })
    }

    fn datagram(&self, _from: &Link, _datagram: Bytes) {}

    fn event(&self, _link: &Link, _event: LinkEvent) {}

    fn refused(&self, _addr: SocketAddr, _error: DialError) {}
}

/// A VIOS, and an owner's session through it.
pub(crate) struct Exit {
    endpoint: Endpoint,
    link: Link,
    words: mpsc::Receiver<CarriedWord>,
    echoes: mpsc::Receiver<Echo>,
    pub(crate) lu: LuId,
    pub(crate) epoch: Epoch,
    no: u64,
}

impl Exit {
    pub(crate) async fn dial(
        credentials: Credentials,
        run: u64,
        storage: (&NodeName, SocketAddr),
        lu: LuId,
    ) -> Self {
        let config = TransportConfig::default();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let surroundings = Surroundings::bind(any, config.socket_buffer_bytes).unwrap();
        let (words_in, words) = mpsc::channel(1024);
        let (echoes_in, echoes) = mpsc::channel(1024);
        let ears = Arc::new(Ears { words: words_in, echoes: echoes_in });
        let endpoint =
            Endpoint::new(config, run, Arc::new(credentials), surroundings, ears).unwrap();
        let link = endpoint.connect(storage.0.clone(), storage.1).await.unwrap();
        timeout(BOUND, link.up()).await.unwrap().unwrap();
        Self { endpoint, link, words, echoes, lu, epoch: Epoch::NONE, no: 0 }
    }

    pub(crate) async fn send(&self, carried: CarriedCall) {
        let mut head = Vec::new();
        Codec::Postcard.encode(&carried, &mut head).unwrap();
        self.link.send(Flow::Pair(1), &head, &carried.body()).await.unwrap();
    }

    /// Sends bytes where heartbeats are expected.
    pub(crate) async fn send_control(&self, head: &[u8]) {
        self.link.send(Flow::Control, head, &Bytes::new()).await.unwrap();
    }

    pub(crate) async fn beat(&self, no: u64) {
        let mut head = Vec::new();
        Codec::Postcard.encode(&Beat { no }, &mut head).unwrap();
        self.send_control(&head).await;
    }

    /// The next answer to a heartbeat.
    pub(crate) async fn echo(&mut self) -> Echo {
        timeout(BOUND, self.echoes.recv()).await.expect("an answer").unwrap()
    }

    /// Whether no heartbeat was answered within the time that an answer may take.
    pub(crate) async fn is_not_answered(&mut self) -> bool {
        timeout(Duration::from_millis(500), self.echoes.recv()).await.is_err()
    }

    /// The next word that is no sign of life.
    pub(crate) async fn word(&mut self) -> Word {
        loop {
            let carried = timeout(BOUND, self.words.recv()).await.expect("a word").unwrap();
            assert!(carried.is_whole() && carried.lu() == self.lu, "{carried:?}");
            match carried.open().unwrap() {
                Word::Alive { .. } | Word::Draining { .. } => {}
                word => return word,
            }
        }
    }

    /// Whether anything was said within the time that an answer may take.
    pub(crate) async fn is_silent(&mut self) -> bool {
        timeout(Duration::from_millis(500), self.words.recv()).await.is_err()
    }

    pub(crate) async fn open(&mut self, owner: u64, seq: u64) -> Word {
        self.epoch = Epoch { owner: OwnerId(owner), seq };
        self.no = 0;
        let holder = Holder(owner + 100);
        let call = Call::Open { epoch: self.epoch, holder, hop: 0, avoid: None };
        self.send(CarriedCall::seal(self.lu, call)).await;
        self.word().await
    }

    /// Asks in the session; gives its number.
    pub(crate) async fn ask(&mut self, request: Request) -> u64 {
        self.no += 1;
        let (epoch, no) = (self.epoch, self.no);
        let call = match request {
            Request::Flush => Call::Flush { epoch, no, settle: false },
            request => Call::Request { epoch, no, request },
        };
        self.send(CarriedCall::seal(self.lu, call)).await;
        no
    }

    pub(crate) async fn done(&mut self, request: Request) -> Result<Reply, Failure> {
        let asked = self.ask(request).await;
        match self.word().await {
            Word::Answer { epoch, no, outcome } if (epoch, no) == (self.epoch, asked) => outcome,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn hang_up(self) {
        self.endpoint.close().await;
    }
}
