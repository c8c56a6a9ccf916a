//! Loads an etcd member over gRPC: so many clients, each of which puts again as soon as it has its answer.
//!
//!   etcd-load ADDRESS CLIENTS PUTS-A-REQUEST SECONDS CONNECTIONS
//!
//! One put a request is `KV/Put`; more are one `KV/Txn`. Clients have a connection each, or share fewer HTTP/2 connections, as
//! the goroutines of one etcd client do, which is cheaper for etcd. Prints one JSON object of the form that
//! `palisade bench log --config` prints.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use tokio::net::TcpStream;

/// Bytes of a value.
const VALUE: usize = 256;
/// Keys that each client puts in turn: as many as `palisade bench log` has addresses for each client.
const KEYS: usize = 256;
/// What goes before the measurement.
const WARM_UP: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
struct Load {
    clients: usize,
    puts: usize,
    connections: usize,
    started: Instant,
    ended: Instant,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, clients, puts, seconds, connections] = arguments.as_slice() else {
        bail!("give ADDRESS CLIENTS PUTS-A-REQUEST SECONDS CONNECTIONS");
    };
    let (address, span) = (address.parse()?, Duration::from_secs_f64(seconds.parse()?));
    let started = Instant::now() + WARM_UP;
    let (clients, puts, connections) = (clients.parse()?, puts.parse()?, connections.parse()?);
    let load = Load { clients, puts, connections, started, ended: started + span };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut times = runtime.block_on(run(address, load))?;
    times.sort_unstable();
    let permille = |permille: usize| {
        let rank = (times.len() * permille).div_ceil(1_000).saturating_sub(1);
        times.get(rank).copied().unwrap_or_default().as_secs_f64() * 1e6
    };
    println!(
        "{{\"bench\":\"log\",\"figure\":\"etcd-writes\",\"clients\":{},\"connections\":{},\"events_per_request\":{},\
         \"event_bytes\":{VALUE},\"requests\":{},\"per_second\":{:.0},\"p50_us\":{:.1},\"p99_us\":{:.1},\"max_us\":{:.1}}}",
        load.clients,
        load.connections,
        load.puts,
        times.len(),
        times.len() as f64 / span.as_secs_f64(),
        permille(500),
        permille(990),
        permille(1_000),
    );
    Ok(())
}

async fn run(address: SocketAddr, load: Load) -> anyhow::Result<Vec<Duration>> {
    let mut senders = Vec::new();
    for _ in 0..load.clients.min(load.connections) {
        let socket = TcpStream::connect(address).await.context("connect to etcd")?;
        socket.set_nodelay(true)?;
        let (sender, connection) = h2::client::handshake(socket).await?;
        tokio::spawn(connection);
        senders.push(sender);
    }
    let mut clients = Vec::new();
    for (number, sender) in (0..load.clients).zip(senders.iter().cycle()) {
        clients.push(tokio::spawn(put_on(sender.clone(), address, number, load)));
    }
    let mut times = Vec::new();
    for client in clients {
        times.extend(client.await??);
    }
    Ok(times)
}

async fn put_on(
    sender: SendRequest<Bytes>,
    address: SocketAddr,
    number: usize,
    load: Load,
) -> anyhow::Result<Vec<Duration>> {
    let method = if load.puts == 1 { "Put" } else { "Txn" };
    let uri = format!("http://{address}/etcdserverpb.KV/{method}");
    let mut sender = sender.ready().await?;
    let mut times = Vec::new();
    for turn in (0..KEYS).cycle() {
        let request = http::Request::post(&uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let message = message(number, turn, load.puts);
        let before = Instant::now();
        let (answer, mut stream) = sender.send_request(request, false)?;
        stream.send_data(message, true)?;
        check(answer.await?).await?;
        let after = Instant::now();
        if load.ended <= after {
            break;
        }
        if load.started <= after {
            times.push(after - before);
        }
        sender = sender.ready().await?;
    }
    Ok(times)
}

/// Reads an answer to its trailers, which say whether it went well.
async fn check(answer: http::Response<h2::RecvStream>) -> anyhow::Result<()> {
    let mut body = answer.into_body();
    while let Some(data) = body.data().await {
        let length = data?.len();
        body.flow_control().release_capacity(length)?;
    }
    let trailers = body.trailers().await?.context("an answer without trailers")?;
    ensure!(trailers.get("grpc-status").is_some_and(|status| status == "0"), "etcd refuses: {trailers:?}");
    Ok(())
}

/// A framed `PutRequest`, or a framed `TxnRequest` of as many puts.
fn message(client: usize, turn: usize, puts: usize) -> Bytes {
    let put = |number: usize| {
        let mut put = BytesMut::new();
        field(&mut put, 1, format!("bench/{client:04}/{:05}", turn * puts + number).as_bytes());
        field(&mut put, 2, &[b'v'; VALUE]);
        put
    };
    let mut body = BytesMut::new();
    if puts == 1 {
        body = put(0);
    } else {
        for number in 0..puts {
            let mut operation = BytesMut::new();
            field(&mut operation, 2, &put(number)); // RequestOp.request_put
            field(&mut body, 2, &operation); // TxnRequest.success
        }
    }
    let mut framed = BytesMut::with_capacity(5 + body.len());
    framed.put_u8(0); // Not compressed.
    framed.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    framed.put(body);
    framed.freeze()
}

/// A field of bytes, as protobuf writes it.
fn field(out: &mut BytesMut, number: u8, bytes: &[u8]) {
    out.put_u8(number << 3 | 2);
    let mut length = bytes.len();
    while 0x80 <= length {
        out.put_u8((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.put_u8(length as u8);
    out.put_slice(bytes);
}
