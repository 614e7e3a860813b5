//! Which environment variables of a build script must not reach the cargo that it runs.

/// What a user sets for cargo and cargo keeps to itself: where it lives, how it downloads, and the
/// job server, which keeps both cargos together within the number of jobs that was asked for.
const KEPT: [&str; 8] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_MAKEFLAGS",
    "CARGO_NET_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
    "CARGO_CACHE_",
];

/// What the outer build set for its own compilers: flags, wrappers, and the build script's facts.
const LEAKING: [&str; 15] = [
    "CARGO",
    "CLIPPY_",
    "DEBUG",
    "DEP_",
    "HOST",
    "LLVM_PROFILE_FILE",
    "NUM_JOBS",
    "OPT_LEVEL",
    "OUT_DIR",
    "PROFILE",
    "RUSTC_LINKER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "TARGET",
];

/// True for a variable that would change what comes out, or belongs to the outer build.
pub(crate) fn leaks(name: &str) -> bool {
    let begins = |known: &[&str]| known.iter().any(|k| is_or_begins(name, k));
    begins(&LEAKING) && !begins(&KEPT)
}

/// `CARGO` and the prefixes that end in `_` stand for families; the rest are whole names.
fn is_or_begins(name: &str, known: &str) -> bool {
    let family = known.ends_with('_') || known.starts_with("CARGO");
    name == known || (family && name.starts_with(known))
}

#[cfg(test)]
mod tests {
    use super::leaks;

    #[test]
    fn facts_of_the_outer_build_leak_and_the_users_settings_do_not() {
        for name in [
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_MANIFEST_DIR",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_FEATURE_STD",
            "CLIPPY_ARGS",
            "DEP_SQLITE3_INCLUDE",
            "OUT_DIR",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTFLAGS",
            "TARGET",
        ] {
            assert!(leaks(name), "{name}");
        }
        for name in [
            "CARGO_HOME",
            "CARGO_HTTP_PROXY",
            "CARGO_MAKEFLAGS",
            "CARGO_NET_OFFLINE",
            "CARGO_REGISTRIES_MINE_INDEX",
            "HOME",
            "HOSTNAME",
            "PATH",
            "RUSTC",
            "RUSTUP_TOOLCHAIN",
        ] {
            assert!(!leaks(name), "{name}");
        }
    }
}
