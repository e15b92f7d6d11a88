//! The command line.

use lexopt::{Arg, Parser, ValueExt};
use serde_json::Value;
use sockeye::{Client, Transport};

const USAGE: &str = "\
usage: client_terminal [OPTIONS] URL    (the URL may name a namespace)

--transport polling|websocket    use only this transport
--auth JSON                      an object to send as auth
--namespace /NAME                connect to this namespace as well; may be repeated
--header 'NAME: VALUE'           add a header to every request; may be repeated
--query NAME=VALUE               add a parameter to the query; may be repeated
--path PATH                      the server's path (default: /socket.io)
--proxy URL                      use this proxy: http://USER:PASSWORD@HOST:PORT
--ca FILE                        trust the certificates in this PEM file (feature `tls`)
--json                           print a line of JSON for everything that happens
--once                           do not reconnect";

pub(crate) struct Options {
    url: String,
    transport: Option<Transport>,
    auth: Option<Value>,
    pub(crate) namespaces: Vec<String>,
    headers: Vec<(String, String)>,
    query: Vec<(String, String)>,
    path: Option<String>,
    proxy: Option<String>,
    ca: Option<String>,
    pub(crate) json: bool,
    once: bool,
}

impl Options {
    /// Reads the command line. Returns `None` after printing the help.
    pub(crate) fn from_args() -> Result<Option<Options>, lexopt::Error> {
        let mut options = Options {
            url: String::new(),
            transport: None,
            auth: None,
            namespaces: Vec::new(),
            headers: Vec::new(),
            query: Vec::new(),
            path: None,
            proxy: None,
            ca: None,
            json: false,
            once: false,
        };
        let mut args = Parser::from_env();
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Long("transport") => options.transport = Some(args.value()?.parse_with(transport)?),
                Arg::Long("auth") => options.auth = Some(args.value()?.parse()?),
                Arg::Long("namespace") => options.namespaces.push(args.value()?.parse_with(namespace)?),
                Arg::Long("header") => options.headers.push(args.value()?.parse_with(|it| pair(it, ':'))?),
                Arg::Long("query") => options.query.push(args.value()?.parse_with(|it| pair(it, '='))?),
                Arg::Long("path") => options.path = Some(args.value()?.string()?),
                Arg::Long("proxy") => options.proxy = Some(args.value()?.string()?),
                Arg::Long("ca") => options.ca = Some(args.value()?.string()?),
                Arg::Long("json") => options.json = true,
                Arg::Long("once") => options.once = true,
                Arg::Value(url) if options.url.is_empty() => options.url = url.string()?,
                Arg::Long("help") | Arg::Short('h') => {
                    println!("{USAGE}");
                    return Ok(None);
                }
                other => return Err(other.unexpected()),
            }
        }
        match options.url.is_empty() {
            true => Err("the URL is missing: see --help".into()),
            false => Ok(Some(options)),
        }
    }

    pub(crate) fn client(&self) -> Result<Client, Box<dyn std::error::Error>> {
        let mut builder = Client::builder(&self.url).reconnection(!self.once);
        if let Some(transport) = self.transport {
            builder = builder.transports([transport]);
        }
        if let Some(auth) = &self.auth {
            builder = builder.auth(auth);
        }
        if let Some(path) = &self.path {
            builder = builder.path(path);
        }
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(proxy);
        }
        for (name, value) in &self.headers {
            builder = builder.extra_header(name, value);
        }
        for (key, value) in &self.query {
            builder = builder.query(key, value);
        }
        if let Some(ca) = &self.ca {
            #[cfg(feature = "tls")]
            {
                builder = builder.tls(sockeye::ClientTls::from_pem(&std::fs::read(ca)?)?);
            }
            #[cfg(not(feature = "tls"))]
            return Err(format!("--ca {ca} needs the feature `tls`").into());
        }
        Ok(builder.build()?)
    }
}

fn transport(name: &str) -> Result<Transport, &'static str> {
    match name {
        "polling" => Ok(Transport::Polling),
        "websocket" => Ok(Transport::WebSocket),
        _ => Err("a transport is polling or websocket"),
    }
}

fn namespace(name: &str) -> Result<String, &'static str> {
    match name.starts_with('/') && !name.contains(',') {
        true => Ok(name.into()),
        false => Err("a namespace begins with a slash and has no comma"),
    }
}

fn pair(text: &str, between: char) -> Result<(String, String), String> {
    let (name, value) = text.split_once(between).ok_or_else(|| format!("{between:?} is missing"))?;
    Ok((name.trim().into(), value.trim().into()))
}
