//! What a test found: for a person a line each, for a machine JSON.

use std::time::Duration;

use serde_json::{Value, json};

use crate::output;

/// What is wrong, and what to do about it.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) expected: String,
    pub(super) seen: String,
    /// Where the host was killed, if it was.
    pub(super) killed: Option<String>,
    pub(super) to_do: String,
}

impl Failure {
    pub(super) fn new(
        expected: impl Into<String>,
        seen: impl Into<String>,
        to_do: impl Into<String>,
    ) -> Failure {
        Failure {
            expected: expected.into(),
            seen: seen.into(),
            killed: None,
            to_do: to_do.into(),
        }
    }

    /// Whether there is nothing new in it but the place.
    fn is_like(&self, other: &Failure) -> bool {
        let told = |f: &Failure| (f.expected.clone(), f.seen.clone(), f.to_do.clone());
        self.killed.is_some() && told(self) == told(other)
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone)]
pub(super) struct Check {
    /// `CASE/CHECK`: what `--only` takes.
    pub(super) id: String,
    /// What should be so.
    pub(super) what: String,
    /// What else there is to say.
    pub(super) note: String,
    pub(super) failure: Option<Failure>,
}

impl Check {
    pub(super) fn new(case: &str, name: &str, what: impl Into<String>) -> Check {
        Check {
            id: format!("{case}/{name}"),
            what: what.into(),
            note: String::new(),
            failure: None,
        }
    }

    /// Whether it says that case and tool do not fit each other.
    pub(super) fn is_about_the_case(&self) -> bool {
        self.id.ends_with("/answers") || self.id.ends_with("/outcome")
    }

    pub(super) fn with_note(self, note: impl Into<String>) -> Check {
        Check {
            note: note.into(),
            ..self
        }
    }

    pub(super) fn failed(self, failure: Failure) -> Check {
        Check {
            failure: Some(failure),
            ..self
        }
    }

    pub(super) fn judged(self, failure: Option<Failure>) -> Check {
        Check { failure, ..self }
    }
}

/// One case, or the tool as a whole.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) checks: Vec<Check>,
}

/// All of it.
pub(crate) struct Report {
    pub(super) tool: String,
    pub(super) version: String,
    pub(super) class: stoplog_model::Class,
    pub(super) sections: Vec<Section>,
    pub(super) kills: usize,
    pub(super) took: Duration,
    /// The command that runs this test, without `--only`.
    pub(super) command: String,
    /// The command that comes next, when all passed.
    pub(super) next: String,
}

impl Report {
    fn checks(&self) -> impl Iterator<Item = &Check> {
        self.sections.iter().flat_map(|s| &s.checks)
    }

    pub(crate) fn failures(&self) -> usize {
        self.checks().filter(|c| c.failure.is_some()).count()
    }

    fn again(&self, check: &Check) -> String {
        format!("{} --only '{}'", self.command, check.id)
    }

    /// For a person.
    pub(crate) fn print(&self) {
        output::line(format!(
            "{} {}, class {} {}",
            self.tool,
            self.version,
            self.class.number(),
            self.class
        ));
        for section in &self.sections {
            let about = match section.about.as_str() {
                "" => String::new(),
                about => format!(": {about}"),
            };
            output::line(format!("\n{}{about}", section.name));
            let mut before = None;
            for check in &section.checks {
                self.print_check(check, before);
                before = check.failure.as_ref();
            }
        }
        let (all, failed) = (self.checks().count(), self.failures());
        let seconds = self.took.as_secs_f64();
        let verdict = match failed {
            0 => "all passed".to_owned(),
            n => format!("{n} FAILED"),
        };
        output::line(format!(
            "\n{all} checks, {} kills in {seconds:.1} s: {verdict}",
            self.kills
        ));
        if failed == 0 {
            output::line(format!("next       {}", self.next));
        }
    }

    /// A failure that is that of the check before it, at another point, is told in short.
    fn print_check(&self, check: &Check, before: Option<&Failure>) {
        let note = match check.note.as_str() {
            "" => String::new(),
            note => format!("  ({note})"),
        };
        let Some(failure) = &check.failure else {
            output::line(format!("  ok      {}{note}", check.what));
            return;
        };
        output::line(format!("  FAILED  {}{note}", check.what));
        let row = |name: &str, text: &str| output::line(format!("          {name:<9} {text}"));
        let is_new = before.is_none_or(|before| !failure.is_like(before));
        if is_new {
            row("expected", &failure.expected);
            row("seen", &failure.seen);
        }
        if let Some(killed) = &failure.killed {
            row("killed", killed);
        }
        if is_new {
            row("to do", &failure.to_do);
        }
        row("again", &self.again(check));
    }

    /// For a machine.
    pub(crate) fn json(&self) -> Value {
        let check = |check: &Check| {
            let failure = check.failure.as_ref().map(|f| {
                json!({
                    "expected": f.expected, "seen": f.seen, "killed": f.killed,
                    "to_do": f.to_do, "again": self.again(check),
                })
            });
            json!({
                "id": check.id, "what": check.what, "note": check.note,
                "ok": check.failure.is_none(), "failure": failure,
            })
        };
        let section = |section: &Section| {
            let checks: Vec<Value> = section.checks.iter().map(check).collect();
            json!({"name": section.name, "about": section.about, "checks": checks})
        };
        let sections: Vec<Value> = self.sections.iter().map(section).collect();
        json!({
            "tool": self.tool, "version": self.version, "class": self.class,
            "class_number": self.class.number(), "passed": self.failures() == 0,
            "failures": self.failures(), "kills": self.kills,
            "took_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "sections": sections,
            "next": (self.failures() == 0).then_some(&self.next),
        })
    }
}
