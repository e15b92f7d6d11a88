//! Polling by scripts and forms (JSONP), of a whole server.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use simulation::{Pipe, Sim};
use sockeye::{Args, Cookie, Cors, DisconnectReason, Server, ServerBuilder, Socket};
use std::sync::{Arc, Mutex};

/// A server that echoes, its notes of ends, and one connection to it.
struct World {
    sim: Sim,
    pipe: Pipe,
    ends: Arc<Mutex<Vec<String>>>,
}

/// A response: status, headers and body.
struct Response {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Response {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Returns the payload with which the script calls the function of this number.
    #[track_caller]
    fn payload(&self, j: &str) -> String {
        assert_eq!((self.status, self.header("Content-Type")), (200, Some("text/javascript; charset=UTF-8")));
        assert_eq!(self.header("X-Content-Type-Options"), Some("nosniff"));
        assert_eq!(self.header("Cache-Control"), Some("no-store"));
        let call = self.text().strip_prefix(&format!("___eio[{j}](")).unwrap();
        serde_json::from_str(call.strip_suffix(");").unwrap()).unwrap()
    }
}

impl World {
    fn new(builder: ServerBuilder) -> World {
        let server = builder.build();
        let ends = Arc::<Mutex<Vec<_>>>::default();
        let noted = ends.clone();
        server.on_connect(move |socket: Socket| {
            let noted = noted.clone();
            socket.on_fallback(async |socket: Socket, args: Args| {
                let _ = socket.emit("echo", args);
            });
            socket.on_disconnect(move |reason: DisconnectReason| {
                noted.lock().unwrap().push(reason.to_string());
                async {}
            });
            async {}
        });
        let sim = Sim::new(server);
        World { pipe: sim.dial(), sim, ends }
    }

    fn on() -> World {
        World::new(Server::builder().jsonp(true))
    }

    fn send(&self, method: &str, query: &str, headers: &str, body: &str) -> Response {
        let head = format!(
            "{method} /socket.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: here\r\n{headers}\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.pipe.send(&[head.as_bytes(), body.as_bytes()].concat());
        self.sim.run();
        let response = self.pipe.receive();
        let end =
            response.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("there is a response") + 4;
        let (head, body) = response.split_at(end);
        let head = String::from_utf8(head.to_vec()).unwrap();
        Response { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head, body: body.to_vec() }
    }

    fn get(&self, query: &str) -> Response {
        self.send("GET", query, "", "")
    }

    /// Sends a form whose field `d` is already escaped.
    fn post(&self, query: &str, d: &str) -> Response {
        self.send("POST", query, "Content-Type: application/x-www-form-urlencoded\r\n", &format!("d={d}"))
    }

    /// Opens a session that is in the main namespace. Returns its part of the query.
    fn join(&self, j: &str) -> String {
        let open = self.get(&format!("&j={j}")).payload(j);
        let query = format!("&j={j}&sid={}", open.split('"').nth(3).unwrap());
        assert_eq!(self.post(&query, "40").text(), "ok");
        assert!(self.get(&query).payload(j).starts_with(r#"40{"sid":"#));
        query
    }

    fn ends(&self) -> Vec<String> {
        std::mem::take(&mut self.ends.lock().unwrap())
    }
}

#[test]
fn a_page_polls_by_scripts_and_sends_by_forms() {
    let world = World::on();
    let query = world.join("12");
    let posted = world.post(&query, "42[%22fish%22,%22%E2%82%AC+%2B+%3C/script%3E\\\\n%22]");
    assert_eq!((posted.status, posted.text()), (200, "ok"));
    assert_eq!(posted.header("Content-Type"), Some("text/html"));
    let polled = world.get(&query);
    assert!(!polled.text().contains('<'));
    assert_eq!(polled.payload("12"), r#"42["echo","€ + </script>\n"]"#);
    assert!(world.ends().is_empty());
}

#[test]
fn several_packets_stand_in_one_script_and_in_one_form() {
    let world = World::on();
    let query = world.join("0");
    world.post(&query, "42[%22a%22,1]%1E42[%22b%22,2]");
    let polled = world.get(&query);
    assert!(polled.text().contains("\\u001e"));
    assert_eq!(polled.payload("0"), "42[\"echo\",1]\u{1e}42[\"echo\",2]");
}

#[test]
fn binary_is_base64_in_both_directions() {
    let world = World::on();
    let query = world.join("0");
    let event = "451-[%22a%22,{%22_placeholder%22:true,%22num%22:0}]%1EbAQID/%2B8%3D";
    assert_eq!(world.post(&query, event).text(), "ok");
    let expected = "451-[\"echo\",{\"_placeholder\":true,\"num\":0}]\u{1e}bAQID/+8=";
    assert_eq!(world.get(&query).payload("0"), expected);
}

#[test]
fn refusals_have_the_shape_of_other_requests() {
    let world = World::on();
    let unknown = world.get("&j=0&sid=lv_VI97HAXpY6yYWAAAB");
    assert_eq!((unknown.status, unknown.text()), (400, r#"{"code":1,"message":"Session ID unknown"}"#));
    assert_eq!(unknown.header("Content-Type"), Some("application/json"));
    for j in ["", "x", "0]=alert;//", "99999999999"] {
        let refused = world.get(&format!("&j={j}"));
        assert_eq!((refused.status, refused.text()), (400, r#"{"code":3,"message":"Bad request"}"#), "{j}");
    }
    assert_eq!(world.sim.server().clients_count(), 0);
}

#[test]
fn it_is_off_unless_it_is_asked_for() {
    let world = World::new(Server::builder());
    let refused = world.get("&j=0");
    assert_eq!((refused.status, refused.text()), (400, r#"{"code":3,"message":"Bad request"}"#));
    assert_eq!(world.sim.server().clients_count(), 0);
}

#[test]
fn a_malformed_form_ends_the_session() {
    for form in ["", "40", "d=%zz", "d=%ff"] {
        let world = World::on();
        let query = world.join("0");
        assert_eq!(world.send("POST", &query, "", form).status, 400, "{form}");
        assert_eq!(world.ends().len(), 1, "{form}");
        assert_eq!(world.get(&query).status, 400, "{form}");
    }
}

#[test]
fn a_form_without_packets_is_answered_like_an_empty_body() {
    let world = World::on();
    let query = world.join("0");
    assert_eq!(world.post(&query, "").text(), "ok");
    assert!(world.ends().is_empty());
}

#[test]
fn a_form_counts_as_it_was_sent() {
    let world = World::new(Server::builder().jsonp(true).max_payload(100));
    let event = |length: usize| format!("42[%22a%22,%22{}%22]", "x".repeat(length));
    // "d=", and four escapes of three bytes.
    let most = 100 - "d=42[%22a%22,%22%22]".len();
    let query = world.join("0");
    assert_eq!(world.post(&query, &event(most)).text(), "ok");
    assert_eq!(world.get(&query).payload("0").len(), most + "42[\"echo\",\"\"]".len());
    assert_eq!(world.post(&query, &event(most + 1)).status, 413);
    assert_eq!(world.ends(), ["transport error"]);
}

#[test]
fn the_first_script_comes_with_the_cookie_and_the_headers_for_cors() {
    let builder = Server::builder().cookie(Cookie::new("io").unwrap()).cors(Cors::any());
    let world = World::new(builder.jsonp(true));
    let opened = world.send("GET", "&j=0", "Origin: https://a.example\r\n", "");
    assert!(opened.payload("0").starts_with("0{"));
    assert!(opened.header("Set-Cookie").unwrap().starts_with("io="));
    assert_eq!(opened.header("Access-Control-Allow-Origin"), Some("*"));
}

#[test]
fn a_check_of_origins_applies_to_scripts_and_forms() {
    let own = "Origin: http://here\r\n";
    let foreign = "Origin: https://b.example\r\n";
    let site = |site: &str| format!("Sec-Fetch-Site: {site}\r\n");
    let unchecked = World::on();
    assert_eq!(unchecked.send("GET", "&j=0", &site("cross-site"), "").status, 200);
    let cors = Cors::origins(["https://a.example"]).unwrap();
    let world = World::new(Server::builder().jsonp(true).check_origin(true).cors(cors));
    for (headers, status) in [
        (String::new(), 200),
        (site("same-origin"), 200),
        (site("none"), 200),
        (site("cross-site"), 403),
        (site("same-site"), 403),
        (own.to_owned(), 200),
        ("Origin: https://a.example\r\n".to_owned() + &site("cross-site"), 200),
        (foreign.to_owned(), 403),
    ] {
        assert_eq!(world.send("GET", "&j=0", &headers, "").status, status, "{headers}");
    }
    // Without a script or a form, CORS is enough.
    assert_eq!(world.send("GET", "", foreign, "").status, 200);
    let query = world.join("0");
    assert_eq!(world.send("POST", &query, own, "d=42[%22a%22]").text(), "ok");
    assert_eq!(world.send("POST", &query, foreign, "d=41").status, 403);
    assert!(world.ends().is_empty(), "the session is not the page's");
}

#[cfg(feature = "deflate")]
#[test]
fn scripts_and_forms_are_compressed_like_other_bodies() {
    use flate2::Compression;
    use flate2::read::GzDecoder;
    use flate2::write::GzEncoder;
    use sockeye::HttpCompression;
    use std::io::{Read, Write};

    let builder = Server::builder().http_compression(HttpCompression::new()).max_payload(20_000);
    let world = World::new(builder.jsonp(true));
    let query = world.join("3");
    let text = "<".repeat(5000);
    assert_eq!(world.post(&query, &format!("42[%22a%22,%22{text}%22]")).text(), "ok");
    let mut polled = world.send("GET", &query, "Accept-Encoding: gzip\r\n", "");
    assert_eq!(polled.header("Content-Encoding"), Some("gzip"));
    let mut inflated = Vec::new();
    GzDecoder::new(&*polled.body).read_to_end(&mut inflated).unwrap();
    polled.body = inflated;
    assert_eq!(polled.payload("3"), format!("42[\"echo\",\"{text}\"]"));

    // The limit is that of the form, inflated.
    for (length, status) in [(19_900, 200), (20_000, 413)] {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(format!("d=42[%22a%22,%22{}%22]", "x".repeat(length)).as_bytes()).unwrap();
        let body = encoder.finish().unwrap();
        let head = format!(
            "POST /socket.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: here\r\nContent-Encoding: gzip\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        world.pipe.send(&[head.as_bytes(), &body].concat());
        world.sim.run();
        let answer = String::from_utf8(world.pipe.receive()).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    assert_eq!(world.ends(), ["transport error"]);
}
