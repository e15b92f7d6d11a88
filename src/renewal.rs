//! The event for new credentials, which both sides know.

/// The name of the event by which a server asks a client for new credentials: `auth:renew`.
///
/// It is sent to clients of a namespace that [renews credentials](crate::Namespace::renew_auth), without arguments. The
/// first argument of the acknowledgement is the new `auth`. Events are all that the protocol needs for it, so that any
/// client can answer. A [`Client`](crate::Client) does so by itself, with its
/// [`auth`](crate::client::ClientBuilder::auth) or [`auth_with`](crate::client::ClientBuilder::auth_with), unless the
/// application has a handler of this name. In JavaScript:
///
/// ```js
/// const socket = io({
///   auth: (answer) => fetchToken().then((token) => answer({ token })),
/// });
/// socket.on("auth:renew", (answer) => socket.auth(answer));
/// // A client that could not renew its credentials is disconnected by the server, after which it has to connect itself.
/// socket.on("disconnect", (reason) => {
///   if (reason === "io server disconnect") socket.connect();
/// });
/// ```
pub const AUTH_RENEW: &str = "auth:renew";
