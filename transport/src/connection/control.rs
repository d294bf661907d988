//! The control stream once a connection is adopted: what was handed over, in both directions.

use std::sync::atomic::Ordering;
use std::time::Duration;

use quinn::{ReadError, RecvStream, SendStream, WriteError};

use super::Task;
use crate::config::SEND_WINDOW_MIN;
use crate::error::Violation;
use crate::wire::control::{CONTROL_BYTES_MAX, Control};

/// Acknowledgements are gathered for this long, so that they cost nothing under load.
const ACKNOWLEDGEMENT_PACE: Duration = Duration::from_millis(5);

/// Reads acknowledgements until the connection ends.
pub(super) async fn read(task: Task, mut stream: RecvStream) {
    let mut buffer = [0; 64 * CONTROL_BYTES_MAX];
    let mut kept = 0;
    loop {
        let Some(room) = buffer.get_mut(kept..) else { return };
        let read = match stream.read(room).await {
            Ok(Some(read)) => read,
            // It lasts as long as the connection.
            Ok(None) | Err(ReadError::Reset(_)) => {
                return task.connection.violated(Violation::Cut);
            }
            Err(_lost) => return,
        };
        kept += read;
        let mut used = 0;
        loop {
            match Control::decode(buffer.get(used..kept).unwrap_or_default()) {
                Ok(Some((frame, bytes))) => {
                    used += bytes;
                    apply(&task, frame);
                }
                Ok(None) => break,
                Err(error) => return task.connection.violated(Violation::Wire(error)),
            }
        }
        buffer.copy_within(used..kept, 0);
        kept -= used;
        task.link.shared.progress.notify_waiters();
        adapt_send_window(&task);
    }
}

/// Lets as much be written as keeps the path busy, and little more: what QUIC has taken and not
/// got across is doubtful when the connection is lost.
fn adapt_send_window(task: &Task) {
    let in_flight_max = task.connection.quinn.stats().path.cwnd;
    let most = u64::from(task.endpoint.config.send_window_bytes);
    let window = in_flight_max.saturating_mul(2).clamp(SEND_WINDOW_MIN, most);
    task.connection.quinn.set_send_window(window);
}

fn apply(task: &Task, frame: Control) {
    match frame {
        // The handshake has read the first one; another changes nothing.
        Control::Start => {}
        Control::Delivered { lane, through } => {
            if !task.connection.acknowledged(&task.link.shared, lane, through) {
                task.connection.violated(Violation::Lane { lane });
            }
        }
    }
}

/// Writes what has been handed over of this connection's lanes, at most once per pace, to its end.
pub(super) async fn write(task: Task, mut stream: SendStream) {
    if stream.set_priority(2).is_err() {
        return;
    }
    let connection = &task.connection;
    let mut told = vec![0; connection.delivered.len()];
    let mut timer = task.endpoint.clock.timer();
    let mut frames = Vec::new();
    if connection.info.dialled {
        Control::Start.encode(&mut frames);
    }
    loop {
        for ((lane, told), delivered) in (0..).zip(&mut told).zip(&connection.delivered) {
            let through = delivered.load(Ordering::Acquire);
            if through > *told {
                *told = through;
                Control::Delivered { lane, through }.encode(&mut frames);
            }
        }
        if !frames.is_empty() {
            match stream.write_all(&frames).await {
                Ok(()) => {}
                Err(WriteError::Stopped(_)) => return task.connection.violated(Violation::Cut),
                Err(_lost) => return,
            }
            frames.clear();
            timer.arm(Some(task.endpoint.clock.now().after(ACKNOWLEDGEMENT_PACE)));
            timer.expired().await;
        }
        tokio::select! {
            () = connection.acknowledgement_due.notified() => {}
            _closed = connection.quinn.closed() => return,
        }
    }
}
