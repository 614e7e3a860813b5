use serde_json::json;

use super::*;

fn described(key: Option<&str>) -> Described {
    let schema = json!({
        "type": "object",
        "required": ["order_id", "amount", "email"],
        "properties": {
            "order_id": {"type": "string", "x-disclosure": "audit"},
            "amount": {"type": "integer", "x-disclosure": "audit"},
            "note": {"type": "string", "x-disclosure": "audit"},
            "email": {"type": "string", "x-disclosure": "personal"},
        }
    });
    Described {
        name: "issue_refund".into(),
        version: "1.0.0".into(),
        description: "Pays back.".into(),
        input_schema: schema.to_string(),
        output_schema: json!({"type": "object", "properties": {}}).to_string(),
        key: key.map(|template| KeyRule {
            template: template.into(),
            scope: KeyScope::Tenant,
        }),
        keeps_keys: true,
        settles_within_ms: 0,
        timeout_ms: 1000,
        egress: vec![],
        secrets: vec![],
    }
}

fn check(key: Option<&str>, expected: Result<(), &str>) {
    let got = Contract::check(described(key), Class::Irreversible);
    match (got, expected) {
        (Ok(_), Ok(())) => {}
        (Err(e), Err(part)) => assert!(e.to_string().contains(part), "{e}"),
        (got, expected) => panic!("{key:?}: {got:?}, expected {expected:?}"),
    }
}

#[test]
fn the_key_rule_of_a_write_tool() {
    check(Some("refund_{order_id}_{amount}"), Ok(()));
    check(None, Err("needs a key rule"));
    check(Some("refund"), Err("names no field"));
    check(Some("refund_{order"), Err("leaves a brace open"));
    check(Some("refund_}"), Err("did not open"));
    check(Some("refund_{}"), Err("without a field name"));
    check(Some("refund_{nope}"), Err("no field `nope`"));
    check(Some("refund_{note}"), Err("must be a required field"));
    check(Some("refund {order_id}"), Err("only letters"));
    check(Some("refund.{order_id}"), Err("only letters"));
    check(Some("refund_{email}"), Err("not for audit"));
}

#[test]
fn a_field_without_disclosure_is_refused_by_name() {
    let mut d = described(Some("r_{order_id}"));
    d.input_schema = json!({
        "type": "object", "required": ["order_id"],
        "properties": {"order_id": {"type": "string"}}
    })
    .to_string();
    let error = Contract::check(d, Class::External).expect_err("undecided");
    assert_eq!(error.reason, Reason::ToolFieldUndecided);
    assert!(
        error.to_string().contains("/properties/order_id"),
        "{error}"
    );
}

#[test]
fn filled_keys_are_plain_and_bounded() {
    let contract = Contract::check(
        described(Some("refund_{order_id}_{amount}")),
        Class::External,
    )
    .expect("contract");
    let fill = |order: &str| contract.fill_key(&json!({"order_id": order, "amount": 5}));
    assert_eq!(fill("448100"), Ok(Some("refund_448100_5".into())));
    assert_eq!(fill("a\r\nb~"), Ok(Some("refund_a%0D%0Ab%7E_5".into())));
    assert!(fill(&"x".repeat(300)).is_err());
    assert!(
        contract
            .fill_key(&json!({"order_id": "1", "amount": 1.5}))
            .is_err()
    );
    assert!(contract.fill_key(&json!({"order_id": "1"})).is_err());
}

#[test]
fn wishes_are_few_and_readable() {
    let check = |egress: Vec<String>, secrets: Vec<String>| {
        let asks = Described {
            egress,
            secrets,
            ..described(Some("r_{order_id}"))
        };
        Contract::check(asks, Class::Irreversible)
            .map(|_| ())
            .map_err(|e| e.field)
    };
    let fine = || vec!["https://api.example.com/v1/".to_owned(); MAX_WISHES];
    assert_eq!(check(fine(), vec!["TOKEN".to_owned()]), Ok(()));
    let many = vec!["A".to_owned(); MAX_WISHES + 1];
    assert_eq!(check(many.clone(), vec![]), Err("egress".to_owned()));
    assert_eq!(check(vec![], many), Err("secrets".to_owned()));
    for bad in [
        "",
        "a b",
        "a\u{1b}[2J",
        "https://\u{430}pi.example.com/",
        &"x".repeat(513),
    ] {
        assert_eq!(
            check(vec![bad.to_owned()], vec![]),
            Err("egress".to_owned()),
            "{bad}"
        );
    }
}

#[test]
fn a_version_steers_no_terminal() {
    for (version, fits) in [
        ("1.2.3-rc.1+b", true),
        ("1.2.3-\u{1b}[2J", false),
        ("1.2.3 ", false),
    ] {
        let given = Described {
            version: version.to_owned(),
            ..described(Some("r_{order_id}"))
        };
        assert_eq!(
            Contract::check(given, Class::Irreversible).is_ok(),
            fits,
            "{version:?}"
        );
    }
}
