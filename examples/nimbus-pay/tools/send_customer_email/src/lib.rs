//! Writes to a customer. Class `external`: a mail cannot be called back, but it costs no money.
//!
//! The key is one of the session: in one conversation a customer gets one mail of a kind about an
//! order, however often the host or the model tries again; in the next conversation they may get
//! another.

use stoplog_sdk::prelude::*;

const MAILS: &str = "http://nimbus.internal/mails";

#[input]
struct MailInput {
    /// Address on file, from find_customer_by_email. No other.
    #[personal]
    to: String,
    /// The order that the mail is about.
    #[audit]
    #[identifier("order_id")]
    order_id: String,
    /// What the mail tells the customer.
    #[audit]
    kind: Kind,
    /// Subject line.
    #[personal]
    subject: String,
    /// Plain text.
    #[personal]
    body: String,
}

/// What the mail tells the customer.
#[choice]
enum Kind {
    /// The money is on its way.
    RefundDone,
    /// A person looks at the claim.
    UnderReview,
    /// There will be no refund, and why.
    RefundDeclined,
    /// Something is missing for an answer.
    Question,
}

#[output]
struct MailOutput {
    /// Id of the mail.
    #[audit]
    #[identifier("mail_id")]
    mail_id: String,
}

/// Sends one mail to a customer, about one order. Use it last, when it is clear what was done.
#[tool(
    class = external,
    key = "mail_{order_id}_{kind}", scope = session,
    keeps_keys = true, timeout_ms = 30_000,
    egress = ["http://nimbus.internal"],
    claims = ["(?:mail|e-mail)[^.]* (?:sent|in your inbox)", "(?:mailed|e-mailed) you"],
    probe = probe,
)]
fn send_customer_email(input: MailInput, permit: Permit) -> Result<MailOutput, ToolError> {
    let mail = NewMail {
        to: input.to,
        subject: input.subject,
        body: input.body,
    };
    let response = permit.perform(Request::post(MAILS).json(&mail))?;
    if response.status == 409 {
        // The first request under this key is still being done: it may go out yet.
        return Err(
            ToolError::transient("this mail is already being sent").aftermath(Aftermath::Unknown)
        );
    }
    let mail: Mail = response.success()?.json()?;
    Ok(MailOutput {
        mail_id: mail.mail_id,
    })
}

fn probe(_: MailInput, key: &str) -> Result<Finding<MailOutput>, ToolError> {
    let url = format!("{MAILS}/by-key/{}", http::encode(key));
    let found: Found = http::get(url)?.success()?.json()?;
    Ok(match found.mails.as_slice() {
        [] => Finding::Absent,
        [mail] => Finding::Once(MailOutput {
            mail_id: mail.mail_id.clone(),
        }),
        several => Finding::Several(several.len() as u32),
    })
}

#[wire]
struct NewMail {
    to: String,
    subject: String,
    body: String,
}

#[wire]
struct Found {
    mails: Vec<Mail>,
}

/// A mail as NimbusPay sends it. Fields that it may add later are ignored.
#[wire]
struct Mail {
    mail_id: String,
}
