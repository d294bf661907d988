use std::fs;

use vioduct_certs::ca::{CA_VALIDITY, ClusterCa, LEAF_VALIDITY};
use vioduct_certs::ca_dir::IfExists;
use vioduct_certs::identity::{Identity, Kind, Roles};
use vioduct_certs::moment::{DAY, before};
use vioduct_certs::rotation::RetryBounds;
use vioduct_runtime::Node;

use super::*;

/// A node whose certificate was issued some time ago, without a watcher: what its renewal command
/// prints is in `answer`, and each run of it adds a line to `runs`.
struct Host {
    dir: PathBuf,
    ca: ClusterCa,
    identity: Identity,
    renewer: Renewer,
    _node: Node,
}

impl Host {
    async fn new(test: &str, age: Duration) -> Self {
        let dir = std::env::temp_dir().join(format!("vioduct-{test}-{}", std::process::id()));
        let issued = before(UnixTime::now(), age);
        let cluster: vioduct_certs::identity::ClusterName = "test".parse().expect("a name");
        let mut ca = ClusterCa::create(cluster.clone(), CA_VALIDITY, issued).expect("a CA");
        let name: NodeName = "n1".parse().expect("a name");
        let identity =
            Identity { cluster, name: name.clone(), kind: Kind::Node, roles: Roles::all() };
        let bundle = ca.issue(&identity, LEAF_VALIDITY, issued).expect("issued");
        bundle.write_to(&dir, IfExists::Refuse).expect("written");
        let credentials = Credentials::load(&dir, UnixTime::now()).expect("good certificates");

        let trust = Arc::new(Mutex::new(TrustState::default()));
        let node = Node::builder(Arc::new(credentials)).workers(1).start();
        let node = node.await.expect("a node");

        let script = "cd \"$0\" && echo run >> runs && cat answer";
        let (min, max) = (Duration::from_secs(5), Duration::from_secs(60));
        let config = RenewalConfig {
            program: "sh".to_owned(),
            args: ["-c", script, dir.to_str().expect("UTF-8")].map(str::to_owned).to_vec(),
            timeout: Duration::from_secs(10),
            retry: RetryBounds { min, max },
        };
        let renewer = Renewer::new(config, name, dir.clone(), node.endpoint().clone(), trust);
        Self { dir, ca, identity, renewer, _node: node }
    }

    /// Has the CA sign the request that waits, or would be made next.
    fn sign(&mut self) {
        let holder = self.identity.clone();
        self.sign_for(&holder, UnixTime::now());
    }

    /// The same for `holder`, at a time of the CA's own.
    fn sign_for(&mut self, holder: &Identity, now: UnixTime) {
        let request = pending_request(&self.dir, &self.identity.name).expect("a request");
        let bundle = self.ca.sign_csr(&request, holder, LEAF_VALIDITY, now);
        fs::write(self.dir.join("answer"), bundle.expect("signed").cert_pem).expect("written");
    }

    async fn look(&mut self) -> RenewalState {
        self.renewer.look(UnixTime::now()).await;
        let state = locked(&self.renewer.trust).renewal.clone();
        state.expect("the renewer has a state")
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.dir.join("runs")).map_or(0, |runs| runs.lines().count())
    }

    /// Does what the watcher of the directory does in a node.
    fn adopt(&self) {
        let fresh = Credentials::load(&self.dir, UnixTime::now()).expect("good certificates");
        self.renewer.endpoint.set_credentials(Arc::new(fresh));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.dir));
    }
}

#[tokio::test]
async fn nothing_is_signed_before_it_is_due() {
    let mut host = Host::new("fresh", DAY).await;
    host.sign();
    let state = host.look().await;
    assert_eq!((host.runs(), state.renewed, state.failures), (0, 0, 0));
}

#[tokio::test]
async fn a_renewed_certificate_is_given_time_to_come_into_use_and_told_of_when_it_does_not() {
    let mut host = Host::new("in-use", DAY * 6).await;
    host.sign();
    let state = host.look().await;
    assert_eq!((host.runs(), state.renewed, state.failures), (1, 1, 0));
    host.look().await;
    assert_eq!(host.runs(), 1, "nothing is signed twice while the watcher has yet to look");

    host.renewer.hold = Instant::now();
    let state = host.look().await;
    let error = state.error.expect("an error");
    assert!(error.contains("was installed, but"), "{error}");
    assert_eq!((host.runs(), state.failures), (1, 1));

    host.adopt();
    let state = host.look().await;
    assert_eq!((state.error, state.failures, state.retry_at), (None, 0, None));
    assert_eq!((host.runs(), state.renewed), (1, 1));
}

#[tokio::test]
async fn an_answer_that_can_not_be_used_leaves_everything_as_it_was_until_the_next_try() {
    let mut host = Host::new("useless", DAY * 6).await;
    let before = fs::read(host.dir.join("node.crt")).unwrap();
    fs::write(host.dir.join("answer"), "come back tomorrow\n").unwrap();
    let error = host.look().await.error.expect("an error");
    assert!(error.contains("no PEM certificate"), "{error}");
    // A certificate, but for another key than the one that waits.
    let key = fs::read(host.dir.join("node.key.new")).unwrap();
    fs::remove_file(host.dir.join("node.key.new")).unwrap();
    host.sign();
    fs::write(host.dir.join("node.key.new"), key).unwrap();
    host.look().await;
    assert_eq!(host.runs(), 1, "it waits before it asks again");
    host.renewer.hold = Instant::now();
    let state = host.look().await;
    let error = state.error.expect("an error");
    assert!(error.contains("no key in the directory belongs to the certificate"), "{error}");
    assert_eq!((host.runs(), state.failures, state.renewed), (2, 2, 0));
    assert_eq!(fs::read(host.dir.join("node.crt")).unwrap(), before);
}

#[tokio::test]
async fn a_certificate_for_another_holder_is_not_installed() {
    let mut host = Host::new("holder", DAY * 6).await;
    // The installed certificate can't be compared with.
    fs::write(host.dir.join("node.crt"), "damaged").unwrap();
    let other = Identity { name: "n2".parse().unwrap(), ..host.identity.clone() };
    let tool = Identity::tool(host.identity.cluster.clone(), host.identity.name.clone());
    for holder in [other, tool] {
        host.sign_for(&holder, UnixTime::now());
        host.renewer.hold = Instant::now();
        let error = host.look().await.error.expect("an error");
        let expected = format!("certificate is for {holder}, not for node n1");
        assert!(error.contains(&expected), "{error}");
    }
    assert_eq!(fs::read(host.dir.join("node.crt")).unwrap(), b"damaged");
    host.sign();
    host.renewer.hold = Instant::now();
    assert_eq!(host.look().await.renewed, 1);
}

#[tokio::test]
async fn a_certificate_that_is_due_again_at_once_is_renewed_ever_more_rarely() {
    let mut host = Host::new("at-once", DAY * 6).await;
    // To the CA it is six days ago: what it signs has a day to live.
    let behind = before(UnixTime::now(), DAY * 6);
    let mut waits = Vec::new();
    for round in 1..=4_u32 {
        let holder = host.identity.clone();
        host.sign_for(&holder, behind);
        host.renewer.hold = Instant::now();
        let state = host.look().await;
        assert_eq!(
            (host.runs(), state.renewed, state.failures),
            (round as usize, round.into(), round,)
        );
        let error = state.error.expect("an error");
        assert!(error.contains("is due again at once; set this host's clock"), "{error}");
        assert!(state.retry_at.is_some_and(|retry| retry > UnixTime::now()));
        waits.push(host.renewer.hold - Instant::now());
        host.adopt();
        host.look().await;
        assert_eq!(host.runs(), round as usize, "it waits before it asks again");
    }
    assert!(waits[3] > Duration::from_secs(15), "20 s to 40 s: {waits:?}");

    host.sign();
    host.renewer.hold = Instant::now();
    let state = host.look().await;
    assert_eq!((state.failures, state.error), (0, None));
}
