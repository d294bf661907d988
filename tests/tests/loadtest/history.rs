//! The other checker, `tests/tools/history.py`: it finds every broken promise too.

use vioduct_tests::cluster::Scratch;
use vioduct_tests::disks::history::{History, Verdict};

use super::disks::{Fault, Served};

async fn judged(fault: Fault) -> Verdict {
    let dir = Scratch::create().expect("a directory is made");
    let served = Served::new(fault, dir.path());
    let history = History::flowing(&served.uri()).await.expect("it runs");
    history.stop().await.expect("it gives a verdict")
}

#[tokio::test]
async fn a_sound_disk_passes() {
    let verdict = judged(Fault::None).await;
    assert!(verdict.is_sound() && verdict.flushes > 0, "{verdict}");
}

#[tokio::test]
async fn every_broken_promise_is_found() {
    for fault in [
        Fault::Loses,
        Fault::LosesAllLater,
        Fault::Reverts,
        Fault::Tears,
        Fault::Misplaces,
        Fault::Spoils,
        Fault::MakesLate,
    ] {
        let verdict = judged(fault).await;
        assert!(verdict.broken > 0, "{fault:?}: {verdict}");
        assert_eq!(verdict.errors > 0, fault == Fault::MakesLate, "{fault:?}: {verdict}");
    }
}
