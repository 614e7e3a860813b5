//! Speed of the host, each number beside a floor from the same run.

fn main() {}
