//! Handlers that take the arguments of an event twice, which the compiler finds only when it makes code of them.

use sockeye::extract::{Args, Data, TryData};
use sockeye::{Client, ClientSocket, Server, Socket};

async fn say(_: Socket, Data(room): Data<String>, Data(text): Data<String>) {
    drop((room, text));
}

fn main() {
    let io = Server::new();
    io.on("once", async |_: Args, Data(text): Data<String>| text);
    io.on("function", say);
    io.on("closure", async |Data(room): Data<String>, TryData(text): TryData<String>| drop((room, text)));
    io.use_packet(async |Data(room): Data<String>, Data(text): Data<u8>| Ok(drop((room, text))));
    if let Ok(client) = Client::new("http://localhost:3000") {
        client.on("client", async |_: ClientSocket, Data(a): Data<u8>, Data(b): Data<u8>| drop((a, b)));
    }
}
