//! {{name}}: posts a message to a channel. Class `external`: it changes something at someone
//! else's, and people may have read it before anybody could take it back.
//!
//! Change the address, the input and the output. The key decides what counts as the same message:
//! here one about a ticket, of one kind, in one session.

use stoplog_sdk::prelude::*;

const MESSAGES: &str = "https://chat.example.com/v1/messages";

#[input]
struct Message {
    /// The channel.
    #[audit]
    #[identifier("channel_id")]
    channel: String,
    /// The ticket that it is about.
    #[audit]
    #[identifier("ticket_id")]
    ticket_id: String,
    /// What it tells.
    #[audit]
    kind: Kind,
    /// Plain text.
    #[personal]
    text: String,
}

/// What a message tells.
#[choice]
enum Kind {
    /// Somebody works on it.
    Started,
    /// Something is missing.
    Question,
    /// It is done.
    Done,
}

#[output]
struct Posted {
    /// Id of the message.
    #[audit]
    #[identifier("message_id")]
    message_id: String,
}

/// Posts a message about a ticket to a channel: one of each kind.
#[tool(
    class = external,
    key = "message_{ticket_id}_{kind}", scope = session,
    keeps_keys = true, settles_within_ms = 1_000, timeout_ms = 10_000,
    egress = ["https://chat.example.com/v1/messages"],
    secrets = ["CHAT_TOKEN"],
    probe = probe,
)]
fn {{name}}(input: Message, permit: Permit) -> Result<Posted, ToolError> {
    let request = Request::post(MESSAGES)
        .header("authorization", bearer())
        .json(&input);
    let posted: Sent = permit.perform(request)?.success()?.json()?;
    Ok(Posted {
        message_id: posted.id,
    })
}

/// Looks up what was posted under a key. It may look and not write.
fn probe(_: Message, key: &str) -> Result<Finding<Posted>, ToolError> {
    let request = Request::get(MESSAGES)
        .query(&[("idempotency_key", &key)])
        .header("authorization", bearer());
    let found: Listed = http::send(request)?.success()?.json()?;
    Ok(match found.data.as_slice() {
        [] => Finding::Absent,
        [one] => Finding::Once(Posted {
            message_id: one.id.clone(),
        }),
        several => Finding::Several(several.len() as u32),
    })
}

/// The host puts the value in on the way out: the tool never sees it.
fn bearer() -> String {
    format!("Bearer {}", http::secret("CHAT_TOKEN"))
}

#[wire]
struct Listed {
    data: Vec<Sent>,
}

#[wire]
struct Sent {
    id: String,
}
