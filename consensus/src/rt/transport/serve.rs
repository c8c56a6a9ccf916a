//! What has connections of its own: fetching, joining, renewing.

use std::sync::Arc;
use std::time::Duration;

use log_format::ids::HostId;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::Shared;
use super::connection::Ended;
use crate::rt::frame::{self, Extra, Frame};
use crate::rt::{bulk, join};

/// A peer that asks for nothing for so long needs no connection.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// Requests of peers are small.
const MAX_REQUEST: usize = 1 << 20;
/// A stranger's request must be there within so long.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// A response that is not taken within so long is not wanted.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// Answers a member's requests, one after the other.
pub(super) async fn fetches(shared: &Shared, mut stream: TlsStream<TcpStream>, host: HostId) -> Ended {
    let Some(source) = &shared.services.bulk else { return Ended::Channel };
    let Ok(_place) = Arc::clone(&shared.fetching).try_acquire_owned() else { return Ended::Busy };
    loop {
        let request = match timeout(IDLE_TIME, frame::read(&mut stream, MAX_REQUEST)).await {
            Err(_) => return Ended::Silent,
            Ok(Err(error)) => return Ended::Frame(error),
            Ok(Ok(Frame::Extra(Extra::BulkRequest(request)))) => request,
            Ok(Ok(_)) => return Ended::Channel,
        };
        let source = Arc::clone(source);
        let answer = tokio::task::spawn_blocking(move || bulk::answer(&*source, host, request));
        // A panic of the source has been reported by the panic hook.
        let Ok(answer) = answer.await else { return Ended::Channel };
        if let Err(ended) = write(&mut stream, &answer).await {
            return ended;
        }
    }
}

/// Hears one request of somebody without a certificate.
pub(super) async fn joiner(shared: &Shared, mut stream: TlsStream<TcpStream>) -> Ended {
    let Some(desk) = &shared.services.desk else { return Ended::Channel };
    let Ok(_place) = Arc::clone(&shared.joining).try_acquire_owned() else { return Ended::Busy };
    let request = match timeout(REQUEST_TIME, frame::read(&mut stream, join::MAX_REQUEST)).await {
        Err(_) => return Ended::Silent,
        Ok(Err(error)) => return Ended::Frame(error),
        Ok(Ok(Frame::Extra(Extra::Join(request)))) => request,
        Ok(Ok(_)) => return Ended::Channel,
    };
    let exporter = join::export(stream.get_ref().1);
    let Some(request) = exporter.and_then(|exporter| join::check_join(request, &exporter)) else {
        return Ended::NotOwnKey;
    };
    answer(&mut stream, desk.join(request)).await
}

/// Hears one request of a member whose certificate may have expired.
pub(super) async fn renewal(shared: &Shared, mut stream: TlsStream<TcpStream>, host: HostId) -> Ended {
    let Some(desk) = &shared.services.desk else { return Ended::Channel };
    let Ok(_place) = Arc::clone(&shared.renewing).try_acquire_owned() else { return Ended::Busy };
    let request = match timeout(REQUEST_TIME, frame::read(&mut stream, join::MAX_REQUEST)).await {
        Err(_) => return Ended::Silent,
        Ok(Err(error)) => return Ended::Frame(error),
        Ok(Ok(Frame::Extra(Extra::Renew(request)))) => request,
        Ok(Ok(_)) => return Ended::Channel,
    };
    let exporter = join::export(stream.get_ref().1);
    let Some(key) = exporter.and_then(|exporter| join::check_renewal(request, &exporter)) else {
        return Ended::NotOwnKey;
    };
    answer(&mut stream, desk.renew(host, key)).await
}

/// Tells somebody who was let go that it was, in answer to whatever it says first; nothing else is taken from it.
pub(super) async fn farewell(stream: &mut TlsStream<TcpStream>) -> Result<(), Ended> {
    // Heard out, so that closing does not throw away what is on its way to it.
    drop(frame::read(stream, join::MAX_REQUEST).await?);
    let bytes = frame::encode_let_go().ok_or(Ended::Channel)?;
    stream.write_all(&bytes).await.map_err(Ended::Write)?;
    stream.shutdown().await.map_err(Ended::Write)
}

async fn answer(stream: &mut TlsStream<TcpStream>, answer: join::Answer<'_>) -> Ended {
    let Ok(answer) = timeout(join::ANSWER_TIME, answer).await else { return Ended::Silent };
    match write(stream, &join::to_wire(answer)).await {
        Ok(()) => {
            // Whatever becomes of the goodbye, the answer is on its way.
            let _ = timeout(REQUEST_TIME, stream.shutdown()).await;
            Ended::Served
        }
        Err(ended) => ended,
    }
}

async fn write(stream: &mut TlsStream<TcpStream>, extra: &Extra) -> Result<(), Ended> {
    let bytes = frame::encode_extra(extra).ok_or(Ended::Channel)?;
    let written = async {
        stream.write_all(&bytes).await?;
        stream.flush().await
    };
    timeout(WRITE_TIME, written).await.map_err(|_| Ended::Stuck)?.map_err(Ended::Write)
}
