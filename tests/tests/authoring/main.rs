//! The way of an author: from nothing to a call, in every class; what is refused on the way; and
//! the guide, whose commands are run as they stand there.
//!
//! Projects are written and built as an author's are: by the command alone, from the registry's
//! packages, without a network and without this checkout.

mod desk;
mod far;
mod guide;
mod refusals;
mod templates;
