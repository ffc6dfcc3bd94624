//! A receiver of alerts, such as falcosidekick, that does as it is told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

/// What the receiver does with a request that it has read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    Status(u16),
    /// Nothing, and the connection stays open.
    Silence,
    /// The connection is closed.
    Close,
}

/// An alert, as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn name(&self) -> String {
        let name = self.json()["output_fields"]["ka.target.name"].clone();
        name.as_str().unwrap().to_owned()
    }

    pub(crate) fn is_marked(&self) -> bool {
        self.json()["output_fields"]["falco_psp.resent"] == true
    }
}

#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<AtomicUsize>,
    reply: Arc<dyn Fn(usize) -> Reply + Send + Sync>,
}

impl Receiver {
    /// One that answers the requests, counted from 0, with `reply`. It is not there yet.
    pub(crate) fn down(reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        // An address of its own: nobody else takes the port meanwhile.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let host = format!("127.77.{}.{number}:0", std::process::id() % 251);
        Self {
            address: TcpListener::bind(host).unwrap().local_addr().unwrap(),
            received: Arc::default(),
            connections: Arc::default(),
            reply: Arc::new(reply),
        }
    }

    pub(crate) fn start(reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        let receiver = Self::down(reply);
        receiver.up();
        receiver
    }

    pub(crate) fn up(&self) {
        let listener = TcpListener::bind(self.address).unwrap();
        let receiver = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                receiver.connections.fetch_add(1, Ordering::Relaxed);
                let receiver = receiver.clone();
                thread::spawn(move || receiver.serve(stream.unwrap()));
            }
        });
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(request) = read(&mut reader) {
            let number = {
                let mut received = self.received.lock().unwrap();
                received.push(request);
                received.len() - 1
            };
            match (self.reply)(number) {
                Reply::Status(status) => {
                    let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 2\r\n\r\nok");
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
                Reply::Silence => {}
                Reply::Close => return,
            }
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_lowercase();
    let length = lower.split("content-length: ").nth(1)?;
    let length = length.lines().next()?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Received {
        head,
        body: String::from_utf8(body).unwrap(),
    })
}
