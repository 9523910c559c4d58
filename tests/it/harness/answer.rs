//! How the scripted upstream sends an answer, or as much of it as it is told to.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::origin::Seen;
use super::pipes::Reset;
use super::reply::{Ending, Framing, Gate, Reply};

/// Waits until the other end is closed.
pub(super) async fn gone(pipe: &mut DuplexStream) {
    let mut scrap = [0; 64];
    while pipe.read(&mut scrap).await.is_ok_and(|count| count > 0) {}
}

/// Sends an answer; `None` if the connection ends with it.
pub(super) async fn answer(
    pipe: &mut DuplexStream,
    reply: Reply,
    seen: &Seen,
    reset: &Reset,
) -> Option<()> {
    tokio::time::sleep(reply.delay).await;
    wait(reply.gate.as_ref()).await;
    let has_body = seen.method != "HEAD" && !matches!(reply.status, 204 | 304);
    let mut head = format!("HTTP/1.1 {} {}\r\n", reply.status, reply.phrase);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match reply.framing {
        Framing::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
        Framing::Close => head.push_str("Connection: close\r\n"),
        Framing::Length if matches!(reply.status, 204 | 304) => {}
        Framing::Length => {
            let length = reply.told_length.unwrap_or(reply.body.len());
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
    }
    head.push_str("\r\n");
    pipe.write_all(head.as_bytes()).await.ok()?;
    if !has_body {
        return (reply.framing != Framing::Close).then_some(());
    }
    send_body(pipe, &reply, reset).await
}

async fn send_body(pipe: &mut DuplexStream, reply: &Reply, reset: &Reset) -> Option<()> {
    let sent = match reply.ending {
        Ending::BadChunk(at) | Ending::Cut(at) | Ending::Reset(at) | Ending::Stall(at) => {
            at.min(reply.body.len())
        }
        Ending::Surplus(_) | Ending::Whole => reply.body.len(),
    };
    let (size, pause) = reply.pace.unwrap_or((32 * 1024, std::time::Duration::ZERO));
    let mut at = 0;
    let mut gate = reply.body_gate.as_ref();
    while at < sent {
        let mut upto = (at + size).min(sent);
        if let Some((place, held)) = gate {
            if at >= *place {
                held.pass().await;
                gate = None;
            } else {
                upto = upto.min(*place);
            }
        }
        if reply.pace.is_some() {
            tokio::time::sleep(pause).await;
        }
        let piece = &reply.body[at..upto];
        if reply.framing == Framing::Chunked {
            let line = format!("{:x}\r\n", piece.len());
            pipe.write_all(line.as_bytes()).await.ok()?;
        }
        pipe.write_all(piece).await.ok()?;
        if reply.framing == Framing::Chunked {
            pipe.write_all(b"\r\n").await.ok()?;
        }
        at = upto;
    }
    wait(gate.map(|(_, held)| held)).await;
    match (reply.ending, reply.framing) {
        (Ending::BadChunk(_), _) => pipe.write_all(b"no size\r\n").await.ok(),
        (Ending::Cut(_), _) => None,
        (Ending::Reset(_), _) => {
            reset.set();
            None
        }
        (Ending::Stall(_), _) => {
            gone(pipe).await;
            None
        }
        (Ending::Surplus(bytes), _) => pipe.write_all(&vec![b'x'; bytes]).await.ok(),
        (Ending::Whole, Framing::Chunked) => pipe.write_all(b"0\r\n\r\n").await.ok(),
        (Ending::Whole, Framing::Close) => None,
        (Ending::Whole, Framing::Length) => Some(()),
    }
}

async fn wait(gate: Option<&Gate>) {
    if let Some(gate) = gate {
        gate.pass().await;
    }
}
