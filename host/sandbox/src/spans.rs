//! The spans that a tool begins within its run, and what it puts on them and on the run.
//!
//! Invariants: it holds no more than [`limits::SPANS`] spans and [`limits::ANNOTATIONS`] annotations,
//! all of them together; the host's clock times them, and nothing of that is told to the guest.

use std::time::Instant;

use stoplog_model::ToolSpan;

use crate::host::cut;
use crate::limits;

/// A span that the guest has a handle to; none: there were too many.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated code re-exports it")]
pub struct Open(Option<usize>);

/// Everything that a run says about itself.
#[derive(Debug)]
pub(crate) struct Told {
    began: Instant,
    spans: Vec<ToolSpan>,
    /// Places of those that last.
    open: Vec<usize>,
    annotations: Vec<(String, String)>,
    /// Annotations of the run and of all spans.
    count: usize,
}

impl Told {
    pub(crate) fn new() -> Told {
        Told {
            began: Instant::now(),
            spans: Vec::new(),
            open: Vec::new(),
            annotations: Vec::new(),
            count: 0,
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Puts a name and a value on the run.
    pub(crate) fn annotate(&mut self, name: String, value: String) {
        if let Some(annotation) = self.annotation(name, value) {
            self.annotations.push(annotation);
        }
    }

    /// Begins a span, below the latest that lasts.
    pub(crate) fn begin(&mut self, mut name: String) -> Open {
        if self.spans.len() >= limits::SPANS {
            return Open(None);
        }
        cut(&mut name, limits::ANNOTATION_NAME_BYTES);
        let parent = self
            .open
            .last()
            .and_then(|place| u32::try_from(*place).ok());
        let from_ms = self.now_ms();
        self.open.push(self.spans.len());
        self.spans.push(ToolSpan {
            name,
            parent,
            from_ms,
            latency_ms: 0,
            annotations: Vec::new(),
        });
        Open(Some(self.spans.len() - 1))
    }

    /// Puts a name and a value on a span.
    pub(crate) fn annotate_span(&mut self, span: &Open, name: String, value: String) {
        let Some(place) = span.0 else { return };
        if let Some(annotation) = self.annotation(name, value)
            && let Some(span) = self.spans.get_mut(place)
        {
            span.annotations.push(annotation);
        }
    }

    /// Ends a span, if it lasts.
    pub(crate) fn end(&mut self, span: &Open) {
        let Some(place) = span.0 else { return };
        let is_open = self.open.contains(&place);
        self.open.retain(|open| *open != place);
        let now_ms = self.now_ms();
        if let Some(span) = self.spans.get_mut(place).filter(|_| is_open) {
            span.latency_ms = now_ms.saturating_sub(span.from_ms);
        }
    }

    /// The run is over, and so is whatever lasted.
    pub(crate) fn over(mut self) -> (Vec<(String, String)>, Vec<ToolSpan>) {
        for place in std::mem::take(&mut self.open) {
            let now_ms = self.now_ms();
            if let Some(span) = self.spans.get_mut(place) {
                span.latency_ms = now_ms.saturating_sub(span.from_ms);
            }
        }
        (self.annotations, self.spans)
    }

    /// An annotation within its limits, if there is room for one more.
    fn annotation(&mut self, mut name: String, mut value: String) -> Option<(String, String)> {
        if self.count >= limits::ANNOTATIONS {
            return None;
        }
        self.count += 1;
        cut(&mut name, limits::ANNOTATION_NAME_BYTES);
        cut(&mut value, limits::ANNOTATION_VALUE_BYTES);
        Some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(spans: &[ToolSpan]) -> Vec<(&str, Option<u32>)> {
        spans.iter().map(|s| (s.name.as_str(), s.parent)).collect()
    }

    #[test]
    fn one_that_begins_while_another_lasts_lies_below_it() {
        let mut told = Told::new();
        let a = told.begin("a".into());
        let b = told.begin("b".into());
        told.annotate_span(&b, "n".into(), "v".into());
        told.end(&b);
        told.end(&b);
        let _c = told.begin("c".into());
        told.end(&a);
        let d = told.begin("d".into());
        told.end(&d);
        let (annotations, spans) = told.over();
        assert_eq!(annotations, []);
        let below = [("a", None), ("b", Some(0)), ("c", Some(0)), ("d", Some(2))];
        assert_eq!(names(&spans), below);
        assert_eq!(spans[1].annotations, [("n".to_owned(), "v".to_owned())]);
    }

    #[test]
    fn spans_and_annotations_are_few_and_short() {
        let mut told = Told::new();
        for _ in 0..1000 {
            let span = told.begin("x".repeat(1000));
            told.annotate_span(&span, "n".repeat(1000), "v".repeat(10_000));
            told.annotate("n".into(), "v".into());
        }
        let (annotations, spans) = told.over();
        assert_eq!(spans.len(), limits::SPANS);
        let on_spans: usize = spans.iter().map(|s| s.annotations.len()).sum();
        assert_eq!(annotations.len() + on_spans, limits::ANNOTATIONS);
        let bytes: usize = spans.iter().map(|s| s.name.len()).sum();
        assert_eq!(bytes, limits::SPANS * limits::ANNOTATION_NAME_BYTES);
        assert!(spans[0].annotations[0].1.len() <= limits::ANNOTATION_VALUE_BYTES);
    }
}
