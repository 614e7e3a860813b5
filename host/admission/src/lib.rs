//! Places for what runs, shared fairly among tenants.
//!
//! Whatever a host runs for many tenants (calls of tools, runs of agents, slices of a core) takes
//! a [`Place`] from one [`Places`] first, and gives it back by dropping it. Who comes when all are
//! taken waits in line, and the line is fair: tenants take turns, and within a tenant the first
//! come is the first served. The line is bounded; who finds it full is [`Busy`], and told when to
//! come again.

mod bounds;
mod busy;
mod line;
mod places;

pub use bounds::{Bounds, Share};
pub use busy::{Busy, Full, RETRY_AFTER_MAX_MS, RETRY_AFTER_MIN_MS};
pub use places::{Load, Place, Places};
