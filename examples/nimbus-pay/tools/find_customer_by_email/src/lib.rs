//! Who is writing? Class `read`: one GET, nothing changes.

use stoplog_sdk::prelude::*;

const CUSTOMERS: &str = "http://nimbus.internal/customers";

#[input]
struct CustomerQuery {
    /// Address that the customer writes from, or names.
    #[personal]
    email: String,
}

#[output]
struct Customer {
    /// Id of the customer, for the other tools.
    #[audit]
    #[identifier("customer_id")]
    customer_id: String,
    /// Full name.
    #[personal]
    name: String,
    /// Address on file: the only one that mails may go to.
    #[personal]
    email: String,
}

/// Finds a customer by email address. Use it first: the other tools need the customer's id.
#[tool(class = read, egress = ["http://nimbus.internal"])]
fn find_customer_by_email(input: CustomerQuery) -> Result<Customer, ToolError> {
    let response = http::get_with(CUSTOMERS, &[("email", &input.email)])?;
    if response.status == 404 {
        return Err(ToolError::not_found("no customer has this address")
            .hint("ask for the address that the order was made with"));
    }
    let found: Found = response.success()?.json()?;
    Ok(Customer {
        customer_id: found.customer_id,
        name: found.name,
        email: found.email,
    })
}

/// A customer as NimbusPay sends it. Fields that it may add later are ignored.
#[wire]
struct Found {
    customer_id: String,
    name: String,
    email: String,
}
