//! A receiver by https: delivered to if its certificate is from a CA that is trusted for its name,
//! and never otherwise.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::run::{Workplace, stderr};

/// A receiver with a certificate for these names, which is written to a file as well.
fn start(workplace: &Workplace, pem: &str, name: &str) -> (SocketAddr, Arc<AtomicUsize>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([name.to_owned()]).unwrap();
    fs::write(workplace.path(pem), cert.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let posts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&posts);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            let mut bytes = Vec::new();
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut part) {
                bytes.extend(&part[..length]);
                if bytes.ends_with(b"}") {
                    counted.fetch_add(1, Ordering::Relaxed);
                    bytes.clear();
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                    stream.write_all(answer).unwrap();
                }
            }
        }
    });
    (address, posts)
}

#[test]
fn only_a_receiver_that_is_verified_gets_alerts() {
    let workplace = Workplace::new(3);
    let (address, posts) = start(&workplace, "ca.pem", "127.0.0.1");
    let (_, _) = start(&workplace, "other.pem", "127.0.0.1");
    let (misnamed, misnamed_posts) = start(&workplace, "misnamed.pem", "another.example");

    let told = stderr(&workplace.run(&format!("--output https://{address}/ --output-ca ca.pem")));
    assert!(!told.contains("lost"), "{told}");
    assert_eq!(posts.load(Ordering::Relaxed), 3);

    for options in [
        format!("--output https://{address}/ --output-ca other.pem"),
        format!("--output https://{misnamed}/ --output-ca misnamed.pem"),
    ] {
        let told = stderr(&workplace.run(&options));
        assert!(told.contains("invalid peer certificate"), "{told}");
        assert!(told.contains("lost 3\n"), "{told}");
    }
    assert_eq!(posts.load(Ordering::Relaxed), 3);
    assert_eq!(misnamed_posts.load(Ordering::Relaxed), 0);
}
