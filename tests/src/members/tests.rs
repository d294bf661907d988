use std::time::Duration;

use super::traffic::Rate;
use super::{Report, Run, Scene, report};

fn quiet(nodes: u32, seed: u64, minutes: u64) -> Run {
    let quiet = Duration::from_secs(60 * minutes);
    Scene { nodes, seed, quiet, loss_percent: 1 }.run()
}

#[test]
fn everybody_learns_of_a_kill_in_time_and_nobody_dies_falsely() {
    for nodes in [50, 120] {
        let Report { runs, .. } = &report(nodes, 3, 1);
        for run in runs {
            let seed = run.scene.seed;
            let all_know = run.all_know.unwrap();
            assert!((2.0..=25.0).contains(&all_know), "{all_know} periods, seed {seed}");
            assert!(run.first_knows.unwrap() < all_know);
            assert_eq!((run.false_deaths, run.accusations), (0, 0), "seed {seed}");
            assert!(run.formed_after.unwrap() <= Duration::from_secs(60), "seed {seed}");
        }
    }
}

#[test]
fn suspicions_that_loss_alone_raises_are_refuted() {
    // Ten times the loss: somebody is suspected every few minutes.
    let quiet = Duration::from_secs(600);
    let run = Scene { nodes: 50, seed: 1, quiet, loss_percent: 10 }.run();
    assert!(run.suspicions > 50, "{run}");
    assert_eq!((run.false_deaths, run.accusations), (0, 0), "{run}");
}

#[test]
fn what_a_node_sends_does_not_grow_with_the_cluster() {
    let (small, large) = (quiet(30, 1, 5).rate(), quiet(150, 1, 5).rate());
    assert!(large.packets <= 1.1 * small.packets, "{small}, then {large}");
    assert!(large.bytes <= 1.1 * small.bytes, "{small}, then {large}");
    // A probe and its answer each way, and acknowledgements: three packets a period and a few more.
    assert!((3.0..=4.5).contains(&large.packets), "{large}");
}

#[test]
fn a_seed_decides_every_datagram() {
    let (one, again, other) = (quiet(40, 5, 1), quiet(40, 5, 1), quiet(40, 6, 1));
    assert_eq!(one, again);
    assert_ne!(one.trace_hash, other.trace_hash);
}

#[test]
fn a_link_that_is_kept_alive_costs_each_side_half_of_a_ping_and_its_acknowledgement() {
    let none = Rate { packets: 1.0, bytes: 100.0 };
    let some = none.with_keep_alives(10, Duration::from_secs(2));
    // Five PINGs or ACKs a second, of 56 and 60 bytes.
    assert_eq!(some, Rate { packets: 6.0, bytes: 100.0 + 5.0 * 58.0 });
}

#[test]
fn the_report_names_the_median_and_a_seed_that_came_to_nothing() {
    let mut report = report(10, 3, 0);
    for (run, periods) in report.runs.iter_mut().zip([None, Some(7.0), Some(9.0)]) {
        run.all_know = periods;
    }
    assert_eq!(report.all_know_median(), Some(9.0));
    let text = report.to_string();
    assert!(text.contains("all after (never);"), "{text}");
    assert!(text.contains("everybody knows after 9.0 periods (median)"), "{text}");
    report.runs.iter_mut().for_each(|run| run.all_know = None);
    assert_eq!(report.all_know_median(), None);
}
