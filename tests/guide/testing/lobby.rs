use serde::{Deserialize, Serialize};
use serde_json::json;
use sockeye::extract::{Auth, Data};
use sockeye::{ConnectError, Server, Socket};
use std::time::Duration;

#[derive(Deserialize)]
struct Login {
    name: String,
}

struct Name(String);

/// The time after which a client has to say its name again.
const LOGIN: Duration = Duration::from_secs(900);

#[derive(Serialize)]
struct Problem {
    error: &'static str,
}

fn lobby() -> Server {
    let io = Server::new();
    io.middleware(async |socket: Socket, Auth(login): Auth<Login>| {
        if login.name.is_empty() {
            return Err(ConnectError::new("a name is needed").data(json!({ "code": "nameless" })));
        }
        socket.set_data(Name(login.name));
        socket.authenticated_for(LOGIN);
        Ok(())
    });
    io.renew_auth(Duration::from_secs(10), async |socket: Socket, Data(login): Data<Login>| {
        match socket.data::<Name>().is_some_and(|name| name.0 == login.name) {
            true => Ok(LOGIN),
            false => Err(ConnectError::new("this is another name")),
        }
    });
    io.on("join", async |socket: Socket, Data(room): Data<String>| match room.as_str() {
        "red" | "blue" => {
            socket.join(&room);
            socket.to(&room).emit("joined", socket.data::<Name>().map(|name| name.0.clone()));
            Ok(socket.namespace().to(&room).sockets().len())
        }
        _ => Err(Problem { error: "no such lobby" }),
    });
    io
}

#[cfg(test)]
mod tests {
    use super::{LOGIN, lobby};
    use serde_json::{Value, json};
    use sockeye::client::ClientConnectError;
    use sockeye::extract::AckSender;
    use sockeye::testing::{TestClient, TestServer};
    use std::time::Duration;

    fn guest(test: &TestServer, name: &str) -> TestClient {
        test.client().auth(json!({ "name": name })).connect("/")
    }

    #[test]
    fn members_learn_who_joins() {
        let test = TestServer::new(lobby());
        let (ann, bob) = (guest(&test, "Ann"), guest(&test, "Bob"));
        assert_eq!(ann.ask::<usize>("join", "red"), 1);
        assert_eq!(bob.ask::<usize>("join", "red"), 2);
        assert_eq!(ann.expect_event::<String>("joined"), "Bob");
        bob.expect_nothing();
    }

    #[test]
    fn an_unknown_lobby_is_an_error() {
        let test = TestServer::new(lobby());
        let ann = guest(&test, "Ann");
        assert_eq!(ann.ask::<Value>("join", "green"), json!({ "error": "no such lobby" }));
    }

    #[test]
    fn nobody_enters_without_a_name() {
        let test = TestServer::new(lobby());
        let refused = test.client().auth(json!({ "name": "" })).connect_error("/");
        let ClientConnectError::Refused { data: Some(data), .. } = refused else { panic!("{refused}") };
        assert_eq!(data["code"], "nameless");
    }

    #[test]
    fn a_login_is_renewed_by_the_same_name_only() {
        let test = TestServer::new(lobby());
        let (ann, bob) = (guest(&test, "Ann"), guest(&test, "Bob"));
        bob.socket().on("auth:renew", async || json!({ "name": "Eve" }));
        test.advance(LOGIN);
        bob.expect_disconnect("io server disconnect");
        ann.expect("auth:renew"); // the client has answered it with its `auth`
        ann.expect_nothing();
    }

    #[test]
    fn a_login_that_is_not_renewed_ends_after_ten_seconds() {
        let test = TestServer::new(lobby());
        let ann = guest(&test, "Ann");
        ann.socket().on("auth:renew", async |_: AckSender| {}); // no answer
        test.advance(LOGIN + Duration::from_secs(9));
        assert!(ann.is_connected());
        test.advance(Duration::from_secs(1));
        ann.expect_disconnect("io server disconnect");
    }

    #[test]
    fn a_client_that_was_away_is_in_no_room() {
        let test = TestServer::new(lobby());
        let (ann, bob) = (guest(&test, "Ann"), guest(&test, "Bob"));
        ann.ask::<usize>("join", "red");
        ann.cut();
        ann.expect_disconnect("transport error");
        ann.expect_connect(); // it connects again by itself, after about a second
        assert_eq!(bob.ask::<usize>("join", "red"), 1);
        assert_eq!(test.server().to("red").emit("start", ()).sent, 1);
        bob.expect_event::<()>("start");
    }
}
