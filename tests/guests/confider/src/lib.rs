//! Sends secrets in every place of a request, and spreads whatever comes back: into its output, its
//! errors, its log, its annotations, and its last words.

use far::Act;
use stoplog_sdk::prelude::*;

const ECHO: &str = "http://echo.internal";

#[output]
struct Heard {
    /// What the far side said.
    #[audit]
    text: String,
}

/// Confides in a far side, and in everybody else.
#[tool(
    class = external,
    key = "confide_{name}", scope = tenant,
    keeps_keys = true,
    egress = ["http://echo.internal"],
    secrets = ["TOKEN", "FILE_TOKEN"],
    probe = probe,
)]
fn confider(input: Act, permit: Permit) -> Result<Heard, ToolError> {
    let (token, other) = (http::secret("TOKEN"), http::secret("FILE_TOKEN"));
    let body = format!(r#"{{"token": "{token}", "other": "{other}"}}"#);
    let url = format!("{ECHO}/{}/{token}?other={other}", input.name);
    let request = Request::post(url)
        .header("authorization", format!("Bearer {token}"))
        .header("x-other", other)
        .body(body);
    let text = spread(&permit.perform(request)?);
    // The far side remembers, and says it once more when no secret is in the request.
    let text = text + &spread(&http::get(format!("{ECHO}/later"))?);
    match input.name.as_str() {
        "fail" => Err(ToolError::upstream(text.clone()).hint(text)),
        "trap" => panic!("{text}"),
        _ => Ok(Heard { text }),
    }
}

fn probe(_: Act, _: &str) -> Result<Finding<Heard>, ToolError> {
    let text = spread(&http::get(format!("{ECHO}/later"))?);
    Ok(Finding::Once(Heard { text }))
}

fn spread(response: &Response) -> String {
    let text = format!("{:?} {}", response.headers, response.text());
    println!("{text}");
    eprintln!("{text}");
    context::log(Level::Warn, &text);
    context::progress(1, None, &text);
    for part in text.as_bytes().chunks(512) {
        context::annotate("heard", String::from_utf8_lossy(part));
    }
    text
}
