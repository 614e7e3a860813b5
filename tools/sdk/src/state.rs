//! What a tool keeps between its calls: values under keys, for each tenant apart. From class 1 up.
//!
//! A call sees what earlier calls have left, and what it has written itself. What it writes, others
//! see once it has returned its output and that is recorded; if it fails, or is stopped, nothing of
//! it stays. [`probe`](macro@crate::tool) and `preview` only look; `undo` may write.
//!
//! After a crash the host runs a write tool again, and then it sees what it saw the first time. Two
//! calls at the same time do not see each other: of two values under one key, that of the call which
//! is recorded later stands. So keep what can be lost or made again, such as a cache, a cursor, a
//! token's expiry. What must not be lost belongs to the far side, under the call's key.
//!
//! Using this module makes the component import `wasi:keyvalue/store`, which `stoplog tool add`
//! shows and the lock names. Keys have at most 256 bytes, values 64 KiB; a tool keeps at most 1,000
//! keys and 1 MiB for a tenant, and one call writes at most 100 keys and 256 KiB.
//!
//! Outside a component, in the unit tests of a tool, the state is that of the thread, empty at first
//! and without those limits.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::ToolError;

/// Why there is no answer. `?` turns it into a [`ToolError`] of kind `internal`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// The host does not let the tool keep state, or not here: `probe` and `preview` only look.
    Denied,
    /// The host refuses: too much, or the call is stopped. The text begins with a reason code.
    Refused(String),
    /// What is kept under the key is not a value of the type that was asked for.
    Unreadable(String),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied => f.write_str("the host does not let this tool keep state here"),
            Self::Refused(why) => write!(f, "the host refused: {why}"),
            Self::Unreadable(why) => write!(f, "what is kept cannot be read: {why}"),
        }
    }
}

impl std::error::Error for StateError {}

impl From<StateError> for ToolError {
    fn from(error: StateError) -> Self {
        Self::internal(error.to_string())
    }
}

/// The value under a key, as it was given to [`set`]; none if there is no such key.
///
/// # Errors
///
/// [`StateError`]; [`StateError::Unreadable`] if an earlier version of the tool kept something else
/// under the key.
pub fn get<T: DeserializeOwned>(key: &str) -> Result<Option<T>, StateError> {
    let Some(bytes) = get_bytes(key)? else {
        return Ok(None);
    };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(e) => Err(StateError::Unreadable(format!("`{key}`: {e}"))),
    }
}

/// Keeps a value under a key, as JSON, in the place of what was there.
///
/// # Errors
///
/// [`StateError`].
pub fn set<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<(), StateError> {
    let bytes = serde_json::to_vec(value)
        .map_err(|e| StateError::Refused(format!("`{key}` is no JSON value: {e}")))?;
    set_bytes(key, &bytes)
}

/// The bytes under a key.
///
/// # Errors
///
/// [`StateError`].
pub fn get_bytes(key: &str) -> Result<Option<Vec<u8>>, StateError> {
    edge::get(key)
}

/// Keeps bytes under a key.
///
/// # Errors
///
/// [`StateError`].
pub fn set_bytes(key: &str, value: &[u8]) -> Result<(), StateError> {
    edge::set(key, value)
}

/// Takes a key away, if there is one.
///
/// # Errors
///
/// [`StateError`].
pub fn delete(key: &str) -> Result<(), StateError> {
    edge::delete(key)
}

/// All keys.
///
/// # Errors
///
/// [`StateError`].
pub fn keys() -> Result<Vec<String>, StateError> {
    edge::keys()
}

#[cfg(target_family = "wasm")]
mod edge {
    use super::StateError;
    use crate::bindings::keyvalue::{Bucket, Error, open};

    impl From<Error> for StateError {
        fn from(error: Error) -> Self {
            match error {
                Error::AccessDenied => Self::Denied,
                Error::NoSuchStore => Self::Refused("there is no such bucket".to_owned()),
                Error::Other(why) => Self::Refused(why),
            }
        }
    }

    fn bucket() -> Result<Bucket, StateError> {
        Ok(open("default")?)
    }

    pub(super) fn get(key: &str) -> Result<Option<Vec<u8>>, StateError> {
        Ok(bucket()?.get(key)?)
    }

    pub(super) fn set(key: &str, value: &[u8]) -> Result<(), StateError> {
        Ok(bucket()?.set(key, value)?)
    }

    pub(super) fn delete(key: &str) -> Result<(), StateError> {
        Ok(bucket()?.delete(key)?)
    }

    pub(super) fn keys() -> Result<Vec<String>, StateError> {
        let bucket = bucket()?;
        let mut page = bucket.list_keys(None)?;
        let mut keys = page.keys;
        while let Some(cursor) = page.cursor {
            page = bucket.list_keys(Some(cursor))?;
            keys.append(&mut page.keys);
        }
        Ok(keys)
    }
}

#[cfg(not(target_family = "wasm"))]
mod edge {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::StateError;

    thread_local! {
        static STATE: RefCell<BTreeMap<String, Vec<u8>>> = RefCell::default();
    }

    pub(super) fn get(key: &str) -> Result<Option<Vec<u8>>, StateError> {
        Ok(STATE.with_borrow(|state| state.get(key).cloned()))
    }

    pub(super) fn set(key: &str, value: &[u8]) -> Result<(), StateError> {
        STATE.with_borrow_mut(|state| state.insert(key.to_owned(), value.to_vec()));
        Ok(())
    }

    pub(super) fn delete(key: &str) -> Result<(), StateError> {
        STATE.with_borrow_mut(|state| state.remove(key));
        Ok(())
    }

    pub(super) fn keys() -> Result<Vec<String>, StateError> {
        Ok(STATE.with_borrow(|state| state.keys().cloned().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_and_another_type_is_an_error() {
        assert_eq!(get::<u32>("n"), Ok(None));
        set("n", &7).expect("kept");
        set_bytes("raw", b"\xff").expect("kept");
        assert_eq!(get("n"), Ok(Some(7)));
        assert_eq!(keys(), Ok(vec!["n".to_owned(), "raw".to_owned()]));
        let error = get::<u32>("raw").expect_err("no JSON");
        assert!(error.to_string().contains("`raw`"), "{error}");
        delete("n").expect("gone");
        delete("n").expect("twice is once");
        assert_eq!(get::<u32>("n"), Ok(None));
    }
}
