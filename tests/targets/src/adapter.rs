//! A guest's request on its way through egress: checked, filled and carried. Method, URL and headers
//! are lines; behind an empty line stands the body.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use stoplog_egress::{
    Destination, Egress, Grant, Lost, Parcel, Resolve, Secrets, Settings, Transport,
    private_network,
};
use stoplog_model::{Request, Response};

const SECRET: &str = "s3cret/\"value";
const PUBLIC: &str = "93.184.216.34";
const ORIGIN: &str = "https://api.example.com/v1/";

/// Every name is at one public address.
struct Public;

#[async_trait::async_trait]
impl Resolve for Public {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Ok(PUBLIC.parse().into_iter().collect())
    }
}

/// Looks at what would leave, and gives all of it back.
struct Mirror;

#[async_trait::async_trait]
impl Transport for Mirror {
    async fn carry(&self, parcel: Parcel) -> Result<Response, Lost> {
        let url = parcel.url();
        assert_eq!(url.scheme(), "https", "{url}");
        assert_eq!(url.host_str(), Some("api.example.com"), "{url}");
        assert_eq!(url.port_or_known_default(), Some(443), "{url}");
        assert!(
            url.path() == "/v1" || url.path().starts_with("/v1/"),
            "{url}"
        );
        assert!(
            url.username().is_empty() && url.password().is_none(),
            "{url}"
        );
        match parcel.to() {
            Destination::Address(address) => {
                assert_eq!(private_network(address.ip()), None, "{address}");
                assert_eq!(address.port(), 443);
            }
            Destination::Name => panic!("a guest's request went to a name"),
        }
        for reserved in [
            "host",
            "idempotency-key",
            "content-length",
            "transfer-encoding",
        ] {
            assert_eq!(parcel.header(reserved), None, "{reserved} is the host's");
        }
        let mut body = parcel.body().to_vec();
        body.extend_from_slice(url.as_str().as_bytes());
        let echo = parcel.header("authorization").unwrap_or_default();
        Ok(Response {
            status: 200,
            headers: vec![("x-echo".to_owned(), echo.to_owned())],
            body,
        })
    }
}

fn egress() -> Option<Egress> {
    let mut secrets = Secrets::new();
    secrets.bind("TOKEN", SECRET).ok()?;
    let settings = Settings {
        secrets,
        resolver: Arc::new(Public),
        ..Settings::default()
    };
    Some(Egress::with_transport(settings, Arc::new(Mirror)))
}

fn request(text: &str) -> Request {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let mut next = || lines.next().unwrap_or_default().to_owned();
    let (method, url) = (next(), next());
    let header = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_owned(), value.to_owned()))
    };
    Request {
        method,
        url,
        headers: lines.filter_map(header).collect(),
        body: body.as_bytes().to_vec(),
    }
}

/// Whatever leaves goes to the granted origin at a public address, and no secret comes back.
pub fn http_adapter(bytes: &[u8]) {
    let request = request(&String::from_utf8_lossy(bytes));
    let _ = Grant::parse(&request.url);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let (Some(egress), Ok(runtime), Ok(grant)) = (egress(), runtime, Grant::parse(ORIGIN)) else {
        panic!("the target itself does not start");
    };
    let allowed = ["TOKEN".to_owned()];
    runtime.block_on(async {
        let Ok(vetted) = egress.vet(&request, &[grant], &allowed).await else {
            return;
        };
        // Only a safe request leaves without an intent, and an intent is the journal's.
        let Ok(safe) = vetted.into_safe() else {
            return;
        };
        let Ok(answer) = egress.read(safe, Duration::from_secs(5), &[]).await else {
            return;
        };
        let text = format!(
            "{:?} {}",
            answer.headers,
            String::from_utf8_lossy(&answer.body)
        );
        for form in ["s3cret/\"value", "s3cret%2F%22value", "s3cret\\/\\\"value"] {
            assert!(!text.contains(form), "{text}");
        }
    });
}
