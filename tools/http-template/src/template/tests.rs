use super::*;

const GOOD: &str = r#"
name = "act"
class = "external"
description = "Acts."
key = { template = "act_{id}" }

[input]
id = { type = "string", show = "audit" }
note = { type = "string", show = "personal", optional = true }

[output]
act = { type = "string", show = "audit", identifier = "act", from = "{response.data.id}" }

[request]
method = "POST"
url = "https://api.example.com:8443/acts/{id}?a={note}"
headers = { authorization = "Bearer {{secret:TOKEN}}" }
body = { note = "{note}", ref = "{key}" }

[probe]
url = "https://search.example.com/acts"
query = { ref = "{key}" }
"#;

fn problem(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let error = parse(&GOOD.replace(from, to)).expect_err(to);
    error.to_string()
}

#[test]
fn origins_secrets_and_schemas_are_those_of_the_template() {
    let (class, wire) = parse(GOOD).expect("template");
    assert_eq!(class, Class::External);
    assert_eq!(
        wire.egress,
        ["https://api.example.com:8443", "https://search.example.com"]
    );
    assert_eq!(wire.secrets, ["TOKEN"]);
    assert_eq!(wire.input_schema["required"], serde_json::json!(["id"]));
    let act = &wire.output_schema["properties"]["act"];
    assert_eq!(act["x-disclosure"], "audit");
    assert_eq!(act["x-identifier"], "act");
    assert_eq!(act.get("from"), None);
    assert_eq!(wire.output["act"], "{response.data.id}");
}

#[test]
fn what_is_wrong_is_named() {
    for (from, to, said) in [
        (
            "{response.data.id}",
            "{respnse.id}",
            "output.act: there is no `{respnse.id}`",
        ),
        ("{response.data.id}", "{status}", "output.act"),
        (
            "\"{note}\", ref",
            "\"{nte}\", ref",
            "request: there is no `{nte}`",
        ),
        ("{{secret:TOKEN}}", "{{TOKEN}}", "{{secret:NAME}}"),
        (
            "https://api.example.com:8443/",
            "https://{id}.example.com/",
            "request.url",
        ),
        (
            "https://api.example.com:8443/",
            "https://u:p@a.com/",
            "request.url",
        ),
        ("\"POST\"", "\"post\"", "request.method"),
        (
            "\"external\"",
            "\"read\"",
            "key: a tool of class Read has none",
        ),
        (
            "\"external\"",
            "\"reversible\"",
            "undo: a tool of class Reversible owes it",
        ),
        (
            "show = \"personal\"",
            "show = \"all\"",
            "input.note: say who may see it",
        ),
        ("[probe]", "[prob]", "prob"),
    ] {
        let problem = problem(from, to);
        assert!(problem.contains(said), "{to}: {problem}");
    }
}
