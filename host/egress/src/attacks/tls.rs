//! Certificates: of another name, of nobody that is trusted, no longer good. The handshake fails
//! before the request, so nothing was sent, and the far side has read nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use stoplog_model::EffectError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::clients::Clients;

struct Certified {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// A certificate for these names, signed by itself; one that is over was good in 2001 alone.
fn certified(names: &[&str], is_over: bool) -> Certified {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    if is_over {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2001, 12, 31);
    }
    let key = KeyPair::generate().expect("key");
    let certificate = params.self_signed(&key).expect("certificate");
    Certified {
        certificate: certificate.der().clone(),
        key: PrivateKeyDer::try_from(key.serialize_der()).expect("key"),
    }
}

/// Serves over TLS with this certificate, and counts the requests that it could read.
async fn serve(own: &Certified) -> (SocketAddr, Arc<AtomicUsize>) {
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![own.certificate.clone()], own.key.clone_key())
        .expect("server");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    let read = Arc::new(AtomicUsize::new(0));
    let count = read.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut bytes = [0; 1024];
            if stream.read(&mut bytes).await.is_ok_and(|n| n > 0) {
                count.fetch_add(1, Ordering::SeqCst);
                let text = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
                let _ = stream.write_all(text).await;
            }
        }
    });
    (address, read)
}

async fn read_over_tls(
    served: &Certified,
    trusted: Option<&Certified>,
    name: &str,
) -> (Result<Vec<u8>, EffectError>, usize) {
    let (address, read) = serve(served).await;
    let mut roots = RootCertStore::empty();
    if let Some(trusted) = trusted {
        roots.add(trusted.certificate.clone()).expect("root");
    }
    let clients = Clients::trusting(Duration::from_secs(2), roots).expect("clients");
    let settings = Settings {
        resolver: Told::new(&["127.0.0.1"]),
        ..Settings::default()
    };
    let egress = Egress::with_transport(settings, Arc::new(clients));
    let url = format!("https://{name}:{}/", address.port());
    let granted = [grant(&url).with_private()];
    let vetted = egress.vet(&get(&url), &granted, &[]).await.expect("vetted");
    let safe = vetted.into_safe().expect("safe");
    let got = egress.read(safe, Duration::from_secs(10), &[]).await;
    (
        got.map(|response| response.body),
        read.load(Ordering::SeqCst),
    )
}

#[tokio::test]
async fn only_the_right_name_from_someone_trusted_gets_the_request() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let right = certified(&["api.example.com"], false);
    let (got, read) = read_over_tls(&right, Some(&right), "api.example.com").await;
    assert_eq!((got, read), (Ok(b"hi".to_vec()), 1), "the control");

    let wrong = certified(&["other.example.com", "example.com", "127.0.0.1"], false);
    let over = certified(&["api.example.com"], true);
    let wild = certified(&["*.com", "*.example.com.evil.example"], false);
    for (what, served, trusted, says) in [
        ("another name", &wrong, Some(&wrong), "not valid for name"),
        ("a wide wildcard", &wild, Some(&wild), "not valid for name"),
        ("nobody trusted", &right, None, "UnknownIssuer"),
        ("someone else trusted", &right, Some(&wrong), "certificate"),
        ("over", &over, Some(&over), "expired"),
    ] {
        let (got, read) = read_over_tls(served, trusted, "api.example.com").await;
        match got {
            Err(EffectError::NotSent(why)) => {
                assert!(why.contains(says), "{what}: {why}");
            }
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(read, 0, "{what}: the far side has read something");
    }
}
