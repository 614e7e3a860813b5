//! Templates that come with the host: to be used as they are, or as a beginning.

/// A template of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its name: `tool new NAME --from ENTRY`.
    pub name: &'static str,
    /// The template.
    pub template: &'static str,
    /// Its cases: file names, and texts.
    pub cases: &'static [(&'static str, &'static str)],
}

macro_rules! entries {
    ($($name:literal: [$($case:literal),*],)*) => {
        /// All of them, in the order of names.
        pub const CATALOG: &[Entry] = &[$(Entry {
            name: $name,
            template: include_str!(concat!("../../catalog/", $name, ".toml")),
            cases: &[$((
                concat!($case, ".toml"),
                include_str!(concat!("../../catalog/cases/", $name, "/", $case, ".toml")),
            )),*],
        },)*];
    };
}

entries! {
    "http-get": ["found", "missing"],
    "http-post": ["item", "refused"],
    "issue-comment": ["no-secrets", "written"],
    "issue-create": ["opened"],
    "mail": ["sent"],
    "payment-charge": ["charged", "declined"],
    "payment-refund": ["refunded"],
    "webhook": ["paid"],
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_catalogue_is_in_it_and_makes_a_component() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../catalog");
        let files = fs::read_dir(folder).expect("folder").flatten();
        let mut names: Vec<String> = files
            .filter_map(|f| Some(f.file_name().to_str()?.strip_suffix(".toml")?.to_owned()))
            .collect();
        names.sort();
        let listed: Vec<&str> = CATALOG.iter().map(|e| e.name).collect();
        assert_eq!(names, listed);
        for entry in CATALOG {
            let made = crate::component(entry.template, None);
            let made = made.unwrap_or_else(|e| panic!("{}: {e}", entry.name));
            let again = crate::component(entry.template, None).expect("again");
            assert_eq!(made.component, again.component, "{}", entry.name);
            let renamed = crate::component(entry.template, Some("other")).expect("renamed");
            assert_ne!(made.component, renamed.component, "{}", entry.name);
            assert_eq!(made.component.len(), renamed.component.len());
        }
    }
}
