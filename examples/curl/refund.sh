#!/bin/sh
# Refunds over plain HTTP, with curl: one that needs nobody, asked for twice, and one that waits for a person.
# `expected.txt` is what it prints.
set -eu

url="${STOPLOG_URL:-http://127.0.0.1:8080}"
keys="${STOPLOG_KEYS:-$(dirname "$0")/../../target/nimbus-pay}"

say() { printf '\n# %s\n' "$*"; }

# call AS KEY TOOL ARGUMENTS: prints the status, what the host says of the call, and the output.
call() {
    curl --silent --show-error --write-out '\n%{http_code}\n' \
        --header "Authorization: Bearer $(cat "$keys/$1.key")" --header "Idempotency-Key: $2" \
        --data "{\"arguments\": $4}" "$url/tools/$3/call" | tell
}

# ask AS METHOD PATH [BODY]
ask() {
    curl --silent --show-error --write-out '\n%{http_code}\n' --request "$2" \
        --header "Authorization: Bearer $(cat "$keys/$1.key")" ${4:+--data "$4"} "$url$3" | tell
}

# Of an answer what does not differ from one time to the next. The whole of it goes to standard error.
tell() {
    python3 -c '
import json, sys
body, status = sys.stdin.read().rstrip().rsplit("\n", 1)
told = json.loads(body)
print(body, file=sys.stderr)
shown = {n: told[n] for n in ("disposition", "status", "reason", "approval", "verdict") if n in told}
shown = {n: v for n, v in shown.items() if n != "approval" and v != int(status)}
print(status, json.dumps(shown))
if "approval" in told:
    open("/tmp/stoplog-approval-%s" % sys.argv[1], "w").write(told["approval"])
' "$$"
}

refund='{"order_id": "448100", "amount_inr": 6400, "reason": "delay"}'
large='{"order_id": "448200", "amount_inr": 72000, "reason": "delay"}'

say "Priya's refund"
call agent priya-1 issue_refund "$refund"
say "The same request once more: it is told what came of the first one"
call agent priya-1 issue_refund "$refund"
say "The same act under another key: it was done, and is not done again"
call agent priya-2 issue_refund "$refund"
say "The same key for something else"
call agent priya-1 issue_refund "$large"

say "Suresh's refund: above the limit, so a person has to agree"
call agent suresh-1 issue_refund "$large"
approval="$(cat "/tmp/stoplog-approval-$$")"
rm -f "/tmp/stoplog-approval-$$"
say "Who asks may not agree"
ask agent POST "/approvals/$approval/approve" '{}'
say "Meera may"
ask approver POST "/approvals/$approval/approve" '{"note": "late by nine days"}'
say "The repeated request is told what came of it"
until call agent suresh-1 issue_refund "$large" | tee "/tmp/stoplog-answer-$$" | grep -q '^200'; do sleep 1; done
cat "/tmp/stoplog-answer-$$"
rm -f "/tmp/stoplog-answer-$$"
