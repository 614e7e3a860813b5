//! `wasi:keyvalue/store`: the state of a tool, as its guest sees it. It ends in the gate.
//!
//! Invariants:
//! * there is one bucket, and it has no name but `default` and none: a guest cannot ask for that of
//!   another tool or tenant, because there is nothing to ask with;
//! * what a guest passes in is bounded before the gate sees it, and so is what it may hold: a bucket
//!   is a handle like any other.
//!
//! What the state is, whose it is, and when a write counts is the gate's to say.

use stoplog_model::Reason;
use stoplog_model::state::{KEY_BYTES, StateGot, StateOp, StateRefused, VALUE_BYTES};
use wasmtime::component::Resource;

use crate::bindings::store;
use crate::host::Call;

/// The one bucket: there is nothing to know about it.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated code re-exports it")]
pub struct Bucket;

/// The names that the bucket goes by.
const NAMES: [&str; 2] = ["", "default"];

/// What an operation came to, or the error that the guest sees.
type Got = Result<StateGot, store::Error>;

fn refused(refused: StateRefused) -> store::Error {
    match refused {
        // The standard's word for it has no room for a reason; the call's log has it.
        StateRefused::Denied(_) => store::Error::AccessDenied,
        StateRefused::Limit(why) | StateRefused::Stopped(why) => store::Error::Other(why),
    }
}

fn other_than_asked() -> store::Error {
    store::Error::Other("the host answered something else than it was asked".to_owned())
}

/// A limit that needs no look at the state.
fn too_long(what: &str, bytes: usize, most: usize) -> Result<(), store::Error> {
    if bytes <= most {
        return Ok(());
    }
    let why = format!(
        "{}: a {what} of {bytes} bytes, at most {most}",
        Reason::StateLimit
    );
    Err(store::Error::Other(why))
}

impl Call {
    async fn keep(&mut self, key: Option<&str>, op: StateOp) -> Got {
        if let Some(key) = key {
            too_long("key", key.len(), KEY_BYTES)?;
        }
        let got = self.gate.state(op).await;
        got.map_err(|error| {
            if let StateRefused::Denied(why) = &error {
                self.log.line("stoplog", why);
            }
            refused(error)
        })
    }
}

impl store::Host for Call {
    fn open(
        &mut self,
        identifier: String,
    ) -> wasmtime::Result<Result<Resource<Bucket>, store::Error>> {
        if NAMES.contains(&identifier.as_str()) {
            return Ok(Ok(self.table.push(Bucket)?));
        }
        Ok(Err(store::Error::NoSuchStore))
    }
}

impl store::HostBucket for Call {
    async fn get(
        &mut self,
        _: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, store::Error>> {
        let got = self.keep(Some(&key), StateOp::Get(key.clone())).await;
        Ok(match got {
            Ok(StateGot::Value(value)) => Ok(value),
            Ok(_) => Err(other_than_asked()),
            Err(error) => Err(error),
        })
    }

    async fn set(
        &mut self,
        _: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), store::Error>> {
        if let Err(error) = too_long("value", value.len(), VALUE_BYTES) {
            return Ok(Err(error));
        }
        let got = self
            .keep(Some(&key), StateOp::Set(key.clone(), value))
            .await;
        Ok(got.map(|_| ()))
    }

    async fn delete(
        &mut self,
        _: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<(), store::Error>> {
        let got = self.keep(Some(&key), StateOp::Delete(key.clone())).await;
        Ok(got.map(|_| ()))
    }

    async fn exists(
        &mut self,
        _: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<bool, store::Error>> {
        let got = self.keep(Some(&key), StateOp::Exists(key.clone())).await;
        Ok(match got {
            Ok(StateGot::Exists(exists)) => Ok(exists),
            Ok(_) => Err(other_than_asked()),
            Err(error) => Err(error),
        })
    }

    async fn list_keys(
        &mut self,
        _: Resource<Bucket>,
        cursor: Option<u64>,
    ) -> wasmtime::Result<Result<store::KeyResponse, store::Error>> {
        let got = self.keep(None, StateOp::Keys(cursor.unwrap_or(0))).await;
        Ok(match got {
            Ok(StateGot::Keys(keys, cursor)) => Ok(store::KeyResponse { keys, cursor }),
            Ok(_) => Err(other_than_asked()),
            Err(error) => Err(error),
        })
    }

    fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}
