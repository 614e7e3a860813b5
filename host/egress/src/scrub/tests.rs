//! A value, written in every way that a far side may think of, is not there afterwards.

use super::*;

const VALUE: &str = "pa/ss\"w&rd+ é<1>";

fn scrubber() -> Scrubber {
    let mut secrets = Secrets::new();
    secrets.bind("A", VALUE).expect("bind");
    secrets.bind("B", "pa/ss").expect("bind");
    Scrubber::new(&secrets, ["A", "B", "UNBOUND"])
}

#[test]
fn every_written_form_is_taken_out_longest_first() {
    let scrubber = scrubber();
    for given in [
        VALUE,
        r#"pa/ss\"w&rd+ é<1>"#,
        r#"pa\/ss\"w&rd+ \u00e9<1>"#,
        r#"pa\u002Fss\u0022w\u0026rd\u002b\u0020\u00E9\u003c1\u003e"#,
        "pa%2Fss%22w%26rd%2B%20%C3%A9%3C1%3E",
        "pa%2fss%22w%26rd%2b+%c3%a9%3c1%3e",
        "%70%61%2f%73%73%22%77%26%72%64%2b%20%c3%a9%3c%31%3e",
        "pa/ss&quot;w&amp;rd+ é&lt;1&gt;",
        "pa&#47;ss&#34;w&#38;rd&#43; &#233;&#60;1&#62;",
        "pa&#x2F;ss&#x22;w&#x26;rd&#x2b; &#xE9;&#x3c;1&#x003e;",
        r#"pa\x2fss\"w\x26rd+ \xc3\xa9<1>"#,
        r#"pa/ss\"w%26rd\u{2b} é&lt;1>"#,
        // Encoded twice.
        "pa%252Fss%2522w%2526rd%252B%2520%25C3%25A9%253C1%253E",
        "70612f73732277267264 2b20c3a93c313e"
            .replace(' ', "")
            .as_str(),
        "70612F737322772672642B20C3A93C313E",
    ] {
        assert_eq!(
            scrubber.text(&format!("x={given};")),
            "x=[secret:A];",
            "{given}"
        );
    }
    for (given, expected) in [
        ("pa/sspa/ss", "[secret:B][secret:B]"),
        ("pa/ss\"word", "[secret:B]\"word"),
        ("pass PA/SS", "pass PA/SS"),
        ("", ""),
    ] {
        assert_eq!(scrubber.text(given), expected);
    }
}

fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let mut all = [0; 3];
        all[..group.len()].copy_from_slice(group);
        let word = u32::from_be_bytes([0, all[0], all[1], all[2]]);
        for i in 0..=group.len() {
            let sextet = (word >> (18 - 6 * i)) & 63;
            out.push(char::from(alphabet[sextet as usize]));
        }
    }
    out
}

/// `Basic` credentials, tokens, data URLs: base64 of a text that holds the value somewhere.
#[test]
fn base64_is_seen_through_wherever_the_value_stands_in_it() {
    let scrubber = scrubber();
    for before in ["", "u", "us", "use", "user:"] {
        for behind in ["", "1", "12", "123"] {
            for alphabet in [STANDARD, URL_SAFE] {
                let text = base64(format!("{before}{VALUE}{behind}").as_bytes(), alphabet);
                for given in [
                    text.clone(),
                    text.replace('/', "\\/"),
                    percent_encode(&text),
                ] {
                    let scrubbed = scrubber.text(&format!("Basic {given}"));
                    assert!(scrubbed.contains("[secret:A]"), "{given}: {scrubbed}");
                    // What is left is at most the characters that other bytes have a part in.
                    let left = scrubbed.len() - "Basic [secret:A]".len();
                    let others = before.len() + behind.len();
                    assert!(left <= others * 4 / 3 + 4 + 8, "{given}: {scrubbed}");
                }
            }
        }
    }
}

/// What the far side got in a URL, or in a string of JSON, and encoded as it was.
#[test]
fn what_was_encoded_before_is_seen_through_as_well() {
    let scrubber = scrubber();
    let escaped = VALUE.replace('"', "\\\"");
    for sent in [percent_encode(VALUE), escaped] {
        let hex: String = sent.bytes().map(|b| format!("{b:02x}")).collect();
        for given in [base64(format!("GET /{sent} ").as_bytes(), STANDARD), hex] {
            let scrubbed = scrubber.text(&given);
            assert!(scrubbed.contains("[secret:A]"), "{given}: {scrubbed}");
        }
    }
}

/// The characters of base64 that are looked for are in every encoding of every text around it.
#[test]
fn the_core_of_base64_is_what_does_not_change() {
    for shift in 0..3 {
        let core = base64_core(b"secret-value", shift, STANDARD);
        assert!(core.len() >= 14, "{core}");
        for fill in [0_u8, 0x55, 0xff] {
            let mut bytes = vec![fill; shift + 3];
            bytes.extend_from_slice(b"secret-value");
            bytes.extend_from_slice(&[fill; 2]);
            assert!(base64(&bytes, STANDARD).contains(&core), "{shift} {fill}");
        }
    }
}

/// Texts that are nearly the value, or nothing but beginnings of it, cost no more than their length.
#[test]
fn what_looks_like_a_beginning_is_no_trap() {
    let mut secrets = Secrets::new();
    secrets
        .bind("A", "%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%x")
        .expect("bind");
    let scrubber = Scrubber::new(&secrets, ["A"]);
    let text = "%25".repeat(20_000);
    assert_eq!(scrubber.text(&text), text);
}

#[test]
fn a_placeholder_in_an_answer_is_none_any_more() {
    let mut secrets = Secrets::new();
    secrets.bind("TOKEN", "s3cr3t-value").expect("a secret");
    let scrubber = Scrubber::new(&secrets, ["TOKEN"]);
    for sent in [
        "send {{secret:TOKEN}} on",
        "send %7B%7Bsecret:TOKEN%7D%7D on",
    ] {
        let seen = scrubber.text(sent);
        let open = seen.contains("{{secret:") || seen.contains("%7B%7Bsecret:");
        assert!(!open && seen.contains("TOKEN"), "{seen}");
    }
    let without = Scrubber::new(&secrets, []);
    assert_eq!(without.text("{{secret:TOKEN}}"), "{{secret:TOKEN}}");
}
