"""What a tool in Python needs: fields, errors, permits, and a decorator for each class.

Not part of your tool: `stoplog tool new` wrote it. Fields and contract are checked while the
component is built, so a field without a disclosure or a key that names no field is an error of the
build, not of a call. Outside a component all of it can be imported, for unit tests.
"""

import contextlib
import dataclasses
import io
import json
import sys
import traceback
import types
import typing

try:  # Inside a component: what the contract brings. Its name depends on the world.
    from wit_world.imports import context
    from componentize_py_types import Err

    try:
        from wit_world.imports import stoplog_tool_types as wit
    except ImportError:
        from wit_world.imports import types as wit
    try:
        from wit_world.imports import effects
    except ImportError:
        effects = None
except ImportError:
    context = effects = wit = None
    Err = Exception

CODES = (
    "invalid-input not-found permission precondition conflict rate-limited transient upstream internal"
).split()


class ToolError(Exception):
    """A failed call, for the model to read: `raise ToolError("not-found", "no order 4711")`.

    `code` is one of CODES, `message` says what happened, to what, without secrets. `aftermath` says
    whether something changed outside: untouched, changed, unknown.
    """

    def __init__(self, code, message, *, hint=None, retry_after_ms=None, aftermath="untouched"):
        super().__init__(message)
        if code not in CODES:
            raise ValueError(f"{code!r} is none of {', '.join(CODES)}")
        self.code, self.message, self.hint = code, message, hint
        self.retry_after_ms, self.aftermath = retry_after_ms, aftermath


def log(message, level="info"):
    """Writes to the call's log: debug, info, warn or error."""
    if context is not None:
        context.log(context.Level[level.upper()], str(message))


def annotate(name, value):
    """Puts a name and a value on the call's span. Traces show it if the tool lists the name, as in
    `@read(..., annotations=["region"])`, and hide it if not."""
    if context is not None:
        context.annotate(name, str(value))


@contextlib.contextmanager
def span(name):
    """A part of the call, as a span of its own, which the host times: `with span("lookup") as put: ...`.

    Traces show its name if the tool lists it, as in `@read(..., spans=["lookup"])`. It takes
    annotations: `put("rows", 3)`.
    """
    if context is None:
        yield lambda name, value: None
        return
    part = context.Span(name)
    try:
        yield lambda name, value: part.annotate(name, str(value))
    finally:
        part.end()


class _Log(io.TextIOBase):
    """Where `print` writes in class 0, whose component has no standard output."""

    _line = ""

    def write(self, text):
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            log(line)
        return len(text)


def secret(name):
    """The placeholder that the host replaces by the secret's value on the way out."""
    return "{{secret:" + name + "}}"


# ---- Fields: `amount_cents: int = audit("How much, in cents.", minimum=0)` in a dataclass


def audit(description, **more) -> typing.Any:
    """A field that is seen everywhere: ids and amounts that people on call need.

    `identifier="order_id"` says what the field names, `default=None` that it may be left out; all
    else is a keyword of JSON Schema.
    """
    return _field("audit", description, more)


def personal(description, **more) -> typing.Any:
    """A field for the model and who approves; hidden in traces, lists and exports."""
    return _field("personal", description, more)


def hidden(description, **more) -> typing.Any:
    """As personal, and hidden from who approves too."""
    return _field("secret", description, more)


def _field(disclosure, description, more):
    default = more.pop("default", dataclasses.MISSING)
    keywords = {"description": description, "x-disclosure": disclosure}
    if "identifier" in more:
        keywords["x-identifier"] = more.pop("identifier")
    return dataclasses.field(default=default, metadata={"schema": keywords | more})


_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean"}


def _type_schema(kind):
    """The schema of a type: plain types, Literal, list, dataclasses, and `| None` of those."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if dataclasses.is_dataclass(kind):
        return _object_schema(kind)
    if origin is typing.Literal:
        return {"type": "string", "enum": list(args)}
    if origin is list:
        return {"type": "array", "items": _type_schema(args[0])}
    if origin in (typing.Union, types.UnionType) and len(args) == 2 and type(None) in args:
        schema = _type_schema(next(a for a in args if a is not type(None)))
        return schema | {"type": [schema["type"], "null"]}
    raise TypeError(f"{kind} cannot be a field: use str, int, float, bool, Literal, list or a dataclass")


def _object_schema(cls):
    hints = typing.get_type_hints(cls)
    properties, required = {}, []
    for field in dataclasses.fields(cls):
        if "schema" not in field.metadata:
            raise TypeError(f'{cls.__name__}.{field.name}: say who may see it, as audit("...")')
        properties[field.name] = _type_schema(hints[field.name]) | field.metadata["schema"]
        if field.default is dataclasses.MISSING:
            required.append(field.name)
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _read(kind, value):
    """JSON as a value of this type. The host has checked it against the schema."""
    if value is None:
        return None
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{name: _read(hints[name], part) for name, part in value.items()})
    args = [a for a in typing.get_args(kind) if a is not type(None)]
    if typing.get_origin(kind) is list:
        return [_read(args[0], item) for item in value]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return _read(args[0], value)
    return value


def to_json(value):
    """A dataclass as JSON text, without the fields that are None."""
    return json.dumps(_plain(value), ensure_ascii=False)


def _plain(value):
    if dataclasses.is_dataclass(value):
        parts = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: _plain(part) for name, part in parts if part is not None}
    return [_plain(item) for item in value] if isinstance(value, list) else value


# ---- Answers and permits


_STATUS = {
    400: "invalid-input", 422: "invalid-input", 401: "permission", 403: "permission",
    404: "not-found", 410: "not-found", 409: "conflict", 423: "conflict", 412: "precondition",
    428: "precondition", 408: "transient", 425: "transient", 429: "rate-limited",
}  # fmt: skip


def _of_status(line, status, headers, effect):
    """A bad status as the error that the model can act on."""
    refused = 400 <= status < 500 and status != 408
    wait = headers.get("retry-after") or ""
    return ToolError(
        _STATUS.get(status, "upstream"),
        f"{line} answered {status}",
        retry_after_ms=int(wait) * 1000 if wait.isdigit() else None,
        aftermath="unknown" if effect and not refused else "untouched",
    )


class Response:
    """The answer to an effect, whatever its status."""

    def __init__(self, line, answer):
        self.line, self.status_code, self.content = line, answer.status, bytes(answer.body)
        self.headers = dict(answer.headers)

    def raise_for_status(self):
        """Itself if the status is 2xx; else raises what the model can act on."""
        if 200 <= self.status_code < 300:
            return self
        raise _of_status(self.line, self.status_code, self.headers, effect=True)

    def json(self):
        try:
            return json.loads(self.content)
        except ValueError:
            # Not the parser's words, which quote the body: it may hold personal data.
            message = f"{self.line} answered {self.status_code} with a body that is not JSON"
            raise ToolError("upstream", message, aftermath="unknown") from None


class Permit:
    """The right to change the outside world once.

    A plain client that posts works too: the host gives it a key of its own, from method, path and
    count. A permit is better: one effect has the key of the act itself, and what `probe` finds
    under it can stand for the call.
    """

    def __init__(self, permit):
        self._permit = permit

    @property
    def key(self):
        """The idempotency key that the host sends."""
        return self._permit.key()

    def split(self, label):
        """The right to one more effect, under this key with `.label` behind it. Before any send."""
        return Permit(self._permit.split(label))

    def post(self, url, **more):
        return self.send("POST", url, **more)

    def put(self, url, **more):
        return self.send("PUT", url, **more)

    def patch(self, url, **more):
        return self.send("PATCH", url, **more)

    def delete(self, url, **more):
        return self.send("DELETE", url, **more)

    def send(self, method, url, *, json=None, data=b"", headers=None):
        """Sends the request: the host checks it, writes it down, adds the key, sends it, and
        writes down the outcome. Returns the answer whatever its status."""
        line = f"{method} {url.split('?')[0]}"
        pairs = list((headers or {}).items())
        if json is not None:
            pairs.append(("content-type", "application/json"))
            data = to_json(json)
        body = data.encode() if isinstance(data, str) else data
        try:
            answer = effects.perform(self._permit, effects.Request(method, url, pairs, body))
        except Err as error:
            raise _unsent(line, error.value) from None
        return Response(line, answer)


def _unsent(line, why):
    """What the host says when there is no answer."""
    if isinstance(why, effects.EffectError_Denied):
        return ToolError("permission", f"the host did not let {line} out: {why.value}")
    if isinstance(why, effects.EffectError_NotSent):
        return ToolError("transient", f"{line} did not leave: {why.value}")
    return ToolError("transient", f"{line} got no answer: {why.value}", aftermath="unknown")


class Unknown:
    """What `probe` answers when the far side cannot be asked."""


def found(outputs):
    """What `probe` answers for the outputs that it found under a key: none, one, or several."""
    return list(outputs)


# ---- Classes


def pure(**facts):
    """Class 0: computes, and reaches nothing."""
    if context is not None:
        sys.stdout = sys.stderr = _Log()
    return _tool(facts)


def read(*, egress, **facts):
    """Class 1: looks, and changes nothing."""
    return _tool(facts | {"egress": egress})


def reversible(*, key, probe, undo, **facts):
    """Class 2: changes what can be changed back."""
    return _tool(facts | {"key": key}, probe=probe, undo=undo)


def external(*, key, probe, **facts):
    """Class 3: changes something at someone else's."""
    return _tool(facts | {"key": key}, probe=probe)


def irreversible(*, key, probe, preview, **facts):
    """Class 4: changes what cannot be changed back."""
    return _tool(facts | {"key": key}, probe=probe, preview=preview)


_THE_TOOL = None


def _tool(facts, **owed):
    def mark(call):
        global _THE_TOOL
        _THE_TOOL = _Tool(call, facts, owed)
        return call

    return mark


class _Tool:
    """The one tool of this component: its contract, and its functions over JSON."""

    def __init__(self, call, facts, owed):
        hints = typing.get_type_hints(call)
        self.output = hints.pop("return")
        self.input = next(iter(hints.values()))
        self.functions = owed | {"call": call}
        self.contract = {
            "name": call.__name__,
            "version": "0.1.0",
            "description": " ".join((call.__doc__ or "").split()),
            "input_schema": json.dumps(_object_schema(self.input)),
            "output_schema": json.dumps(_object_schema(self.output)),
            "keeps_keys": False,
            "settles_within_ms": 0,
            "timeout_ms": 10_000,
            "egress": [],
            "secrets": [],
        }
        lists = ("claims", "annotations", "spans")
        shown = {f"x-{name}": facts.pop(name) for name in lists if name in facts}
        if shown:
            self.contract["output_schema"] = json.dumps(_object_schema(self.output) | shown)
        template, scope = facts.pop("key", None), facts.pop("scope", "session")
        unknown = facts.keys() - self.contract.keys()
        if unknown:
            raise TypeError(f"a tool has no {', '.join(sorted(unknown))}")
        self.contract |= facts
        self.contract["key"] = wit and template and wit.KeyRule(template, wit.KeyScope[scope.upper()])

    def run(self, name, input, *rest):
        """Runs one of the functions. A `ToolError` is told as it is, and so is the failure of an
        HTTP client. Any other exception is a mistake in the tool: a class that changes nothing says
        so; in one that writes it traps, and the host goes by what passed its gate."""
        try:
            return self.functions[name](_read(self.input, json.loads(input)), *rest)
        except Exception as error:
            told = error if isinstance(error, ToolError) else _of_client(error)
            if told is not error:
                log("".join(traceback.format_exception(error)), "error")
            if told is None:
                if self.contract["key"] is not None:
                    raise
                told = ToolError("internal", f"{type(error).__name__}: {error}")
            raise Err(_told(told)) from None


def _of_client(error):
    """The failure of an HTTP client such as niquests, or nothing."""
    request = getattr(error, "request", None)
    line = f"{request.method} {(request.url or '').split('?')[0]}" if request else "a request"
    response = getattr(error, "response", None)
    if response is not None:
        return _of_status(line, response.status_code, response.headers, effect=False)
    # niquests lets errors of the urllib3 in it through.
    package = type(error).__module__.partition(".")[0]
    if isinstance(error, OSError) or package in ("urllib3", "urllib3_future"):
        return ToolError("transient", f"{line} got no answer: {type(error).__name__}")
    return None


def _told(error):
    return wit.ToolError(
        wit.ErrorCode[error.code.upper().replace("-", "_")],
        error.message,
        error.hint,
        error.retry_after_ms,
        wit.Aftermath[error.aftermath.upper()],
    )


# ---- What the component exports: `component.py` names these


class About:
    def describe(self):
        return wit.Contract(**_THE_TOOL.contract)


class PureTool:
    def call(self, input):
        return to_json(_THE_TOOL.run("call", input))


class ReadTool(PureTool):
    pass


class ExternalTool:
    def call(self, input, permit):
        return to_json(_THE_TOOL.run("call", input, Permit(permit)))

    def probe(self, input, key):
        outputs = _THE_TOOL.run("probe", input, key)
        if isinstance(outputs, list):
            if len(outputs) > 1:
                return wit.Finding_Several(len(outputs))
            return wit.Finding_Once(to_json(outputs[0])) if outputs else wit.Finding_Absent()
        return wit.Finding_Unknown()


class ReversibleTool(ExternalTool):
    def undo(self, input, output, permit):
        known = _read(_THE_TOOL.output, json.loads(output)) if output else None
        return _THE_TOOL.run("undo", input, known, Permit(permit))


class IrreversibleTool(ExternalTool):
    def preview(self, input):
        return _THE_TOOL.run("preview", input)
