use super::*;
use proptest::prelude::*;

fn inline(flow: u32, head: &'static str) -> Incoming {
    Incoming::Inline { flow, head: Bytes::from_static(head.as_bytes()), body: Bytes::new() }
}

fn detached(flow: u32, head: &'static str, body_bytes: u32) -> Incoming {
    Incoming::Detached { flow, head: Bytes::from_static(head.as_bytes()), body_bytes }
}

fn heads(ready: &mut Vec<Message>) -> Vec<String> {
    ready.drain(..).map(|message| String::from_utf8(message.head.to_vec()).unwrap()).collect()
}

#[test]
fn a_body_on_its_way_holds_back_its_own_flow_only() {
    let mut order = LaneOrder::new();
    let mut ready = Vec::new();
    assert_eq!(order.accept(inline(1, "a1"), &mut ready), None);
    assert_eq!(
        order.accept(detached(1, "a2", 9), &mut ready),
        Some(AwaitedBody { number: 2, bytes: 9 })
    );
    assert_eq!(order.accept(inline(1, "a3"), &mut ready), None);
    assert_eq!(order.accept(inline(2, "b1"), &mut ready), None);
    assert_eq!(heads(&mut ready), ["a1", "b1"]);
    assert_eq!(order.delivered_through(), 1);
    order.body_arrived(2, Bytes::from_static(b"123456789"), &mut ready).unwrap();
    assert_eq!(heads(&mut ready), ["a2", "a3"]);
    assert_eq!((order.delivered_through(), order.held_bytes()), (4, 0));
}

#[test]
fn bodies_of_one_flow_that_arrive_in_reverse_leave_in_order() {
    let mut order = LaneOrder::new();
    let mut ready = Vec::new();
    order.accept(detached(1, "a1", 1), &mut ready);
    order.accept(detached(1, "a2", 1), &mut ready);
    order.body_arrived(2, Bytes::from_static(b"2"), &mut ready).unwrap();
    assert!(ready.is_empty());
    order.body_arrived(1, Bytes::from_static(b"1"), &mut ready).unwrap();
    assert_eq!(heads(&mut ready), ["a1", "a2"]);
}

#[test]
fn numbers_already_received_and_bodies_nobody_waits_for_are_refused() {
    let mut order = LaneOrder::new();
    let mut ready = Vec::new();
    order.start(1, 5).unwrap();
    order.accept(inline(1, "a"), &mut ready);
    assert_eq!(order.start(1, 5), Err(OrderError::Replay { first: 5, next: 6 }));

    assert_eq!(
        order.body_arrived(5, Bytes::new(), &mut ready),
        Err(OrderError::StrayBody { number: 5 })
    );
    order.accept(detached(1, "b", 1), &mut ready);
    order.accept(inline(1, "c"), &mut ready);
    assert_eq!(
        order.body_arrived(7, Bytes::new(), &mut ready),
        Err(OrderError::StrayBody { number: 7 })
    );
}

#[test]
fn another_run_of_the_peer_counts_from_the_start_again() {
    let mut order = LaneOrder::new();
    order.start(1, 5).unwrap();
    order.start(2, 1).unwrap();
    assert_eq!(order.start(2, 0), Err(OrderError::Replay { first: 0, next: 1 }));
}

#[test]
fn a_lost_connection_loses_the_messages_without_bodies_and_no_others() {
    let mut order = LaneOrder::new();
    let mut ready = Vec::new();
    order.accept(detached(1, "a1", 1), &mut ready);
    order.accept(detached(2, "b2", 1), &mut ready);
    order.accept(detached(1, "a3", 1), &mut ready);
    order.accept(inline(2, "b4"), &mut ready);
    order.accept(inline(1, "a5"), &mut ready);
    order.body_arrived(3, Bytes::from_static(b"3"), &mut ready).unwrap();
    order.give_up_bodies(&mut ready);
    assert_eq!(heads(&mut ready), ["a3", "b4", "a5"]);
    assert_eq!((order.delivered_through(), order.held_bytes()), (5, 0));
    order.start(0, 7).unwrap();
    order.accept(inline(1, "a7"), &mut ready);
    assert_eq!(heads(&mut ready), ["a7"]);
    assert_eq!((order.delivered_through(), order.is_waiting()), (7, false));
}

#[test]
fn a_lane_begins_neither_at_a_received_number_nor_past_all_of_them() {
    let mut order = LaneOrder::new();
    assert_eq!(order.start(1, 0), Err(OrderError::Replay { first: 0, next: 1 }));
    assert_eq!(order.start(1, u64::MAX), Err(OrderError::Beyond { first: u64::MAX }));
    assert_eq!(order.start(1, u64::MAX / 2), Ok(()));
    order.accept(inline(1, "a"), &mut Vec::new());
    assert_eq!(order.delivered_through(), u64::MAX / 2);
}

#[test]
fn a_message_that_waits_counts_with_what_keeping_it_costs_and_keeps_no_receive_buffer() {
    let mut order = LaneOrder::new();
    let mut ready = Vec::new();
    let received = Bytes::from(vec![b'x'; 1000]);
    let waiting =
        Incoming::Inline { flow: 1, head: received.slice(..9), body: received.slice(9..20) };
    order.accept(detached(1, "", 1), &mut ready);
    for _message in 0..100 {
        order.accept(waiting.clone(), &mut ready);
    }
    drop(waiting);
    assert_eq!(order.held_bytes(), 101 * HELD_MESSAGE_BYTES + 100 * 20);
    assert!(received.is_unique(), "a held message keeps a receive buffer");
    order.body_arrived(1, Bytes::from_static(b"b"), &mut ready).unwrap();
    assert_eq!((ready.len(), order.held_bytes()), (101, 0));
}

proptest! {
    #[test]
    fn each_flow_stays_in_order_whatever_the_order_of_bodies(
        script in prop::collection::vec((0_u32..4, any::<bool>()), 1..60),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 60),
    ) {
        let mut order = LaneOrder::new();
        let mut ready = Vec::new();
        let mut awaited = Vec::new();
        let mut through = 0;
        for (position, (flow, is_detached)) in script.iter().enumerate() {
            let head = Bytes::from(position.to_string());
            let incoming = if *is_detached {
                Incoming::Detached { flow: *flow, head, body_bytes: 1 }
            } else {
                Incoming::Inline { flow: *flow, head, body: Bytes::new() }
            };
            awaited.extend(order.accept(incoming, &mut ready));
            prop_assert!(order.delivered_through() >= through);
            through = order.delivered_through();
        }
        for pick in picks {
            if awaited.is_empty() {
                break;
            }
            let body = awaited.swap_remove(pick.index(awaited.len()));
            order.body_arrived(body.number, Bytes::from_static(b"x"), &mut ready).unwrap();
            prop_assert!(order.delivered_through() >= through);
            through = order.delivered_through();
        }
        prop_assert_eq!(ready.len(), script.len());
        prop_assert_eq!(through, script.len() as u64);
        prop_assert_eq!(order.held_bytes(), 0);
        let mut last = HashMap::new();
        for message in ready {
            let position: i64 = std::str::from_utf8(&message.head).unwrap().parse().unwrap();
            let before = last.insert(message.flow, position).unwrap_or(-1);
            prop_assert!(before < position, "flow {} went back", message.flow);
        }
    }
}
