use proptest::prelude::*;

use super::*;
use crate::codec;
use crate::conformance::row;
use crate::store::{CLEAR_FORMAT, ENCRYPTED_FORMAT, Row};

fn key(byte: u8) -> CipherKey {
    CipherKey::new(&[byte; KEY_BYTES])
}

fn cipher() -> Cipher {
    Cipher::new(Some(key(1)), Vec::new())
}

const HERE: Place<'static> = Place::Event("sess_88", 5);

const VALUE: Place<'static> = Place::Value {
    tenant: "acme",
    tool: "notes",
    key: "last",
    session: "sess_88",
    seq: 5,
};

fn encrypted(cipher: &Cipher, place: Place<'_>, clear: &str) -> String {
    let stored = cipher.encrypt(place, clear).expect("encrypt");
    stored.expect("there is a key")
}

#[test]
fn a_text_comes_back_with_its_key_and_says_nothing_without() {
    let clear = r#"{"email":"priya@example.com"}"#;
    let stored = encrypted(&cipher(), HERE, clear);
    assert!(!stored.contains("priya"), "{stored}");
    assert_eq!(cipher().decrypt(HERE, &stored), Ok(Some(clear.to_owned())));
    assert_eq!(key_of(&stored).as_ref(), cipher().current());
    let keys = vec![key(1).id().clone()];
    let shut = Cipher::new(Some(key(2)), Vec::new()).decrypt(HERE, &stored);
    assert_eq!(shut, Err(StoreError::Encrypted { keys }));
}

#[test]
fn the_same_text_is_never_stored_alike() {
    let (one, other) = (
        encrypted(&cipher(), HERE, "{}"),
        encrypted(&cipher(), HERE, "{}"),
    );
    assert_ne!(one, other);
}

#[test]
fn an_older_key_reads_and_does_not_write() {
    let before = encrypted(&cipher(), HERE, "{}");
    let rotated = Cipher::new(Some(key(2)), vec![key(1)]);
    assert_eq!(rotated.decrypt(HERE, &before), Ok(Some("{}".into())));
    let now = encrypted(&rotated, HERE, "{}");
    assert_eq!(key_of(&now).as_ref(), Some(key(2).id()));
    let off = Cipher::new(None, vec![key(1)]);
    assert_eq!(off.encrypt(HERE, "{}"), Ok(None));
    assert_eq!(off.decrypt(HERE, &before), Ok(Some("{}".into())));
}

#[test]
fn a_text_belongs_to_its_place() {
    let stored = encrypted(&cipher(), HERE, "{}");
    for place in [
        Place::Event("sess_88", 6),
        Place::Event("sess_8", 5),
        Place::Snapshot("sess_88", 5),
    ] {
        let moved = cipher().decrypt(place, &stored);
        assert!(matches!(moved, Err(StoreError::Corrupt(_))), "{moved:?}");
    }
    let value = cipher().encrypt_value(VALUE, b"7").expect("encrypt");
    let at = |tenant, tool, key, session, seq| Place::Value {
        tenant,
        tool,
        key,
        session,
        seq,
    };
    let here = at("acme", "notes", "last", "sess_88", 5);
    let read = |place| cipher().decrypt_value(place, value.clone(), 1);
    assert_eq!(read(here), Ok(b"7".to_vec()));
    for place in [
        at("initech", "notes", "last", "sess_88", 5),
        at("acme", "note", "last", "sess_88", 5),
        at("acme", "notes", "first", "sess_88", 5),
        at("acme", "notes", "last", "sess_89", 5),
        at("acme", "notes", "last", "sess_88", 6),
        // The same letters, cut elsewhere.
        at("acmen", "otes", "last", "sess_88", 5),
    ] {
        let moved = read(place);
        assert!(matches!(moved, Err(StoreError::Corrupt(_))), "{place}");
    }
}

#[test]
fn every_changed_byte_is_found() {
    let stored = encrypted(&cipher(), HERE, r#"{"a":1}"#);
    let sound = Ok(Some(r#"{"a":1}"#.to_owned()));
    assert_eq!(cipher().decrypt(HERE, &stored), sound);
    for at in 0..stored.len() {
        let mut bytes = stored.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let text = String::from_utf8(bytes).expect("still a text");
        assert_ne!(cipher().decrypt(HERE, &text), sound, "byte {at}");
    }
    for cut in MARK.len()..stored.len() {
        let refused = cipher().decrypt(HERE, &stored[..cut]);
        assert!(refused.is_err(), "the first {cut} bytes: {refused:?}");
    }
}

#[test]
fn what_is_clear_stays_clear() {
    assert_eq!(cipher().decrypt(HERE, "{}"), Ok(None));
    let plain = Cipher::none().encrypt_value(VALUE, b"enc1").expect("as is");
    assert_eq!(plain, b"enc1");
    let looks_encrypted = b"enc1deadbeef-and-so-on".to_vec();
    let bytes = looks_encrypted.len() as u64;
    let same = cipher().decrypt_value(VALUE, looks_encrypted.clone(), bytes);
    assert_eq!(same, Ok(looks_encrypted));
}

#[test]
fn a_key_is_64_digits_and_is_shown_by_its_name_alone() {
    let digits = "0f".repeat(KEY_BYTES);
    let key = CipherKey::from_hex(&digits).expect("a key");
    assert_eq!(format!("{key:?}"), format!("CipherKey({})", key.id()));
    assert!(!digits.contains(&key.id().to_string()));
    for wrong in [
        "",
        "0f",
        &digits[1..],
        &format!("{digits}0f"),
        &"zz".repeat(32),
    ] {
        assert!(CipherKey::from_hex(wrong).is_none(), "{wrong}");
    }
}

#[test]
fn a_row_is_in_the_format_that_it_says_or_a_newer_one() {
    let row = |format, body: &str| Row {
        format,
        ..row(5, 1, body)
    };
    let stored = encrypted(&cipher(), HERE, "{}");
    for (format, body, is_sound) in [
        (CLEAR_FORMAT, "{}", true),
        (ENCRYPTED_FORMAT, &stored[..], true),
        (ENCRYPTED_FORMAT, "{}", false),
        (CLEAR_FORMAT, &stored[..], false),
        // Who decodes it says that it is newer.
        (99, "{}", true),
        (99, &stored[..], true),
    ] {
        let mut read = row(format, body);
        let result = read.decrypt("sess_88", &cipher());
        assert_eq!(result.is_ok(), is_sound, "{format} {body}: {result:?}");
        assert!(is_sound || read == row(format, body), "it stays as it was");
        if format == 99 {
            let newer = codec::decode(&read);
            assert!(matches!(newer, Err(StoreError::Newer { .. })), "{newer:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_value_comes_back(value in proptest::collection::vec(any::<u8>(), 0..200)) {
        let stored = cipher().encrypt_value(VALUE, &value).expect("encrypt");
        prop_assert_eq!(stored.len(), value.len() + VALUE_OVERHEAD);
        let back = cipher().decrypt_value(VALUE, stored, value.len() as u64);
        prop_assert_eq!(back, Ok(value));
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,80}", id in "[0-9a-f]{0,9}") {
        let _ = cipher().decrypt(HERE, &text);
        let _ = cipher().decrypt(HERE, &format!("{MARK}{id}:{text}"));
        let _ = cipher().decrypt_value(VALUE, text.into_bytes(), 3);
    }
}
