//! A message on its way to many sockets.

use super::ack::Waiter;
use super::broadcast::Delivery;
use super::socket::Socket;
use super::wakes;
use crate::error::EmitError;
use sockeye_core::engineio::Frames;
use sockeye_core::socketio::Flags;
use std::sync::Arc;
use std::task::Waker;

/// The number of recipients with a reference count of their own: those that one thread is likely to write to.
const GROUP: usize = wakes::BATCH;

/// A message that is being queued for sockets, and what has become of it so far.
pub(super) struct Cast {
    pub(super) frames: Frames,
    flags: Flags,
    waiter: Option<Arc<Waiter>>,
    /// There is an observer.
    is_observed: bool,
    /// Sockets may have listeners for outgoing events.
    is_watched: bool,
    /// There were more sockets than a batch, and the first were woken already.
    pub(super) is_large: bool,
    /// Several threads write it to connections, and should not share a reference count.
    pub(super) is_grouped: bool,
    pub(super) delivery: Delivery,
    /// The connections that have something to do now.
    pub(super) woken: Vec<Waker>,
    /// The recipients that read too slowly.
    pub(super) slow: Vec<Socket>,
    /// The recipients with listeners for outgoing events.
    pub(super) watched: Vec<Socket>,
    /// All recipients, for the observer.
    pub(super) shown: Vec<Socket>,
}

impl Cast {
    pub(super) fn new(
        frames: Frames,
        flags: Flags,
        waiter: Option<Arc<Waiter>>,
        is_observed: bool,
        is_watched: bool,
    ) -> Cast {
        let (woken, slow, watched, shown) = Default::default();
        let delivery = Delivery::default();
        Cast {
            frames,
            flags,
            waiter,
            is_observed,
            is_watched,
            is_large: false,
            is_grouped: false,
            delivery,
            woken,
            slow,
            watched,
            shown,
        }
    }

    /// Queues the message for a socket. Called under the lock of the members: wakers and closing access them, and are left to
    /// the caller.
    pub(super) fn send(&mut self, socket: &Socket) {
        let asked = match &self.waiter {
            Some(waiter) => match waiter.ask(socket) {
                Some(at) => {
                    self.woken.extend(socket.take_resume_waker());
                    Some((waiter, at))
                }
                None => return self.delivery.dropped += 1,
            },
            None => None,
        };
        match socket.send_shared(&mut self.frames, self.flags, &mut self.woken) {
            Ok(()) => {
                self.delivery.sent += 1;
                if self.is_grouped && self.delivery.sent.is_multiple_of(GROUP) {
                    self.frames.regroup();
                }
                // It can be sent, if not to everyone.
                self.delivery.error = None;
                if self.is_observed {
                    self.shown.push(socket.clone());
                }
                if self.is_watched && socket.is_watched() {
                    self.watched.push(socket.clone());
                }
            }
            Err(error) => {
                match error {
                    EmitError::SlowConsumer { .. } => self.slow.push(socket.clone()),
                    EmitError::TooLarge { .. } if self.delivery.sent == 0 => {
                        self.delivery.error = Some(error.clone());
                    }
                    _ => {}
                }
                if let Some((waiter, at)) = asked {
                    waiter.fail(socket, at, error);
                }
                self.delivery.dropped += 1;
            }
        }
    }
}
