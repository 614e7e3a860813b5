//! The journal on a disk that loses power, fills up and fails: a real SQLite store on files whose
//! every write and sync is seen.
//!
//! * [`cuts`]: images of a recorded host at its crash points, opened again, and cut again;
//! * [`faults`]: each write and each sync fails once, or for good;
//! * [`files`]: a file that is made, or brought up to date, while the power goes;
//! * [`worlds`]: the worlds of the simulation, with the power going;
//! * [`work`] is what the host does, [`judge`] what must be true of whatever it leaves.

mod cuts;
mod faults;
mod files;
mod judge;
mod work;
mod worlds;
