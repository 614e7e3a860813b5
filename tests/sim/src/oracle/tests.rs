use super::*;

/// A history that breaks nothing: one act done, told, and remembered.
fn good() -> History {
    let sent = Sent {
        tool: "paid".into(),
        key: "paid_a".into(),
        name: "a".into(),
        amount: 1,
        call: "c1".into(),
        part: String::new(),
        at_ms: 20,
    };
    let deed = Deed {
        id: "act_1".into(),
        tool: "paid".into(),
        key: "paid_a".into(),
        name: "a".into(),
        call: "c1".into(),
        part: String::new(),
        at_ms: 21,
        undone: false,
        own_fault: false,
    };
    let turn = Shown::Turn {
        iteration: 1,
        said: "t1".into(),
    };
    let result = Shown::Result {
        iteration: 1,
        ordinal: 0,
        is_error: false,
        code: String::new(),
        changed: String::new(),
        text: "{}".into(),
    };
    let asked = |iteration, at_ms, shown, said: &str| Asked {
        session: "s".into(),
        iteration,
        at_ms,
        shown,
        dropped: 0,
        said: Some(said.into()),
    };
    let shown = vec![turn, result];
    History {
        deeds: vec![deed],
        sent: vec![sent],
        asked: vec![
            asked(1, 10, vec![], "t1"),
            asked(2, 30, shown.clone(), "t2"),
        ],
        calls: vec![Call {
            session: "s".into(),
            iteration: 1,
            ordinal: 0,
            id: "c1".into(),
            tool: "paid".into(),
            arguments: "{}".into(),
            name: "a".into(),
            how: "plain".into(),
            end: End::Done,
        }],
        approved: vec![Approved {
            call: "c1".into(),
            arguments: "{}".into(),
            at_ms: 15,
        }],
        endings: vec![Ending {
            session: "s".into(),
            status: "ended".into(),
            reason: String::new(),
            shown,
        }],
        open_intents: vec![],
        wrong: vec![],
    }
}

/// The doctored history breaks this rule, among others perhaps.
#[track_caller]
fn breaks(rule: &str, doctor: impl FnOnce(&mut History)) {
    let mut history = good();
    doctor(&mut history);
    let found = check(&history);
    assert!(found.iter().any(|v| v.rule == rule), "{rule}: {found:?}");
}

#[test]
fn a_good_history_breaks_nothing() {
    assert_eq!(check(&good()), []);
}

#[test]
fn every_rule_can_be_broken() {
    type Doctored = (&'static str, fn(&mut History));
    let doctored: [Doctored; 21] = [
        ("once", |h| {
            let again = h.deeds[0].clone();
            h.deeds.push(again);
        }),
        ("untouched", |h| {
            h.calls[0].end = End::Failed {
                changed: "nothing".into(),
            };
        }),
        ("untouched", |h| {
            if let Shown::Result { changed, .. } = &mut h.asked[1].shown[1] {
                *changed = "nothing".into();
            }
        }),
        ("done", |h| h.deeds.clear()),
        ("done", |h| h.deeds[0].undone = true),
        ("one_key", |h| {
            let mut again = h.sent[0].clone();
            again.key = "other".into();
            h.sent.push(again);
        }),
        ("remembered", |h| h.endings[0].shown.truncate(1)),
        ("remembered", |h| {
            if let Shown::Result { text, .. } = &mut h.endings[0].shown[1] {
                *text = "{\"other\": 1}".into();
            }
        }),
        // Left out at once, left out unsaid, the last turn cut, and back again.
        ("remembered", |h| h.asked[1].dropped = 1),
        ("remembered", |h| {
            let mut third = h.asked[1].clone();
            (third.iteration, third.at_ms) = (3, 40);
            third.shown.clear();
            h.asked.push(third);
        }),
        ("remembered", |h| {
            if let Shown::Result { text, .. } = &mut h.asked[1].shown[1] {
                *text = "[9 of 10 bytes left out to make room]".into();
            }
        }),
        ("remembered", |h| {
            let mut third = h.asked[1].clone();
            (third.iteration, third.at_ms, third.dropped) = (3, 40, 1);
            third.shown.clear();
            let mut fourth = h.asked[1].clone();
            (fourth.iteration, fourth.at_ms) = (4, 50);
            h.asked.extend([third, fourth]);
        }),
        ("asked_once", |h| {
            let mut again = h.asked[0].clone();
            again.at_ms = 25;
            h.asked.insert(1, again);
        }),
        ("asked_once", |h| h.asked[0].said = Some("other".into())),
        ("approved", |h| h.approved.clear()),
        ("approved", |h| {
            h.approved[0].arguments = "{\"a\": 1}".into()
        }),
        ("approved", |h| h.approved[0].at_ms = 22),
        ("approved", |h| {
            let again = h.approved[0].clone();
            h.approved.push(again);
        }),
        ("closed", |h| h.open_intents.push("s".into())),
        ("ended", |h| h.endings[0].status = "active".into()),
        ("seen", |h| h.calls.clear()),
    ];
    for (rule, _) in RULES {
        let tried = doctored.iter().any(|(name, _)| *name == rule);
        assert!(tried, "no doctored history breaks `{rule}`");
    }
    for (rule, doctor) in doctored {
        breaks(rule, doctor);
    }
}

#[test]
fn what_the_design_allows_is_no_violation() {
    // The far side lost it on its own, a person said so, and the model was corrected.
    let mut history = good();
    history.deeds[0].own_fault = true;
    history.deeds[0].undone = true;
    history.calls[0].end = End::Failed {
        changed: "nothing".into(),
    };
    let mut corrected = history.endings[0].shown.clone();
    corrected[1] = Shown::Result {
        iteration: 1,
        ordinal: 0,
        is_error: true,
        code: "ledger_mismatch".into(),
        changed: "nothing".into(),
        text: String::new(),
    };
    history.endings[0].shown = corrected;
    assert_eq!(check(&history), []);

    // An old turn is left out, and the model is told so; before that its output was cut.
    let mut history = good();
    let mut third = history.asked[1].clone();
    (third.iteration, third.at_ms) = (3, 40);
    let second = Shown::Turn {
        iteration: 2,
        said: "t2".into(),
    };
    if let Shown::Result { text, .. } = &mut third.shown[1] {
        *text = "[9 of 10 bytes left out to make room]".into();
    }
    third.shown.push(second.clone());
    third.said = Some("t3".into());
    let mut fourth = third.clone();
    (fourth.iteration, fourth.at_ms, fourth.dropped) = (4, 50, 1);
    fourth.shown.drain(..2);
    history.asked.extend([third, fourth]);
    history.endings[0].shown.push(second);
    // The journal has all of it, and here no text.
    if let Shown::Result { text, .. } = &mut history.endings[0].shown[1] {
        text.clear();
    }
    assert_eq!(check(&history), []);

    // Failed for a reason is an end.
    let mut history = good();
    history.endings[0].status = "failed".into();
    history.endings[0].reason = "iteration_limit".into();
    assert_eq!(check(&history), []);
}
