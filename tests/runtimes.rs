//! One set of scenarios over real sockets, which every runtime must pass.
//!
//! The protocols themselves are tested in memory, in `engine-core/tests`.
#![allow(clippy::unwrap_used)]

#[path = "runtimes/client.rs"]
mod client;
#[path = "../examples/custom_loop.rs"]
mod custom_loop;
#[cfg(all(feature = "smol", feature = "tokio"))]
#[path = "runtimes/dropped.rs"]
mod dropped;
#[path = "runtimes/endings.rs"]
mod endings;
#[path = "runtimes/faults.rs"]
mod faults;
#[path = "runtimes/messages.rs"]
mod messages;
#[cfg(feature = "axum")]
#[path = "../examples/common/mounted.rs"]
mod mounted;
#[cfg(feature = "tokio")]
#[path = "runtimes/on_tokio.rs"]
mod on_tokio;
#[path = "runtimes/polling.rs"]
mod polling;
#[path = "runtimes/start.rs"]
mod start;

/// Defines a test of each scenario on one runtime.
macro_rules! run_on {
    ($(#[$attribute:meta])* $runtime:ident $($more:tt)*) => {
        $(#[$attribute])*
        mod $runtime {
            scenarios! { $runtime:
                messages {
                    a_client_connects
                    echoes_come_back_in_order
                    a_client_that_reads_late_gets_everything
                    text_and_binary_come_back
                    what_a_handler_returns_is_the_acknowledgement
                    an_acknowledgement_of_the_client_is_awaited
                    an_acknowledgement_that_does_not_come_times_out
                    rooms_reach_websocket_and_polling_at_once
                    another_thread_emits
                    a_handler_that_waits_holds_up_nobody
                    large_messages_go_both_ways
                }
                polling {
                    a_session_polls
                    a_large_message_is_posted_and_polled
                    an_emit_answers_the_waiting_poll
                    a_poll_is_answered_when_another_takes_its_place
                    an_upgrade_loses_nothing
                }
                endings {
                    silence_ends_a_session
                    a_dropped_connection_is_noticed
                    a_half_closed_websocket_ends
                    a_client_that_does_not_read_is_closed_alone
                    closing_tells_the_clients_and_ends_the_serving
                    closing_sends_what_was_queued
                    another_thread_disconnects
                    a_client_that_goes_while_its_handlers_wait_is_noticed
                }
                faults {
                    a_client_that_stops_reading_does_not_keep_a_broadcast_from_the_others
                    a_handler_that_panics_fails_alone
                    a_handler_that_never_ends_does_not_keep_its_client_or_the_server
                    many_clients_that_reconnect_at_once_are_all_served
                }
                $($more)*
            }
        }
    };
}

macro_rules! scenarios {
    ($runtime:ident: $($subject:ident { $($scenario:ident)* })*) => {$($(
        #[test]
        fn $scenario() {
            crate::$subject::$scenario(crate::start::$runtime);
        }
    )*)*};
}

/// Adds the scenarios that need our own HTTP layer: hyper checks for the end of a stream before it calls a service, and
/// drops a request whose sender is gone by then.
macro_rules! run_alone_on {
    ($($runtime:tt)*) => {
        run_on!($($runtime)*
            endings { a_half_closed_request_is_answered a_dropped_poll_is_noticed }
            faults { connections_that_are_half_open_leave_nothing }
        );
    };
}

run_alone_on!(
    #[cfg(feature = "tokio")]
    tokio_current_thread
);
run_alone_on!(
    #[cfg(feature = "tokio")]
    tokio_multi_thread
);
run_alone_on!(
    #[cfg(feature = "smol")]
    smol
);
run_alone_on!(mio);
run_on!(
    #[cfg(all(feature = "axum", feature = "tokio"))]
    axum_on_tokio
);
run_on!(
    #[cfg(all(feature = "axum", feature = "tokio"))]
    hyper_on_tokio
);
run_on!(
    #[cfg(all(feature = "axum", feature = "smol"))]
    axum_on_smol
);
run_on!(
    #[cfg(all(feature = "axum", feature = "smol"))]
    hyper_on_smol
);
