//! The client against our own server, over real sockets, on every runtime.
#![allow(clippy::unwrap_used)]

#[path = "clients/connection.rs"]
mod connection;
#[path = "clients/hostile.rs"]
mod hostile;
#[path = "clients/messages.rs"]
mod messages;
#[path = "clients/proxy.rs"]
mod proxy;
#[path = "clients/resumed.rs"]
mod resumed;
#[cfg(all(feature = "tls", feature = "smol"))]
#[path = "clients/secure.rs"]
mod secure;
#[path = "clients/start.rs"]
mod start;

/// A test of each scenario on one runtime.
macro_rules! alone {
    ($runtime:ident: $($subject:ident { $($scenario:ident)* })*) => {$($(
        #[test]
        fn $scenario() {
            crate::start::$runtime(crate::$subject::$scenario(crate::start::Way::Upgrade));
        }
    )*)*};
}

/// A test of each scenario on one runtime, for each way to be connected.
macro_rules! scenarios {
    ($runtime:ident: $($subject:ident { $($scenario:ident)* })*) => {$($(
        mod $scenario {
            use crate::start::{self, Way};

            #[test]
            fn by_polling() {
                start::$runtime(crate::$subject::$scenario(Way::Polling));
            }

            #[test]
            fn by_websocket() {
                start::$runtime(crate::$subject::$scenario(Way::WebSocket));
            }

            #[test]
            fn by_upgrade() {
                start::$runtime(crate::$subject::$scenario(Way::Upgrade));
            }
        }
    )*)*};
}

macro_rules! run_on {
    ($(#[$attribute:meta])* $runtime:ident) => {
        $(#[$attribute])*
        mod $runtime {
            scenarios! { $runtime:
                messages {
                    echoes_come_back_in_order
                    binary_goes_both_ways
                    acknowledgements_go_both_ways
                    events_are_taken_one_by_one
                    events_are_a_stream_that_ends_with_the_client
                    an_event_is_shown_once_when_it_is_sent
                    a_message_larger_than_the_server_takes_is_an_error_before_it_is_sent
                    a_large_message_goes_both_ways
                }
                connection {
                    three_namespaces_share_a_connection
                    a_refused_namespace_is_joined_with_other_auth
                    auth_that_cannot_be_had_is_asked_for_again
                    a_disconnect_is_told_on_both_sides
                    events_sent_offline_arrive_once_and_in_order_after_a_restart
                    nobody_there_is_an_error_that_says_so
                    a_name_leads_to_its_server_whatever_its_other_addresses
                    leaving_and_joining_in_one_turn_connects_again
                    events_sent_before_the_close_arrive
                }
                proxy {
                    a_proxy_carries_all_that_goes_both_ways
                }
                resumed {
                    connections_that_are_cut_lose_nothing
                }
            }
            #[cfg(all(feature = "tls", feature = "smol"))]
            scenarios! { $runtime:
                secure {
                    only_a_server_that_is_trusted_is_spoken_to
                    encryption_goes_through_a_proxy
                }
            }
            #[cfg(target_os = "linux")]
            alone! { $runtime:
                connection {
                    an_address_that_never_answers_is_given_up_in_time
                }
            }
            alone! { $runtime:
                hostile {
                    a_wrong_handshake_is_an_error_that_says_so
                    frames_that_break_the_rules_are_an_error_that_says_so
                    a_server_that_answers_at_once_and_with_nothing_is_not_asked_at_full_speed
                    a_server_that_never_answers_what_is_sent_is_given_up_in_time
                }
                proxy {
                    a_proxy_that_wants_a_password_gets_it
                    a_proxy_that_is_no_help_is_an_error_that_says_so
                    a_proxy_that_never_answers_is_given_up_in_time
                }
            }
        }
    };
}

run_on!(
    #[cfg(feature = "tokio")]
    tokio
);
run_on!(
    #[cfg(feature = "smol")]
    smol
);
