//! The SQLite file: its tables and the data it starts with.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use rusqlite::Connection;

/// How long to wait for a lock. A backend that is started again may meet the last moments of the
/// one before it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// `at_ms` is the clock of SQLite, in milliseconds since 1970.
///
/// Refunds start at `rf_77`: SQLite goes on from the number in `sqlite_sequence`.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS customers (
        customer_id TEXT PRIMARY KEY,
        name        TEXT NOT NULL,
        email       TEXT NOT NULL UNIQUE COLLATE NOCASE
    ) STRICT;
    CREATE TABLE IF NOT EXISTS orders (
        order_id     TEXT PRIMARY KEY,
        customer_id  TEXT NOT NULL REFERENCES customers,
        item         TEXT NOT NULL,
        amount_inr   INTEGER NOT NULL,
        status       TEXT NOT NULL,
        promised_on  TEXT NOT NULL,
        delivered_on TEXT
    ) STRICT;
    CREATE TABLE IF NOT EXISTS policies (
        topic TEXT PRIMARY KEY,
        text  TEXT NOT NULL
    ) STRICT;

    CREATE TABLE IF NOT EXISTS refunds (
        id         INTEGER PRIMARY KEY AUTOINCREMENT,
        key        TEXT,
        order_id   TEXT NOT NULL REFERENCES orders,
        amount_inr INTEGER NOT NULL,
        reason     TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS refunds_by_key ON refunds (key);
    INSERT INTO sqlite_sequence (name, seq)
        SELECT 'refunds', 76
        WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'refunds');
    CREATE TABLE IF NOT EXISTS mails (
        id        INTEGER PRIMARY KEY AUTOINCREMENT,
        key       TEXT,
        recipient TEXT NOT NULL,
        subject   TEXT NOT NULL,
        body      TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS mails_by_key ON mails (key);
    CREATE TABLE IF NOT EXISTS acts (
        id     INTEGER PRIMARY KEY AUTOINCREMENT,
        key    TEXT,
        name   TEXT NOT NULL,
        undone INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX IF NOT EXISTS acts_by_key ON acts (key);

    -- What was answered under a key, and to which content.
    CREATE TABLE IF NOT EXISTS kept_answers (
        key     TEXT PRIMARY KEY,
        content TEXT NOT NULL,
        status  INTEGER NOT NULL,
        body    TEXT NOT NULL
    ) STRICT;

    CREATE TABLE IF NOT EXISTS requests (
        seq     INTEGER PRIMARY KEY AUTOINCREMENT,
        method  TEXT NOT NULL,
        path    TEXT NOT NULL,
        key     TEXT,
        tenant  TEXT,
        outcome TEXT NOT NULL,
        at_ms   INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
    ) STRICT;

    -- times_left is NULL for a fault that is played for ever.
    CREATE TABLE IF NOT EXISTS faults (
        id         INTEGER PRIMARY KEY AUTOINCREMENT,
        method     TEXT NOT NULL,
        path       TEXT NOT NULL,
        mode       TEXT NOT NULL,
        times_left INTEGER,
        delay_ms   INTEGER NOT NULL
    ) STRICT;
";

const CUSTOMERS: [(&str, &str, &str); 5] = [
    ("cust_1001", "Priya Raman", "priya@example.com"),
    ("cust_1002", "Suresh Iyer", "suresh@example.com"),
    ("cust_1003", "Anita Desai", "anita@example.com"),
    ("cust_1004", "Farhan Ali", "farhan@example.com"),
    ("cust_1005", "Priya Nair", "priya.nair@example.com"),
];

/// Order, customer, item, rupees, promised on, delivered on.
type OrderSeed = (
    &'static str,
    &'static str,
    &'static str,
    i64,
    &'static str,
    Option<&'static str>,
);

/// 448101 and 448210 are near twins of 448100 and 448200, and belong to somebody else.
const ORDERS: [OrderSeed; 6] = [
    (
        "448100",
        "cust_1001",
        "Headphones",
        6_400,
        "2026-03-04",
        Some("2026-03-09"),
    ),
    (
        "448200",
        "cust_1002",
        "Laptop",
        72_000,
        "2026-03-05",
        Some("2026-03-14"),
    ),
    (
        "448101",
        "cust_1003",
        "Headphones",
        6_400,
        "2026-03-04",
        Some("2026-03-03"),
    ),
    (
        "448110",
        "cust_1004",
        "Kettle",
        1_250,
        "2026-03-06",
        Some("2026-03-06"),
    ),
    (
        "441800",
        "cust_1004",
        "Desk lamp",
        2_300,
        "2026-02-10",
        Some("2026-02-12"),
    ),
    ("448210", "cust_1005", "Tablet", 31_500, "2026-03-20", None),
];

const POLICIES: [(&str, &str); 2] = [
    (
        "refunds",
        "An order that was delivered after its promised date is refunded in full when its \
         customer asks. The reason is then: delay. A refund is never more than the amount of the \
         order, and each order is refunded once. A refund above Rs 50,000 needs the approval of \
         the finance lead. After a refund the customer gets a mail that names the order, the \
         amount and the refund id.",
    ),
    (
        "mails",
        "Mails go only to the address on file. They name the order and no other customer, and \
         never hold card or bank numbers.",
    ),
];

/// Opens the SQLite file at `path`, and makes the file and its tables if they are not there.
///
/// A commit is on disk when it returns: write-ahead log, `synchronous = FULL`.
///
/// # Errors
///
/// The file cannot be opened or is no database of this backend.
pub fn open(path: &Path) -> anyhow::Result<Connection> {
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT;"))?;
        Ok(connection)
    };
    open().with_context(|| format!("opening the backend's database {}", path.display()))
}

/// Puts the customers, orders and policies of the example into the file. Rows that are already
/// there stay as they are.
///
/// # Errors
///
/// The file cannot be written.
pub fn seed(connection: &mut Connection) -> anyhow::Result<()> {
    let mut fill = || -> rusqlite::Result<()> {
        let tx = connection.transaction()?;
        for customer in CUSTOMERS {
            tx.execute("INSERT OR IGNORE INTO customers VALUES (?, ?, ?)", customer)?;
        }
        for (order_id, customer_id, item, amount_inr, promised_on, delivered_on) in ORDERS {
            let status = if delivered_on.is_some() {
                "delivered"
            } else {
                "in_transit"
            };
            tx.execute(
                "INSERT OR IGNORE INTO orders VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    order_id,
                    customer_id,
                    item,
                    amount_inr,
                    status,
                    promised_on,
                    delivered_on,
                ),
            )?;
        }
        for policy in POLICIES {
            tx.execute("INSERT OR IGNORE INTO policies VALUES (?, ?)", policy)?;
        }
        tx.commit()
    };
    fill().context("seeding the backend's database")
}
