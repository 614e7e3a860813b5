//! Guests in component text, just large enough to show one thing each.

/// A component with these imports and exports by name, all empty interfaces; a name without a
/// colon is imported as a function.
pub(crate) fn component_of_names(imports: &[&str], exports: &[&str]) -> Vec<u8> {
    let mut text = String::from("(component\n");
    for name in imports {
        let kind = if name.contains(':') {
            "instance"
        } else {
            "func"
        };
        text.push_str(&format!("(import \"{name}\" ({kind}))\n"));
    }
    text.push_str("(instance $empty)\n");
    for name in exports {
        text.push_str(&format!("(export \"{name}\" (instance $empty))\n"));
    }
    text.push(')');
    parse(&text)
}

fn parse(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// The types of the contract that a tool's exports need, as wit-component writes them.
const TYPES: &str = r#"
(import "stoplog:tool/types@0.1.0" (instance $types
  (type $scope (enum "session" "tenant")) (export "key-scope" (type $scope_ (eq $scope)))
  (type $rule (record (field "template" string) (field "scope" $scope_)))
  (export "key-rule" (type $rule_ (eq $rule)))
  (type $orule (option $rule_)) (type $texts (list string))
  (type $contract (record (field "name" string) (field "version" string)
    (field "description" string) (field "input-schema" string) (field "output-schema" string)
    (field "key" $orule) (field "keeps-keys" bool) (field "settles-within-ms" u32)
    (field "timeout-ms" u32) (field "egress" $texts) (field "secrets" $texts)))
  (export "contract" (type (eq $contract)))
  (type $code (enum "invalid-input" "not-found" "permission" "precondition" "conflict"
    "rate-limited" "transient" "upstream" "internal"))
  (export "error-code" (type $code_ (eq $code)))
  (type $after (enum "untouched" "changed" "unknown")) (export "aftermath" (type $after_ (eq $after)))
  (type $otext (option string)) (type $onum (option u64))
  (type $error (record (field "code" $code_) (field "message" string) (field "hint" $otext)
    (field "retry-after-ms" $onum) (field "aftermath" $after_)))
  (export "tool-error" (type (eq $error)))
  (type $finding (variant (case "absent") (case "once" string) (case "several" u32)
    (case "unknown")))
  (export "finding" (type (eq $finding)))
))
(alias export $types "contract" (type $contract))
(alias export $types "tool-error" (type $tool_error))
(alias export $types "finding" (type $finding))
"#;

const EFFECTS: &str = r#"
(import "stoplog:tool/effects@0.1.0" (instance $effects
  (type $header (tuple string string)) (type $headers (list $header)) (type $bytes (list u8))
  (type $request (record (field "method" string) (field "url" string) (field "headers" $headers)
    (field "body" $bytes)))
  (export "request" (type $request_ (eq $request)))
  (type $response (record (field "status" u16) (field "headers" $headers) (field "body" $bytes)))
  (export "response" (type $response_ (eq $response)))
  (type $error (variant (case "denied" string) (case "not-sent" string)
    (case "unanswered" string)))
  (export "effect-error" (type $error_ (eq $error)))
  (export "permit" (type $permit (sub resource)))
  (export "[method]permit.split" (func (param "self" (borrow $permit)) (param "label" string)
    (result (own $permit))))
  (export "perform" (func (param "permit" (own $permit)) (param "request" $request_)
    (result (result $response_ (error $error_)))))
))
(alias export $effects "permit" (type $permit))
(core func $perform (canon lower (func $effects "perform") (memory (core memory $libc "memory"))
  (realloc (core func $libc "realloc"))))
(core func $split (canon lower (func $effects "[method]permit.split") (memory (core memory $libc "memory"))))
"#;

const WASI: &str = r#"
(import "wasi:random/random@0.2.6" (instance $random
  (export "get-random-u64" (func (result u64)))
  (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
(core func $rand (canon lower (func $random "get-random-u64")))
(core func $rand_bytes (canon lower (func $random "get-random-bytes") (memory (core memory $libc "memory"))
  (realloc (core func $libc "realloc"))))
(import "wasi:clocks/wall-clock@0.2.6" (instance $clock
  (type $time (record (field "seconds" u64) (field "nanoseconds" u32)))
  (export "datetime" (type $time_ (eq $time)))
  (export "now" (func (result $time_)))))
(core func $now (canon lower (func $clock "now") (memory (core memory $libc "memory"))))
(import "wasi:io/poll@0.2.6" (instance $poll
  (export "pollable" (type $pollable (sub resource)))
  (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
(alias export $poll "pollable" (type $pollable))
(core func $block (canon lower (func $poll "[method]pollable.block")))
(import "wasi:clocks/monotonic-clock@0.2.6" (instance $mono
  (alias outer 1 $pollable (type $p)) (export "pollable" (type $p_ (eq $p)))
  (export "subscribe-duration" (func (param "when" u64) (result (own $p_))))))
(core func $subscribe (canon lower (func $mono "subscribe-duration")))
"#;

/// The allocator: it never gives anything back. Memory below 4096 is for results and constants.
const LIBC: &str = r#"
(core module $Libc
  (memory (export "memory") 17)
  (global $next (mut i32) (i32.const 65536))
  (func (export "realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $at) (local.get 3)))
    (local.get $at)))
(core instance $libc (instantiate $Libc))
"#;

/// A pure tool whose `call` has this body: it returns the address of a result. 1024 is the
/// address of 8 bytes of zeros followed by room for a pointer and a length. `describe` has the
/// other body, 84 bytes of a contract.
pub(crate) fn pure(call: &str, describe: &str) -> Vec<u8> {
    pure_with("", call, describe)
}

/// The same, with more in its core module: tables, segments, functions. They come behind the
/// imports. `$new` makes a resource of the component's own.
pub(crate) fn pure_with(more: &str, call: &str, describe: &str) -> Vec<u8> {
    parse(&format!(
        r#"(component {TYPES} {LIBC} {WASI}
(core module $M
  (import "libc" "memory" (memory 1))
  (import "wasi" "rand" (func $rand (result i64)))
  (import "wasi" "rand-bytes" (func $rand_bytes (param i64 i32)))
  (import "wasi" "now" (func $now (param i32)))
  (import "wasi" "block" (func $block (param i32)))
  (import "wasi" "subscribe" (func $subscribe (param i64) (result i32)))
  (import "own" "new" (func $new (param i32) (result i32)))
  {more}
  (func $ok (param i32 i32) (result i32)
    (i32.store (i32.const 1032) (local.get 0)) (i32.store (i32.const 1036) (local.get 1))
    (i32.const 1024))
  (func $call (export "call") (param $at i32) (param $len i32) (result i32) {call})
  (func (export "describe") (result i32) {describe}))
(type $own (resource (rep i32)))
(core func $new (canon resource.new $own))
(core instance $m (instantiate $M
  (with "libc" (instance $libc))
  (with "own" (instance (export "new" (func $new))))
  (with "wasi" (instance (export "rand" (func $rand)) (export "rand-bytes" (func $rand_bytes))
    (export "now" (func $now)) (export "block" (func $block))
    (export "subscribe" (func $subscribe))))))
(func $call (param "input" string) (result (result string (error $tool_error)))
  (canon lift (core func $m "call") (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
(func $describe (result $contract) (canon lift (core func $m "describe") (memory (core memory $libc "memory"))))
(instance $tool (export "call" (func $call)))
(export "stoplog:tool/pure-tool@0.1.0" (instance $tool))
(instance $about (export "describe" (func $describe)))
(export "stoplog:tool/about@0.1.0" (instance $about)))"#
    ))
}

/// A tool of class 3 whose `call` has this body, with `$permit` as its third parameter. Two
/// functions are at hand: `$send` performs with a permit and returns 0 for an answer, and
/// `$split` splits off the label `fee`. `probe` tries to perform with a permit it has made up.
pub(crate) fn external(call: &str) -> Vec<u8> {
    parse(&format!(
        r#"(component {TYPES} {LIBC} {EFFECTS}
(core module $M
  (import "libc" "memory" (memory 1))
  (import "effects" "perform"
    (func $perform (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "effects" "split" (func $do_split (param i32 i32 i32) (result i32)))
  (data (i32.const 2048) "posthttp://far.test/xfee")
  (data (i32.const 2080) "\00\09\00\00\04\00\00\00\04\09\00\00\01\00\00\00")
  (data (i32.const 2304) "X-AmY")
  (func $send (param $permit i32) (result i32)
    (call $perform (local.get $permit) (i32.const 2048) (i32.const 4) (i32.const 2052)
      (i32.const 17) (i32.const 2080) (i32.const 1) (i32.const 2048) (i32.const 4)
      (i32.const 3072))
    (i32.load8_u (i32.const 3072)))
  (func $split (param $permit i32) (result i32)
    (call $do_split (local.get $permit) (i32.const 2069) (i32.const 3)))
  (func $ok (param i32 i32) (result i32)
    (i32.store (i32.const 1032) (local.get 0)) (i32.store (i32.const 1036) (local.get 1))
    (i32.const 1024))
  (func (export "call") (param $at i32) (param $len i32) (param $permit i32) (result i32) {call})
  (func (export "probe") (param i32 i32 i32 i32) (result i32)
    (drop (call $send (i32.const 1))) (i32.const 1024))
  (func (export "describe") (result i32) (i32.const 512)))
(core instance $m (instantiate $M
  (with "libc" (instance $libc))
  (with "effects" (instance (export "perform" (func $perform)) (export "split" (func $split))))))
(func $call (param "input" string) (param "permit" (own $permit))
  (result (result string (error $tool_error)))
  (canon lift (core func $m "call") (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
(func $probe (param "input" string) (param "key" string)
  (result (result $finding (error $tool_error)))
  (canon lift (core func $m "probe") (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
(func $describe (result $contract) (canon lift (core func $m "describe") (memory (core memory $libc "memory"))))
(instance $tool (export "call" (func $call)) (export "probe" (func $probe)))
(export "stoplog:tool/external-tool@0.1.0" (instance $tool))
(instance $about (export "describe" (func $describe)))
(export "stoplog:tool/about@0.1.0" (instance $about)))"#
    ))
}

/// The body of a `describe` that gives an empty contract: zeros.
pub(crate) const EMPTY: &str = "(i32.const 512)";
/// The body of a `call` that gives its input back.
pub(crate) const ECHO: &str = "(call $ok (local.get $at) (local.get $len))";
