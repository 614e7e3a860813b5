//! Where a request may go: every special address in every spelling, names that change their
//! minds, names that look like others, other ports and schemes.

use super::*;

/// One address of each special network, and of each kind that carries another inside.
const SPECIAL: [&str; 36] = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200", // metadata, Alibaba
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "169.254.169.254", // metadata: AWS, GCP, Azure, and most others
    "169.254.170.2",   // metadata, ECS
    "168.63.129.16",   // metadata, Azure's wire server
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192", // metadata, Oracle
    "192.0.2.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a00:1",
    "2001:db8::1",
    "2002:a00:1::1",
    "fd00:ec2::254", // metadata, AWS
    "fe80::1",
    "fec0::1",
    "ff02::1",
];

fn literal(address: &str) -> String {
    match address.contains(':') {
        true => format!("http://[{address}]/"),
        false => format!("http://{address}/"),
    }
}

/// Written in the URL, or found behind a name, alone or among public ones: refused, though the
/// origin is granted. Granted as private it is let out, and then nothing else is.
#[tokio::test]
async fn special_addresses_need_the_operators_word() {
    for address in SPECIAL {
        let direct = literal(address);
        let own = [grant(&direct)];
        assert_eq!(
            word(&egress(&[]), &get(&direct), &own).await,
            "address_private",
            "{address}"
        );
        let private = [grant(&direct).with_private()];
        assert_eq!(
            word(&egress(&[]), &get(&direct), &private).await,
            "ok",
            "{address}"
        );
        for other in ["http://10.9.9.9/", "http://127.0.0.1:1/", "http://[::1]:2/"] {
            let found = word(&egress(&[]), &get(other), &private).await;
            assert_eq!(found, "origin_not_granted", "{address} lets out {other}");
        }
        let url = "https://api.example.com/";
        for answer in [
            address.to_owned(),
            format!("93.184.216.34 {address}"),
            format!("{address} 2606:4700::1111"),
        ] {
            let found = word(&egress(&[&answer]), &get(url), &[grant(url)]).await;
            assert_eq!(found, "address_private", "{answer}");
        }
    }
}

/// Granted as private a name may be at home; but whoever controls it does not get the machine's own
/// rights from the metadata service.
#[tokio::test]
async fn a_name_granted_as_private_is_never_the_metadata_service() {
    let url = "http://nimbus.internal/";
    let private = [grant(url).with_private()];
    for (answer, expected) in [
        ("127.0.0.1", "ok"),
        ("10.0.0.1", "ok"),
        ("100.64.0.1", "ok"),
        ("fd12::1", "ok"),
        ("64:ff9b::808:808", "ok"),
        ("169.254.169.254", "address_private"),
        ("169.254.170.2", "address_private"),
        ("168.63.129.16", "address_private"),
        ("100.100.100.200", "address_private"),
        ("192.0.0.192", "address_private"),
        ("fd00:ec2::254", "address_private"),
        ("fe80::a9fe:a9fe", "address_private"),
        ("::ffff:169.254.169.254", "address_private"),
        ("64:ff9b::a9fe:a9fe", "address_private"),
        ("10.0.0.1 169.254.169.254", "address_private"),
    ] {
        let found = word(&egress(&[answer]), &get(url), &private).await;
        assert_eq!(found, expected, "{answer}");
    }
}

/// Spellings of 127.0.0.1 and of the metadata service. Whatever a parser makes of them, they are
/// not let out, and never taken for a name that a resolver is asked for.
#[tokio::test]
async fn no_spelling_of_an_address_is_a_name() {
    let resolver_says_public = egress(&["93.184.216.34"]);
    for host in [
        "2130706433",
        "017700000001",
        "0x7f000001",
        "0x7f.1",
        "0177.1",
        "127.1",
        "127.0.1",
        "0x7f.0.0.0x1",
        "0177.0.0.01",
        "127.0.0.1.",
        "0x7F000001.",
        "%31%32%37.0.0.1",
        "127%2e0%2e0%2e1",
        "１２７.０.０.１",
        "127。0。0。1",
        "①②⑦.0.0.1",
        "127.0.0.1\u{ad}",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[0000::0001]",
        "[::ffff:7f00:1]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
    ] {
        let url = format!("http://{host}/");
        // Nobody grants a host that no parser takes: then there is nothing to let out.
        let Ok(own) = Grant::parse(&url) else {
            continue;
        };
        let found = word(&resolver_says_public, &get(&url), &[own]).await;
        assert_eq!(found, "address_private", "{host}");
    }
    // What is neither an address nor a name is not let out as either.
    let granted = [grant("http://127.0.0.1/").with_private()];
    for host in [
        "256.0.0.1",
        "1.2.3.4.5",
        "0x100000000",
        "[::1%25lo]",
        "[v1.x]",
        "127.0.0.1:",
    ] {
        let url = format!("http://{host}:99999999/");
        let found = word(&resolver_says_public, &get(&url), &granted).await;
        assert_eq!(found, "url_invalid", "{host}");
    }
}

/// A name that was public when it was first asked for, and is the metadata service afterwards. The
/// address that was checked is the only one that is connected to; each request is checked anew.
#[tokio::test]
async fn a_name_that_changes_its_mind_is_checked_each_time() {
    let url = "https://rebind.example.com/";
    let changing = egress(&["93.184.216.34", "169.254.169.254", "93.184.216.34"]);
    let first = changing.vet(&get(url), &[grant(url)], &[]).await;
    let first = first.expect("public");
    assert_eq!(
        first.addresses,
        ["93.184.216.34:443".parse().expect("address")]
    );
    assert_eq!(
        word(&changing, &get(url), &[grant(url)]).await,
        "address_private"
    );
    assert_eq!(word(&changing, &get(url), &[grant(url)]).await, "ok");
    // What was checked does not follow the name.
    assert_eq!(first.addresses.len(), 1);
}

/// Names that a person takes for the granted one, and names that a parser takes for it.
#[tokio::test]
async fn a_twin_of_a_granted_name_is_another_name() {
    let public = egress(&["93.184.216.34"]);
    let granted = [grant("https://api.example.com/v1/")];
    for (url, expected) in [
        ("https://API.example.COM/v1/x", "ok"),
        ("https://\u{24d0}pi.example.com/v1/x", "ok"),
        ("https://api\u{ad}.example.com/v1/x", "ok"),
        ("https://api\u{3002}example\u{ff0e}com/v1/x", "ok"),
        // Cyrillic, Greek, Latin with dots below; and the same as the wire has it.
        ("https://\u{430}pi.example.com/v1/x", "origin_not_granted"),
        ("https://api.ex\u{430}mple.com/v1/x", "origin_not_granted"),
        ("https://\u{3b1}pi.example.com/v1/x", "origin_not_granted"),
        ("https://\u{1ea1}pi.example.com/v1/x", "origin_not_granted"),
        ("https://xn--pi-7kc.example.com/v1/x", "origin_not_granted"),
        ("https://api.example.com./v1/x", "origin_not_granted"),
        ("https://api.example.com../v1/x", "origin_not_granted"),
        ("https://api-example.com/v1/x", "origin_not_granted"),
        (
            "https://api.example.com.evil.example/v1/x",
            "origin_not_granted",
        ),
        (
            "https://evil.example/https://api.example.com/v1/x",
            "origin_not_granted",
        ),
        (
            "https://evil.example#@api.example.com/v1/x",
            "origin_not_granted",
        ),
        (
            "https://evil.example?@api.example.com/v1/x",
            "origin_not_granted",
        ),
        (
            "https://evil.example\\@api.example.com/v1/x",
            "origin_not_granted",
        ),
        (
            "https://api.example.com\\@evil.example/v1/x",
            "origin_not_granted",
        ),
        (
            "https://api.example.com:443@evil.example/v1/x",
            "url_invalid",
        ),
        (
            "https://api.example.com%00.evil.example/v1/x",
            "url_invalid",
        ),
        ("https://api.example.com%0d%0aHost:evil/v1/x", "url_invalid"),
        ("https://api.example.com /v1/x", "url_invalid"),
        ("https://api.example.com\t/v1/x", "url_invalid"),
    ] {
        let found = word(&public, &get(url), &granted).await;
        assert_eq!(found, expected, "{}", url.escape_debug());
    }
}

#[tokio::test]
async fn another_port_scheme_or_path_is_another_grant() {
    let public = egress(&["93.184.216.34"]);
    let granted = [grant("https://api.example.com/v1/")];
    for (url, expected) in [
        ("https://api.example.com:443/v1/", "ok"),
        ("https://api.example.com:8443/v1/", "origin_not_granted"),
        ("https://api.example.com:80/v1/", "origin_not_granted"),
        ("https://api.example.com:0/v1/", "origin_not_granted"),
        ("http://api.example.com/v1/", "origin_not_granted"),
        ("http://api.example.com:443/v1/", "origin_not_granted"),
        ("https://api.example.com:65536/v1/", "url_invalid"),
        ("wss://api.example.com/v1/", "url_invalid"),
        ("ftp://api.example.com/v1/", "url_invalid"),
        ("gopher://api.example.com/v1/", "url_invalid"),
        ("file:///etc/passwd", "url_invalid"),
        ("file://api.example.com/v1/", "url_invalid"),
        ("unix:/run/docker.sock", "url_invalid"),
        ("data:text/plain,x", "url_invalid"),
        ("javascript:alert(1)", "url_invalid"),
        ("blob:https://api.example.com/v1/", "url_invalid"),
        ("//api.example.com/v1/", "url_invalid"),
        ("https://api.example.com/", "origin_not_granted"),
        ("https://api.example.com/v1/..", "origin_not_granted"),
        ("https://api.example.com/v1/%2e%2e/x", "origin_not_granted"),
        ("https://api.example.com/v1/.%2e/x", "origin_not_granted"),
        ("https://api.example.com/v1/..%2fx", "origin_not_granted"),
        (
            "https://api.example.com/v1/%252e%252e/x",
            "origin_not_granted",
        ),
        ("https://api.example.com/v1/..;/x", "origin_not_granted"),
        (
            "https://api.example.com/v1/\\..\\..\\x",
            "origin_not_granted",
        ),
        ("https://api.example.com//v1/", "origin_not_granted"),
        ("https://api.example.com/V1/", "origin_not_granted"),
    ] {
        assert_eq!(word(&public, &get(url), &granted).await, expected, "{url}");
    }
}

/// Headers that a second server reads in another way than the first.
#[tokio::test]
async fn headers_that_two_servers_read_differently_do_not_leave() {
    let public = egress(&["93.184.216.34"]);
    let url = "https://api.example.com/";
    for (name, value, expected) in [
        ("x-plain", "y", "ok"),
        ("x_plain", "y", "ok"),
        ("host", "evil.example", "header_reserved"),
        ("Content-Length", "3", "header_reserved"),
        ("content_length", "3", "header_reserved"),
        ("Transfer_Encoding", "chunked", "header_reserved"),
        ("transfer-encoding", "chunked", "header_reserved"),
        ("idempotency_key", "mine", "header_reserved"),
        ("Idempotency-Key", "mine", "header_reserved"),
        ("X_HTTP_Method_Override", "DELETE", "header_reserved"),
        ("x-original-url", "/admin", "header_reserved"),
        ("X-Rewrite-URL", "/admin", "header_reserved"),
        ("x-forwarded-for", "127.0.0.1", "header_reserved"),
        ("X-Forwarded-Prefix", "/admin", "header_reserved"),
        ("proxy_authorization", "x", "header_reserved"),
        ("connection", "idempotency-key", "header_reserved"),
        ("content-length ", "3", "header_reserved"),
        (" content-length", "3", "header_reserved"),
        ("content-length:", "3", "header_reserved"),
        ("x-a\r\nx-b", "c", "header_reserved"),
        ("x-a", "b\r\n\r\nGET / HTTP/1.1", "header_reserved"),
        ("x-a", "b\nc", "header_reserved"),
        ("x-a", "b\0", "header_reserved"),
        ("", "c", "header_reserved"),
        ("x-ä", "c", "header_reserved"),
    ] {
        let mut request = get(url);
        request.headers = vec![(name.to_owned(), value.to_owned())];
        let found = word(&public, &request, &[grant(url)]).await;
        assert_eq!(
            found,
            expected,
            "{}: {}",
            name.escape_debug(),
            value.escape_debug()
        );
    }
    let mut many = get(url);
    many.headers = (0..10_000)
        .map(|i| (format!("x-{i}"), "y".to_owned()))
        .collect();
    assert_eq!(word(&public, &many, &[grant(url)]).await, "request_limit");
}
