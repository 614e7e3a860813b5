use super::*;

#[test]
fn a_mix_of_price_tables_is_told_in_one_order() {
    let answer = Answer {
        columns: Vec::new(),
        rows: vec![vec![
            Cell::from("acme"),
            Cell::Whole(2),
            Cell::Whole(1),
            Cell::Whole(3),
            Cell::Whole(4),
            Cell::Whole(0),
            Cell::Whole(0),
            Cell::Whole(18_000),
            Cell::from(r#"["none","2026-11-28"]"#),
        ]],
        is_cut: false,
    };
    let table = table(&[Dimension::Tenant], answer);
    let text: Vec<Vec<String>> = table.texts().collect();
    assert_eq!(
        text[0].last().map(String::as_str),
        Some("2026-11-28 + none")
    );
    assert_eq!(text[0][7], "0.018000");
    let total = total(&table, 1);
    assert_eq!(total[0], Cell::from("TOTAL"));
    assert_eq!(
        (&total[1], &total[7], &total[8]),
        (&Cell::Whole(2), &Cell::Whole(18_000), &Cell::Null)
    );
}
