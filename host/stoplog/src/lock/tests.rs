use std::collections::BTreeMap;

use stoplog_egress::Grant;
use stoplog_model::contract::{Described, KeyRule};
use stoplog_model::key::KeyScope;

use super::*;

fn described() -> Described {
    let schema = |name: &str, shown: &str| {
        format!(
            r#"{{"type": "object", "required": ["{name}"],
                "properties": {{"{name}": {{"type": "string", "x-disclosure": "{shown}"}}}}}}"#
        )
    };
    Described {
        name: "pay".into(),
        version: "1.0.0".into(),
        description: "Pays.".into(),
        input_schema: schema("invoice", "audit"),
        output_schema: schema("email", "personal"),
        key: Some(KeyRule {
            template: "pay_{invoice}".into(),
            scope: KeyScope::Tenant,
        }),
        keeps_keys: true,
        settles_within_ms: 0,
        timeout_ms: 1000,
        egress: vec!["https://pay.example.com/v1/".into()],
        secrets: vec!["KEY".into()],
    }
}

fn contract_of(described: Described) -> Contract {
    Contract::check(described, Class::Irreversible).expect("a contract")
}

fn locked(contract: &Contract, bytes: &[u8], grants: &[&str]) -> Locked {
    let component = Inspection {
        digest: Digest::of(bytes),
        class: Class::Irreversible,
        floor: Class::Pure,
        imports: Vec::new(),
        other_exports: Vec::new(),
        size_bytes: bytes.len(),
    };
    let mut locked = Locked::new(&component, contract);
    locked.grants = grants.iter().map(|g| g.parse().expect("a grant")).collect();
    locked
}

fn lock_of(grants: &[&str]) -> Lock {
    let contract = contract_of(described());
    Lock {
        version: LOCK_VERSION,
        tools: vec![locked(&contract, b"one", grants)],
    }
}

#[test]
fn what_is_written_is_read_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("stoplog.lock");
    let lock = lock_of(&[
        "https://pay.example.com/v1/=GET,POST",
        "http://b.internal:8080",
    ]);
    lock.save(&path).expect("written");
    assert_eq!(Lock::load(&path), Ok(lock));
    let text = fs::read_to_string(&path).expect("text");
    for line in [
        "version = 2",
        "origin = \"https://pay.example.com\"",
        "path_prefix = \"/v1/\"",
        "origin = \"http://b.internal:8080\"",
        "personal = [\"output.email\"]",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn version_1_is_read_a_later_one_and_a_broken_grant_are_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("stoplog.lock");
    let digest = Digest::of(b"one");
    let text = format!(
        "version = 1\n\n[[tool]]\nname = \"pay\"\nversion = \"1.0.0\"\nclass = \"irreversible\"\n\
         component = \"{digest}\"\ncontract = \"{digest}\"\negress = []\nsecrets = []\n"
    );
    fs::write(&path, &text).expect("written");
    let lock = Lock::load(&path).expect("version 1");
    assert!(lock.tools[0].grants.is_empty() && lock.tools[0].disclosure.is_none());
    lock.save(&path).expect("written");
    assert_eq!(Lock::load(&path), Ok(lock));

    for (broken, named) in [
        (
            text.replace("version = 1\n", "version = 3\nnews = 1\n"),
            "version 3; this",
        ),
        (
            format!("{text}[[tool.grant]]\norigin = \"ftp://x\"\npath_prefix = \"/\"\n"),
            "`pay`",
        ),
        (
            format!(
                "{text}[[tool.grant]]\norigin = \"http://x\"\npath_prefix = \"/\"\n\
                 methods = [\"CONNECT\"]\n"
            ),
            "CONNECT",
        ),
    ] {
        fs::write(&path, broken).expect("written");
        let error = Lock::load(&path).expect_err(named);
        assert_eq!(error.reason, Some(Reason::LockInvalid));
        assert!(error.message.contains(named), "{error:?}");
    }
}

#[test]
fn a_grant_is_an_origin_with_a_path_and_methods() {
    let shown = |text: &str| text.parse::<Granted>().map(|g| g.to_string());
    assert_eq!(
        shown("HTTPS://Api.Example.com:443/v1/=get,POST"),
        Ok("https://api.example.com/v1/ (GET, POST)".into())
    );
    assert_eq!(shown("http://x:8080"), Ok("http://x:8080/".into()));
    for bad in [
        "x",
        "https://x=",
        "https://x=FETCH",
        "https://x/?a=GET",
        "https://u:p@x",
    ] {
        assert!(shown(bad).is_err(), "{bad}");
    }
    let granted: Vec<Granted> = vec!["https://x/v1/charges".parse().expect("a grant")];
    for (asked, expected) in [
        ("https://x/v1/", true),
        ("https://x/v1/charges/1", true),
        ("https://x", true),
        ("https://x/v2/", false),
        ("https://x/v1/chargesevil", false),
        ("http://x/v1/charges", false),
    ] {
        assert_eq!(covered(asked, &granted), expected, "{asked}");
    }
}

#[test]
fn the_lock_says_where_to_and_the_configuration_how() {
    let address = "127.0.0.1:8080".parse().expect("an address");
    let connect = |origin: &str| {
        let grant = Grant::parse(origin).expect("a grant");
        grant.with_connect(address).expect("http")
    };
    let said = BTreeMap::from([(
        "pay".to_owned(),
        vec![
            connect("http://far.internal/"),
            connect("http://other.internal/x/"),
        ],
    )]);
    let lock = lock_of(&["http://far.internal/v1/=POST"]);
    let all = reach(&lock, &said).expect("all can be granted");
    let lines: Vec<_> = all["pay"]
        .iter()
        .map(|g| (g.to_string(), g.methods.clone(), g.connect()))
        .collect();
    let post = Some(vec!["POST".to_owned()]);
    assert_eq!(
        lines,
        [
            ("http://far.internal/v1/".to_owned(), post, Some(address)),
            ("http://other.internal/x/".to_owned(), None, Some(address)),
        ]
    );
    // Without a grant in the lock the configuration's stand as they are.
    assert_eq!(reach(&lock_of(&[]), &said), Ok(said));
}

/// Changes a contract, and says what a person reads of it.
fn diff(change: impl FnOnce(&mut Described)) -> Vec<String> {
    let mut other = described();
    change(&mut other);
    let (a, b) = (contract_of(described()), contract_of(other));
    let (old, new) = (locked(&a, b"one", &[]), locked(&b, b"two", &[]));
    let side = |locked, contract| Side {
        locked,
        contract: Some(contract),
    };
    let digests = |line: &String| line.starts_with("component") || line.starts_with("contract");
    let mut lines = changes(&side(&old, &a), &side(&new, &b));
    lines.retain(|line| !digests(line));
    lines
}

#[test]
fn every_change_is_a_line() {
    assert_eq!(diff(|_| ()), Vec::<String>::new());
    let wider = diff(|d| {
        d.version = "2.0.0".into();
        d.egress = vec!["https://pay.example.com/".into()];
        d.secrets.push("OTHER".into());
    });
    assert_eq!(
        wider,
        [
            "version      1.0.0 -> 2.0.0",
            "asks for     + https://pay.example.com/",
            "asks for     - https://pay.example.com/v1/",
            "secrets      + OTHER",
        ]
    );
    let opened = diff(|d| d.output_schema = d.output_schema.replace("personal", "audit"));
    assert_eq!(
        opened,
        [
            "output       email changed",
            "shown        output.email: personal -> audit",
        ]
    );
    let renamed = diff(|d| {
        d.input_schema = d.input_schema.replace("invoice", "bill");
        d.key = Some(KeyRule {
            template: "pay_{bill}".into(),
            scope: KeyScope::Session,
        });
        d.keeps_keys = false;
        d.description = "Pays now.".into();
    });
    assert_eq!(
        renamed,
        [
            "key          pay_{invoice} (Tenant scope) -> pay_{bill} (Session scope)",
            "keeps keys   true -> false",
            "description  changed: the model reads another text",
            "input        + bill",
            "input        - invoice",
        ]
    );
}
