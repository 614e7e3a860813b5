//! What are the rules? Class `read`: one GET, nothing changes.

use stoplog_sdk::prelude::*;

#[input]
struct PolicyQuery {
    /// Which policy.
    #[audit]
    topic: Topic,
}

/// What the policy is about.
#[choice]
enum Topic {
    /// When money goes back, how much, and who must approve.
    Refunds,
    /// What may be written to customers, and to which address.
    Mails,
}

#[output]
struct Policy {
    /// The policy, in words that hold for everyone: no personal data.
    #[audit]
    text: String,
}

/// Retrieves a policy of NimbusPay. Read the one on refunds before you refund anything.
#[tool(class = read, egress = ["http://nimbus.internal"])]
fn retrieve_policy(input: PolicyQuery) -> Result<Policy, ToolError> {
    let url = format!("http://nimbus.internal/policies/{}", input.topic);
    let found: Found = http::get(url)?.success()?.json()?;
    Ok(Policy { text: found.text })
}

/// A policy as NimbusPay sends it. Fields that it may add later are ignored.
#[wire]
struct Found {
    text: String,
}
