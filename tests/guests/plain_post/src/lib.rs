//! A write tool that never heard of permits: its client speaks plain `wasi:http`.

use far::Act;
use stoplog_sdk::prelude::*;

#[output]
struct Answer {
    /// HTTP status.
    #[audit]
    status: u16,
}

/// Does an act with an HTTP client off the shelf.
#[tool(
    class = external,
    key = "act_{name}", scope = tenant,
    keeps_keys = true,
    egress = ["http://far.internal"],
    probe = probe,
)]
fn plain_post(input: Act, _permit: Permit) -> Result<Answer, ToolError> {
    match post(&input) {
        Ok(status) => Ok(Answer { status }),
        Err(error) => Err(ToolError::upstream(error.to_string()).aftermath(Aftermath::Unknown)),
    }
}

fn probe(_: Act, key: &str) -> Result<Finding<Answer>, ToolError> {
    Ok(match far::acts(key)?.len() {
        0 => Finding::Absent,
        1 => Finding::Once(Answer { status: 201 }),
        several => Finding::Several(several as u32),
    })
}

/// POST as any program for WASI would do it: nothing here knows of stoplog.
fn post(act: &Act) -> Result<u16, wstd::http::Error> {
    let body = json!({ "name": act.name }).to_string();
    let request = wstd::http::Request::post(far::ACTS)
        .header("content-type", "application/json")
        .body(body)?;
    let response = wstd::runtime::block_on(wstd::http::Client::new().send(request))?;
    Ok(response.status().as_u16())
}
