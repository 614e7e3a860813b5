//! What a tool may reach: the lock says where to, the configuration may say how.
//!
//! Invariants:
//! * Where the lock grants an origin, path and methods are the lock's. A `[[grant]]` of the
//!   configuration for the same origin then adds only how it is reached: `connect`,
//!   `allow_private`. It never widens what a person accepted.
//! * Where the lock grants nothing at an origin, the configuration's grant stands alone: an
//!   operator may keep all grants there.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use stoplog_egress::Grant;

use super::Lock;

/// Methods that can be granted by name; CONNECT and TRACE are never let out.
const METHODS: [&str; 7] = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];

/// One origin that a tool may reach, as the lock has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Granted {
    /// Scheme, host and port, the port left out where it is the scheme's.
    pub(crate) origin: String,
    /// Covers whole segments.
    pub(crate) path_prefix: String,
    /// None: all that the tool's class may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) methods: Vec<String>,
}

impl Granted {
    /// The same for the gate.
    pub(crate) fn grant(&self) -> Result<Grant, String> {
        let text = format!("{}{}", self.origin, self.path_prefix);
        let grant = Grant::parse(&text).map_err(|e| e.to_string())?;
        if let Some(unknown) = self.methods.iter().find(|m| !is_method(m)) {
            return Err(format!(
                "`{unknown}` is not a method that can be granted; use {}",
                METHODS.join(", ")
            ));
        }
        Ok(match self.methods.is_empty() {
            true => grant,
            false => grant.with_methods(&self.methods),
        })
    }

    /// Whether both are for one place.
    pub(crate) fn is_at(&self, other: &Granted) -> bool {
        (&self.origin, &self.path_prefix) == (&other.origin, &other.path_prefix)
    }

    /// Whether it lets out all that is asked for here, or lies within it.
    fn answers(&self, asked: &Granted) -> bool {
        let within = |narrow: &str, wide: &str| {
            let wide = wide.trim_end_matches('/');
            let rest = narrow.strip_prefix(wide);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.origin == asked.origin
            && (within(&self.path_prefix, &asked.path_prefix)
                || within(&asked.path_prefix, &self.path_prefix))
    }
}

fn is_method(text: &str) -> bool {
    METHODS.contains(&text)
}

/// Reads `https://api.example.com/v1/=GET,POST`.
impl FromStr for Granted {
    type Err = String;

    fn from_str(text: &str) -> Result<Granted, String> {
        let methods_of = |list: &str| -> Option<Vec<String>> {
            let upper = list.split(',').map(|m| m.trim().to_ascii_uppercase());
            let methods: Vec<String> = upper.collect();
            methods.iter().all(|m| is_method(m)).then_some(methods)
        };
        let (place, methods) = match text.rsplit_once('=') {
            None => (text, Vec::new()),
            Some((place, list)) => match methods_of(list) {
                Some(methods) => (place, methods),
                None => {
                    return Err(format!(
                        "`{list}` is not a list of methods; use {}",
                        METHODS.join(",")
                    ));
                }
            },
        };
        let grant = Grant::parse(place).map_err(|e| e.to_string())?;
        Ok(Granted {
            origin: grant.origin.to_string(),
            path_prefix: grant.path_prefix,
            methods,
        })
    }
}

impl fmt::Display for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path_prefix)?;
        if !self.methods.is_empty() {
            write!(f, " ({})", self.methods.join(", "))?;
        }
        Ok(())
    }
}

/// Whether something that is granted answers a wish: all of it, or a part.
pub(crate) fn covered(asked: &str, granted: &[Granted]) -> bool {
    asked
        .parse::<Granted>()
        .is_ok_and(|asked| granted.iter().any(|g| g.answers(&asked)))
}

/// What each tool may reach, from the lock and the configuration.
pub(crate) fn reach(
    lock: &Lock,
    configured: &BTreeMap<String, Vec<Grant>>,
) -> Result<BTreeMap<String, Vec<Grant>>, String> {
    let mut all = configured.clone();
    for tool in lock.tools.iter().filter(|t| !t.grants.is_empty()) {
        let said = configured.get(&tool.name).map_or(&[][..], Vec::as_slice);
        let mut granted = Vec::new();
        for one in &tool.grants {
            granted.push(with_how(one.grant()?, said)?);
        }
        let elsewhere = said
            .iter()
            .filter(|c| granted.iter().all(|g| g.origin != c.origin));
        let elsewhere: Vec<Grant> = elsewhere.cloned().collect();
        granted.extend(elsewhere);
        all.insert(tool.name.clone(), granted);
    }
    Ok(all)
}

/// A grant of the lock, reached as the configuration says.
fn with_how(mut grant: Grant, said: &[Grant]) -> Result<Grant, String> {
    let origin = grant.origin.clone();
    for how in said.iter().filter(|c| c.origin == origin) {
        if how.allow_private {
            grant = grant.with_private();
        }
        if let (None, Some(address)) = (grant.connect(), how.connect()) {
            grant = grant.with_connect(address).map_err(|e| e.to_string())?;
        }
    }
    Ok(grant)
}
