//! Questions against the trace store, each beside the same answer worked out by hand from the same
//! spans.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use stoplog_query::question::{Dimension, Filter, Kind, SortBy, groups, list, looked};
use stoplog_query::{cost, slowest, table::Table};
use stoplog_store::{TraceDb, traces::VIEW_NAMES};
use stoplog_telemetry::{
    Advance, Answer, AnswerBounds, Ask, AskError, Cell, SpanRow, Statement, TraceStore,
};

/// A store with these rows.
struct Store {
    _dir: tempfile::TempDir,
    db: TraceDb,
}

async fn store(rows: Vec<SpanRow>) -> Store {
    let dir = tempfile::tempdir().expect("dir");
    let db = TraceDb::open(&dir.path().join("traces.db")).expect("open");
    let step = Advance {
        from: db.progress().await.expect("progress"),
        finished: rows,
        is_end: true,
        ..Advance::default()
    };
    assert!(db.advance(step).await.expect("advance"));
    Store { _dir: dir, db }
}

impl Store {
    async fn ask(&self, statement: Statement) -> Answer {
        let sql = statement.sql.clone();
        let answer = self.db.ask(statement, AnswerBounds::default()).await;
        answer.unwrap_or_else(|e| panic!("{e}: {sql}"))
    }

    async fn sql(&self, sql: &str) -> Result<Answer, AskError> {
        let statement = Statement {
            sql: sql.into(),
            values: vec![],
        };
        self.db.ask(statement, AnswerBounds::default()).await
    }

    /// How SQLite goes about a question.
    async fn plan(&self, said: &Statement) -> String {
        let explained = Statement {
            sql: format!("EXPLAIN QUERY PLAN {}", said.sql),
            values: said.values.clone(),
        };
        let answer = self.ask(explained).await;
        let lines = answer.rows.iter().filter_map(|r| r.last()?.as_text());
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Numbers of chance, always the same.
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % below
    }
}

const DAY_MS: u64 = 86_400_000;
/// 2026-03-01, and ten days.
const BEGIN_MS: u64 = 20_513 * DAY_MS;

/// Spans of all kinds, so many.
fn rows(count: u64, seed: u64) -> Vec<SpanRow> {
    let mut chance = Chance(seed);
    (0..count).map(|n| row(n, &mut chance)).collect()
}

fn row(n: u64, chance: &mut Chance) -> SpanRow {
    let statuses = [
        "success",
        "success",
        "error",
        "timeout",
        "interrupt",
        "crashed",
    ];
    let mut row = SpanRow {
        span_id: format!("{n:016x}"),
        trace_id: format!("{:032x}", chance.next(40) + 1),
        session_id: format!("s{}", chance.next(20)),
        tenant_id: ["acme", "initech", "hooli"][chance.next(3) as usize].into(),
        user_id: format!("u{}", chance.next(5)),
        feature: ["refunds", "mails"][chance.next(2) as usize].into(),
        started_ms: BEGIN_MS + chance.next(10 * DAY_MS),
        latency_ms: chance.next(300) * chance.next(30),
        status: statuses[chance.next(6) as usize],
        body: r#"{"result_summary":"r"}"#.into(),
        ..SpanRow::default()
    };
    match chance.next(6) {
        0 => {
            row.kind = "final_response";
            row.run_cost_usd_micros = Some(chance.next(50_000));
        }
        1 => {
            row.kind = "llm_call";
            row.status = statuses[chance.next(3) as usize];
            row.model_id = Some("m".into());
            row.model_version = Some(format!("m-{}", chance.next(3)));
            row.prompt_version_hash = Some(format!("p{}", chance.next(4)));
            row.finish_reason = Some("stop".into());
            row.input_tokens = Some(chance.next(2000));
            row.output_tokens = Some(chance.next(200));
            row.price_version = (chance.next(2) == 0).then(|| "2026-11-28".into());
            row.cost_usd_micros = chance.next(9000);
        }
        2 => {
            row.kind = "retry";
            row.status = "error";
            row.model_id = (chance.next(3) > 0).then(|| "m".into());
            row.cost_usd_micros = match row.model_id {
                Some(_) => chance.next(500),
                None => 0,
            };
        }
        3 => row.kind = "agent_step",
        _ => {
            row.kind = "tool_call";
            row.status = statuses[chance.next(4) as usize];
            row.tool = Some(["find", "refund", "mail"][chance.next(3) as usize].into());
            row.class = Some(chance.next(5) as u8);
            row.disposition =
                Some(["executed", "replayed", "refused"][chance.next(3) as usize].into());
        }
    }
    row
}

fn column(row: &SpanRow, dimension: Dimension) -> Cell {
    let some = |text: &Option<String>| text.as_deref().map_or(Cell::Null, Cell::from);
    match dimension {
        Dimension::Tenant => Cell::from(row.tenant_id.as_str()),
        Dimension::Feature => Cell::from(row.feature.as_str()),
        Dimension::User => Cell::from(row.user_id.as_str()),
        Dimension::Status => Cell::from(row.status),
        Dimension::Tool => some(&row.tool),
        Dimension::Disposition => some(&row.disposition),
        Dimension::ModelId => some(&row.model_id),
        Dimension::ModelVersion => some(&row.model_version),
        Dimension::PromptVersionHash => some(&row.prompt_version_hash),
        Dimension::Class => row.class.map_or(Cell::Null, |c| Cell::Whole(i64::from(c))),
        Dimension::Day => Cell::from(format!(
            "2026-03-{:02}",
            (row.started_ms - BEGIN_MS) / DAY_MS + 1
        )),
        other => panic!("{other:?}"),
    }
}

/// The same as the question says, by hand.
fn fits(row: &SpanRow, kind: Kind, filter: &Filter, dispositions: bool) -> bool {
    row.kind == kind.word()
        && filter.since_ms.is_none_or(|ms| row.started_ms >= ms)
        && filter.until_ms.is_none_or(|ms| row.started_ms < ms)
        && filter
            .among
            .iter()
            .all(|(d, values)| values.contains(&column(row, *d)))
        && (dispositions || row.disposition.as_deref() != Some("replayed"))
}

fn own_cost(row: &SpanRow) -> u64 {
    row.run_cost_usd_micros.unwrap_or(row.cost_usd_micros)
}

/// The smallest value that so many of a hundred do not exceed.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() * percent).div_ceil(100) - 1]
}

fn by_hand(
    rows: &[SpanRow],
    kind: Kind,
    filter: &Filter,
    by: &[Dimension],
) -> BTreeMap<String, Vec<String>> {
    let dispositions = by.contains(&Dimension::Disposition)
        || filter
            .among
            .iter()
            .any(|(d, _)| *d == Dimension::Disposition);
    let mut found: BTreeMap<String, Vec<&SpanRow>> = BTreeMap::new();
    for row in rows.iter().filter(|r| fits(r, kind, filter, dispositions)) {
        let key: Vec<Cell> = by.iter().map(|d| column(row, *d)).collect();
        found.entry(format!("{key:?}")).or_default().push(row);
    }
    let told = |group: Vec<&SpanRow>| {
        let mut latencies: Vec<u64> = group.iter().map(|r| r.latency_ms).collect();
        latencies.sort_unstable();
        let is_bad = |r: &&&SpanRow| matches!(r.status, "error" | "timeout" | "crashed");
        let bad = group.iter().filter(is_bad).count();
        let good = group.iter().filter(|r| r.status == "success").count();
        let rate = match bad + good {
            0 => String::new(),
            both => format!("{:.4}", bad as f64 / both as f64),
        };
        let cost: u64 = group.iter().map(|r| own_cost(r)).sum();
        vec![
            group.len().to_string(),
            bad.to_string(),
            rate,
            percentile(&latencies, 50).to_string(),
            percentile(&latencies, 95).to_string(),
            percentile(&latencies, 99).to_string(),
            stoplog_model::UsdMicros(cost).to_string(),
        ]
    };
    found
        .into_iter()
        .map(|(key, group)| (key, told(group)))
        .collect()
}

fn since(days: u64) -> Filter {
    Filter {
        since_ms: Some(BEGIN_MS + days * DAY_MS),
        ..Filter::default()
    }
}

#[tokio::test]
async fn groups_are_what_they_are_by_hand() {
    use Dimension::*;
    let rows = rows(6_000, 7);
    let store = store(rows.clone()).await;
    let acme = vec![(Tenant, vec![Cell::from("acme")])];
    let cases: [(Kind, Filter, &[Dimension]); 9] = [
        (Kind::LlmCall, Filter::default(), &[ModelVersion]),
        (Kind::LlmCall, since(6), &[PromptVersionHash]),
        (
            Kind::LlmCall,
            Filter {
                among: acme.clone(),
                ..since(2)
            },
            &[ModelVersion, PromptVersionHash, Day],
        ),
        (Kind::Run, Filter::default(), &[Tenant]),
        (
            Kind::Run,
            Filter {
                until_ms: Some(BEGIN_MS + DAY_MS),
                ..Filter::default()
            },
            &[Feature, User],
        ),
        (Kind::ToolCall, Filter::default(), &[Tool, Class]),
        (Kind::ToolCall, Filter::default(), &[Disposition]),
        (
            Kind::Retry,
            Filter {
                kind: Some(Kind::Retry),
                ..Filter::default()
            },
            &[ModelId],
        ),
        (
            Kind::Step,
            Filter {
                kind: Some(Kind::Step),
                ..Filter::default()
            },
            &[Status],
        ),
    ];
    for (kind, filter, by) in cases {
        assert_eq!(filter.kind_for(by), Ok(kind));
        let (said, columns) = groups(&filter, by, SortBy::Count, 1000).expect("a question");
        let table = Table {
            columns,
            rows: store.ask(said).await.rows,
        };
        let mut found = BTreeMap::new();
        for (row, mut texts) in table.rows.iter().zip(table.texts()) {
            let told = texts.split_off(by.len());
            assert!(
                found
                    .insert(format!("{:?}", &row[..by.len()]), told)
                    .is_none()
            );
        }
        let expected = by_hand(&rows, kind, &filter, by);
        assert!(!expected.is_empty());
        // A span without a cost of its own has none in its group.
        let money = matches!(kind, Kind::Run | Kind::LlmCall | Kind::Retry);
        assert!(money || expected.values().all(|v| v[6] == "0.000000"));
        assert_eq!(found, expected, "{kind:?} {by:?}");
    }
}

#[tokio::test]
async fn lists_are_what_they_are_by_hand() {
    let rows = rows(3_000, 11);
    let store = store(rows.clone()).await;
    let filter = Filter {
        among: vec![
            (
                Dimension::Tool,
                vec![Cell::from("refund"), Cell::from("mail")],
            ),
            (Dimension::Status, vec![Cell::from("error")]),
        ],
        ..since(3)
    };
    let mut expected: Vec<u64> = rows
        .iter()
        .filter(|r| fits(r, Kind::ToolCall, &filter, false))
        .map(|r| r.latency_ms)
        .collect();
    expected.sort_unstable_by(|a, b| b.cmp(a));
    assert!(expected.len() > 20);
    for limit in [5, 1000] {
        let (said, columns) = list(&filter, SortBy::Latency, limit).expect("list");
        let answer = store.ask(said).await;
        assert_eq!(answer.columns.len(), columns.len());
        let latencies: Vec<u64> = answer.rows.iter().filter_map(|r| r[1].as_count()).collect();
        // One more than the limit says that there are more.
        let shown = expected.len().min(limit + 1);
        assert_eq!(latencies, expected[..shown]);
    }
    let (said, _) = list(&Filter::default(), SortBy::Cost, 3).expect("list");
    let costs: Vec<u64> = store
        .ask(said)
        .await
        .rows
        .iter()
        .filter_map(|r| r[4].as_count())
        .collect();
    let mut dearest: Vec<u64> = rows.iter().filter_map(|r| r.run_cost_usd_micros).collect();
    dearest.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(costs, dearest[..4]);
}

#[tokio::test]
async fn the_slowest_is_found_whatever_it_is() {
    let rows = rows(2_000, 3);
    let store = store(rows.clone()).await;
    let (said, columns) = slowest::spans(&Filter::default(), 10);
    let table = Table {
        columns,
        rows: store.ask(said).await.rows,
    };
    let counts = |r: &&SpanRow| {
        ["llm_call", "tool_call", "retry"].contains(&r.kind)
            && r.disposition.as_deref() != Some("replayed")
    };
    let slowest = rows.iter().filter(counts).map(|r| r.latency_ms).max();
    assert_eq!(table.rows[0][0].as_count(), slowest);
    let (said, _) = slowest::sums(&Filter::default());
    let verdict = slowest::verdict(&table, &store.ask(said).await).expect("a verdict");
    assert!(
        verdict.starts_with("slowest: ") && verdict.contains(" retry took "),
        "{verdict}"
    );
}

/// The four questions of the lab, and cost, go by an index, and not through every span.
#[tokio::test]
async fn questions_go_by_an_index() {
    let store = store(rows(2_000, 5)).await;
    let tenant = Filter {
        among: vec![(Dimension::Tenant, vec![Cell::from("acme")])],
        ..since(8)
    };
    let tool = Filter {
        among: vec![
            (Dimension::Tool, vec![Cell::from("refund")]),
            (Dimension::Status, vec![Cell::from("error")]),
        ],
        ..since(8)
    };
    let by = |d| {
        groups(&since(8), &[d], SortBy::Count, 50)
            .expect("groups")
            .0
    };
    for (said, index) in [
        (
            list(&tenant, SortBy::Latency, 50).expect("list").0,
            "COVERING INDEX spans_runs",
        ),
        (
            list(&tool, SortBy::Start, 50).expect("list").0,
            "INDEX spans_tool",
        ),
        (by(Dimension::ModelVersion), "COVERING INDEX spans_model"),
        (
            by(Dimension::PromptVersionHash),
            "COVERING INDEX spans_model",
        ),
        (
            cost::statement(&since(8), &[Dimension::Tenant, Dimension::Day]),
            "COVERING INDEX spans_model",
        ),
    ] {
        let plan = store.plan(&said).await;
        assert!(plan.contains(index), "{index}: {plan}");
        assert!(
            !plan.contains("SCAN s\n") && !plan.contains("SCAN spans"),
            "{plan}"
        );
    }
}

#[tokio::test]
async fn a_call_has_the_model_of_the_turn_that_asked_for_it() {
    let turn = |trace: &str, step: u32, version: &str, status: &'static str| SpanRow {
        span_id: format!("t{trace}{step}{version}"),
        kind: "llm_call",
        session_id: "s".into(),
        trace_id: trace.into(),
        step_index: step,
        model_id: Some("m".into()),
        model_version: Some(version.into()),
        status,
        body: "{}".into(),
        ..SpanRow::default()
    };
    let call = |trace: &str, step: u32, status: &'static str| SpanRow {
        span_id: format!("c{trace}{step}"),
        kind: "tool_call",
        session_id: "s".into(),
        trace_id: trace.into(),
        step_index: step,
        tool: Some("refund".into()),
        disposition: Some("executed".into()),
        status,
        body: "{}".into(),
        ..SpanRow::default()
    };
    // The turn of step 1 was taken in a run that died; the next run made the call. A turn before it
    // could not be used.
    let store = store(vec![
        turn("a", 0, "old", "success"),
        call("a", 0, "success"),
        turn("a", 1, "old", "error"),
        turn("a", 1, "new", "success"),
        call("b", 1, "error"),
    ])
    .await;
    let filter = Filter {
        kind: Some(Kind::ToolCall),
        ..Filter::default()
    };
    let (said, _) =
        groups(&filter, &[Dimension::ModelVersion], SortBy::Errors, 10).expect("groups");
    let answer = store.ask(said).await;
    let told: Vec<_> = answer
        .rows
        .iter()
        .map(|r| (r[0].clone(), r[1].clone(), r[2].clone()))
        .collect();
    assert_eq!(
        told,
        [
            (Cell::from("new"), Cell::Whole(1), Cell::Whole(1)),
            (Cell::from("old"), Cell::Whole(1), Cell::Whole(0)),
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Money is neither lost nor found, whatever it is asked by.
    #[test]
    fn sums_of_cost_are_those_of_the_spans(count in 0_u64..400, seed: u64, cut in 0_usize..10) {
        let rows = rows(count, seed);
        let by = [Dimension::Tenant, Dimension::Feature, Dimension::User, Dimension::ModelId,
                  Dimension::ModelVersion, Dimension::Day, Dimension::PriceVersion];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("rt");
        runtime.block_on(async {
            let store = store(rows.clone()).await;
            for by in [&by[..], &by[..=cut.min(by.len() - 1)], &[by[cut % by.len()]]] {
                let table = cost::table(by, store.ask(cost::statement(&Filter::default(), by)).await);
                let told: u64 = table.rows.iter().filter_map(|r| r[by.len() + 6].as_count()).sum();
                let spent: u64 = rows.iter().map(|r| r.cost_usd_micros).sum();
                assert_eq!(told, spent, "{by:?}");
                let attempts: u64 = table.rows.iter().filter_map(|r| r[by.len() + 1].as_count()).sum();
                let failed = rows.iter().filter(|r| r.kind == "retry" && r.model_id.is_some());
                assert_eq!(attempts, failed.count() as u64);
                if !table.rows.is_empty() {
                    let total = cost::total(&table, by.len());
                    assert_eq!(total[by.len() + 6].as_count(), Some(spent));
                }
            }
        });
    }
}

#[tokio::test]
async fn a_statement_of_a_person_reads_the_views_and_nothing_else() {
    let store = store(rows(200, 9)).await;
    for view in VIEW_NAMES {
        let found = store.sql(&format!("SELECT * FROM {view}")).await;
        assert!(!found.expect(view).columns.is_empty());
    }
    let fine = "WITH a AS (SELECT tenant_id, count(*) n FROM tool_calls GROUP BY 1)
                SELECT *, (SELECT json ->> '$.result_summary' FROM all_spans LIMIT 1) FROM a";
    assert_eq!(store.sql(fine).await.expect("fine").rows.len(), 3);
    for refused in [
        "DELETE FROM spans",
        "INSERT INTO runs (trace_id) VALUES ('x')",
        "UPDATE spans SET status = 'success'",
        "DROP VIEW runs",
        "CREATE TEMP TABLE t (x)",
        "PRAGMA query_only = OFF",
        "PRAGMA writable_schema = ON",
        "SELECT * FROM pragma_table_info('spans')",
        "ATTACH DATABASE '/etc/passwd' AS x",
        "VACUUM INTO '/tmp/stoplog-copy.db'",
        "SELECT * FROM spans",
        "SELECT count(*) FROM meta",
        "SELECT name FROM sqlite_master",
        "BEGIN",
    ] {
        let error = store.sql(refused).await.expect_err(refused);
        assert!(
            matches!(error, AskError::Refused(_)),
            "{refused}: {error:?}"
        );
    }
    for wrong in [
        "SELECT 1; SELECT 2",
        "SELEKT 1",
        "SELECT nothing FROM runs",
        "SELECT * FROM elsewhere",
        "",
        "-- nothing",
        "SELECT abs(-9223372036854775808)",
        "SELECT ?",
        // A function that is not let through is to SQLite one that is not there.
        "SELECT load_extension('x')",
    ] {
        let error = store.sql(wrong).await.expect_err(wrong);
        assert!(matches!(error, AskError::Wrong(_)), "{wrong}: {error:?}");
    }
}

#[tokio::test]
async fn an_answer_is_bounded() {
    let store = store(rows(300, 13)).await;
    let ask = |sql: &str, bounds: AnswerBounds| {
        let statement = Statement {
            sql: sql.into(),
            values: vec![],
        };
        store.db.ask(statement, bounds)
    };
    let few = AnswerBounds {
        rows: 7,
        ..AnswerBounds::default()
    };
    let answer = ask("SELECT * FROM all_spans", few).await.expect("cut");
    assert_eq!((answer.rows.len(), answer.is_cut), (7, true));
    let small = AnswerBounds {
        bytes: 20_000,
        ..AnswerBounds::default()
    };
    let error = ask("SELECT * FROM all_spans", small)
        .await
        .expect_err("large");
    assert_eq!(error, AskError::TooLarge(20_000));
    let soon = AnswerBounds {
        time: Duration::from_millis(50),
        ..AnswerBounds::default()
    };
    let endless =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let error = ask(endless, soon).await.expect_err("endless");
    assert_eq!(error, AskError::TooLong(soon.time));
    let huge = "SELECT length(printf('%.*c', 100000000, 'x'))";
    let error = ask(huge, AnswerBounds::default()).await.expect_err("huge");
    assert!(matches!(error, AskError::Wrong(_)), "{error:?}");
}

#[tokio::test]
async fn an_empty_answer_says_where_it_looked() {
    let rows = rows(100, 21);
    let store = store(rows.clone()).await;
    let filter = Filter {
        among: vec![
            (Dimension::Tenant, vec![Cell::from("acmee")]),
            (Dimension::Tool, vec![Cell::from("refund")]),
        ],
        ..Filter::default()
    };
    let found = looked(&store.db, &filter).await.expect("look");
    assert_eq!(found.spans, 100);
    let tenants = ["acme", "hooli", "initech"].map(str::to_owned).to_vec();
    assert_eq!(
        found.unknown,
        [(Dimension::Tenant, "acmee".to_owned(), tenants)]
    );
    let first = rows.iter().map(|r| r.started_ms).min().expect("rows");
    assert_eq!(found.between_ms.map(|b| b.0), Some(first));
}

/// The latest calls with one status of one tool are read off in the order of time; every other list
/// sorts little, and looks up what it has chosen.
#[tokio::test]
async fn the_latest_errors_of_a_tool_are_not_sorted() {
    let store = store(rows(3000, 5)).await;
    let calls = |tools: &[&str], more: &[(Dimension, &str)]| {
        let mut filter = Filter {
            since_ms: Some(BEGIN_MS + DAY_MS),
            among: vec![
                (
                    Dimension::Tool,
                    tools.iter().map(|t| Cell::from(*t)).collect(),
                ),
                (Dimension::Status, vec![Cell::from("error")]),
            ],
            ..Filter::default()
        };
        let more = more.iter().map(|(d, value)| (*d, vec![Cell::from(*value)]));
        filter.among.extend(more);
        filter
    };
    let sorts = "USE TEMP B-TREE FOR ORDER BY";
    for more in [
        &[][..],
        &[(Dimension::Tenant, "acme")],
        &[(Dimension::Session, "s3")],
        &[(Dimension::Feature, "refunds")],
    ] {
        let (said, _) = list(&calls(&["refund"], more), SortBy::Start, 50).expect("list");
        let plan = store.plan(&said).await;
        assert!(!plan.contains(sorts), "{more:?}: {plan}\n{}", said.sql);
        // The same spans as by the long way.
        let found = store.ask(said).await;
        let both = calls(&["refund", "nobody's"], more);
        let (said, _) = list(&both, SortBy::Start, 50).expect("list");
        assert!(store.plan(&said).await.contains(sorts), "{}", said.sql);
        assert_eq!(found.rows, store.ask(said).await.rows, "{more:?}");
    }
}
