//! Questions of people: one `SELECT` over the views, on a connection that cannot write.
//!
//! Four things see to it, each on its own: the file is opened for reading; `query_only` is on; an
//! authorizer lets through nothing but reading the views, plain functions and recursion; and nothing
//! can be attached. A statement that takes too long is interrupted, and what it sorts goes to
//! temporary files, so memory stays what the cache is.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, params_from_iter};
use stoplog_telemetry::{Answer, AnswerBounds, AskError, Cell, Statement};

use super::{BUSY_TIMEOUT_MS, error_at};

/// The views, in the order in which docs/questions.md has them.
pub const VIEW_NAMES: [&str; 9] = [
    "runs",
    "llm_calls",
    "tool_calls",
    "tool_calls_by_model",
    "retries",
    "approvals",
    "sessions",
    "costs",
    "all_spans",
];

/// What stands below the views, and is read through them alone.
const TABLES: [&str; 2] = ["spans", "bodies"];

/// What is nobody's business but the projection's, and is not even counted.
const INNER: [&str; 4] = ["meta", "sinks", "broken", "remade"];

/// Table-valued functions that take a value apart, and read nothing.
const TABLE_FUNCTIONS: [&str; 2] = ["json_each", "json_tree"];

/// Pages in memory of one question, KiB: 8 MiB. Each of SQLite's sorters takes as much again at most.
const CACHE_KIB: i64 = 8 * 1024;

/// Longest text that a statement may make, 16 MiB: `group_concat` over a million spans is an
/// accident, and fills the memory.
const MAX_VALUE_BYTES: i32 = 16 * 1024 * 1024;

/// Longest statement, 64 KiB.
const MAX_SQL_BYTES: i32 = 64 * 1024;

/// Steps of SQLite's machine between two looks at the clock: about a millisecond.
const STEPS_PER_LOOK: i32 = 20_000;

/// Asks a file.
pub(super) fn ask(
    path: &Path,
    statement: &Statement,
    bounds: AnswerBounds,
) -> Result<Answer, AskError> {
    let connection = connect(path, bounds.time).map_err(|e| error_at(path, &e))?;
    let told = |e: rusqlite::Error| explain(path, e, bounds.time);
    let mut prepared = connection.prepare(&statement.sql).map_err(told)?;
    if !prepared.readonly() {
        return Err(AskError::Refused("it would write".into()));
    }
    if prepared.column_count() == 0 {
        return Err(AskError::Wrong(
            "it asks for nothing: write a SELECT".into(),
        ));
    }
    let mut answer = Answer {
        columns: prepared.column_names().map(str::to_owned).collect(),
        ..Answer::default()
    };
    let mut bytes = 0;
    let mut rows = prepared
        .query(params_from_iter(statement.values.iter().map(bound)))
        .map_err(told)?;
    while let Some(row) = rows.next().map_err(told)? {
        if answer.rows.len() == bounds.rows {
            answer.is_cut = true;
            break;
        }
        let cells = (0..answer.columns.len())
            .map(|i| Ok(cell(row.get_ref(i)?)))
            .collect::<rusqlite::Result<Vec<Cell>>>()
            .map_err(told)?;
        bytes += cells.iter().map(size).sum::<usize>();
        if bytes > bounds.bytes {
            return Err(AskError::TooLarge(bounds.bytes));
        }
        answer.rows.push(cells);
    }
    Ok(answer)
}

fn connect(path: &Path, time: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut c = Connection::open_with_flags(path, flags)?;
    c.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))?;
    c.pragma_update(None, "query_only", "ON")?;
    c.pragma_update(None, "trusted_schema", "OFF")?;
    c.pragma_update(None, "cache_size", -CACHE_KIB)?;
    c.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)?;
    c.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, MAX_SQL_BYTES)?;
    c.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    let until = Instant::now() + time;
    c.progress_handler(STEPS_PER_LOOK, Some(move || Instant::now() >= until))?;
    // Last: from here on not even a pragma is let through.
    c.authorizer(Some(allowed))?;
    Ok(c)
}

fn allowed(context: AuthContext<'_>) -> Authorization {
    let is_view = |name: &str| VIEW_NAMES.contains(&name);
    let is_fine = match context.action {
        AuthAction::Select | AuthAction::Recursive => true,
        // Rows are counted without a look at them: of a view, of a table below it, or of what
        // the statement itself has named in `WITH`.
        AuthAction::Read {
            table_name,
            column_name: "",
        } => !INNER.contains(&table_name) && !table_name.starts_with("sqlite_"),
        AuthAction::Read { table_name, .. } => {
            is_view(table_name)
                || TABLE_FUNCTIONS.contains(&table_name)
                || (TABLES.contains(&table_name) && context.accessor.is_some_and(is_view))
        }
        AuthAction::Function { function_name } => function_name != "load_extension",
        _ => false,
    };
    match is_fine {
        true => Authorization::Allow,
        false => Authorization::Deny,
    }
}

fn bound(cell: &Cell) -> rusqlite::types::Value {
    use rusqlite::types::Value;
    match cell {
        Cell::Null => Value::Null,
        Cell::Whole(n) => Value::Integer(*n),
        Cell::Real(x) => Value::Real(*x),
        Cell::Text(text) => Value::Text(text.clone()),
    }
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(n) => Cell::Whole(n),
        ValueRef::Real(x) => Cell::Real(x),
        ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
        // The views have none; a cast makes one.
        ValueRef::Blob(bytes) => {
            Cell::Text(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
        }
    }
}

fn size(cell: &Cell) -> usize {
    std::mem::size_of::<Cell>() + cell.as_text().map_or(0, str::len)
}

/// What a failure means to who asked.
fn explain(path: &Path, error: rusqlite::Error, time: Duration) -> AskError {
    if matches!(error, rusqlite::Error::MultipleStatement) {
        return AskError::Wrong("it is more than one statement: ask one at a time".into());
    }
    let text = match &error {
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    };
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => AskError::TooLong(time),
        Some(ErrorCode::AuthorizationForStatementDenied) => AskError::Refused(format!(
            "{text}: a question reads the views {} and nothing else, and changes nothing",
            VIEW_NAMES.join(", ")
        )),
        Some(ErrorCode::TooBig) => AskError::Wrong(format!("{text}: one value is too large")),
        Some(ErrorCode::Unknown | ErrorCode::TypeMismatch | ErrorCode::ParameterOutOfRange) => {
            AskError::Wrong(text)
        }
        Some(_) => AskError::Traces(error_at(path, &error)),
        None => AskError::Wrong(text),
    }
}
