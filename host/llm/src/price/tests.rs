//! Sums by hand, and tables with a slip in them.

use super::*;

/// 2.50 and 10 dollars for a million; a quarter for what is cached, and a quarter more to cache it.
const PRICE: Price = Price {
    input: UsdMicros(2_500_000),
    output: UsdMicros(10_000_000),
    cache_read: UsdMicros(625_000),
    cache_write: UsdMicros(3_125_000),
};

fn usage(input: u64, read: u64, write: u64, output: u64) -> Usage {
    Usage {
        input_tokens: input,
        output_tokens: output,
        cache_read_tokens: read,
        cache_write_tokens: write,
    }
}

#[test]
fn a_turn_costs_what_its_tokens_cost_rounded_up_once() {
    for (usage, micros) in [
        (usage(1_000, 0, 0, 100), 3_500),
        (usage(1, 0, 0, 0), 3),
        (usage(0, 0, 0, 0), 0),
        // 100 plain, 800 read, 100 written: 250 + 500 + 312.5, and 1000 for the output.
        (usage(1_000, 800, 100, 100), 2_063),
        // Three parts below a micro-dollar each: one rounding, not three.
        (usage(3, 1, 1, 0), 7),
        (usage(u64::MAX, 0, 0, u64::MAX), u64::MAX),
        // A provider that counts cached tokens beside the input takes nothing below zero.
        (usage(10, 20, 0, 0), 13),
    ] {
        assert_eq!(PRICE.cost(usage), UsdMicros(micros), "{usage:?}");
    }
}

#[test]
fn the_embedded_table_is_whole_and_says_where_it_is_from() {
    let table = PriceTable::embedded().expect("the embedded table");
    assert_eq!(table.version(), "2026-11-28");
    let mini = table.of("gpt-4o-mini").expect("a price");
    assert_eq!(mini.version, "2026-11-28");
    assert_eq!(
        mini.price.cost(usage(1_000_000, 0, 0, 1_000_000)),
        UsdMicros(750_000)
    );
    assert_eq!(
        table.of("a-model-of-tomorrow"),
        None,
        "never free by accident"
    );
    let entries = EMBEDDED.matches("[[price]]").count();
    assert_eq!(EMBEDDED.matches("\nsource = \"").count(), entries);
}

#[test]
fn an_operators_table_may_price_what_it_does_not_list() {
    let text = "version = \"ours-7\"\n[unknown]\ninput = 5\noutput = 6\n\
                [[price]]\nmodels = [\"m\"]\ninput = 1\noutput = 2\ncache_read = 0\n";
    let table = PriceTable::parse("p.toml", text).expect("a table");
    let known = table.of("m").expect("known").price;
    assert_eq!(
        (known.input, known.cache_read, known.cache_write),
        (UsdMicros(1), UsdMicros(0), UsdMicros(1))
    );
    let other = table.of("other").expect("the default");
    assert_eq!(
        (other.price.output, other.version.as_str()),
        (UsdMicros(6), "ours-7")
    );
}

#[test]
fn a_table_with_a_slip_is_refused_with_its_place() {
    let head = "version = \"1\"\n";
    let entry =
        |more: &str| format!("{head}[[price]]\nmodels = [\"m\"]\ninput = 1\noutput = 2\n{more}");
    for (text, expected) in [
        (String::new(), "version"),
        ("version = \"\"".into(), "1 to 64"),
        ("version = \"a b\"".into(), "printable"),
        (entry("cache_raed = 1"), "line 6"),
        (
            entry("[[price]]\nmodels = [\"m\"]\ninput = 1\noutput = 2"),
            "`m` has two prices",
        ),
        (entry("cache_read = 10000000001"), "another unit"),
        (
            format!("{head}[[price]]\nmodels = [\"m\"]\ninput = 1\n"),
            "output",
        ),
        (
            format!("{head}[[price]]\nmodels = [\"m\"]\ninput = -1\noutput = 2\n"),
            "line 4",
        ),
        (
            format!("{head}[unknown]\ninput = 99999999999\noutput = 2\n"),
            "[unknown]",
        ),
    ] {
        let error = PriceTable::parse("p.toml", &text)
            .expect_err(expected)
            .to_string();
        assert!(
            error.contains("p.toml") && error.contains(expected),
            "{expected}: {error}"
        );
    }
}
