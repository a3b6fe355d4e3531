"""One rule of an AuthorizationPolicy: `from`, `to` and `when`."""

from __future__ import annotations

from collections.abc import Callable

from model.matching import Exact, StringMatch, policy_match
from model.policies import AddressSet, Condition, Either, Operation, PortSet, Rule, Source
from model.problem_codes import ProblemCode
from model.problems import Severity
from sources.bounded import checked_texts, listed_texts
from sources.fields import Fields
from sources.istio_conditions import CONDITION_FIX, Undone, check_key, check_value, to_account, to_cidr, to_port
from sources.path_template import check_path_template, is_template

MAX_VALUES = 1000

_SCHEME = "spiffe://"
_TEMPLATE_FIX = (
    "Write it like /users/{*}/orders or /static/{**}: whole segments, {**} at most once and after every {*}."
)
_UNDONE_SOURCES = (
    "requestPrincipals",
    "notRequestPrincipals",
    "remoteIpBlocks",
    "notRemoteIpBlocks",
    "trustDomains",
    "notTrustDomains",
)


def parse_rule(fields: Fields, namespace: str) -> Rule:
    """One entry of `rules`; `{}` matches everything. Finishes `fields`.

    What Heddle does not do is no problem here: the rule names it in `undone`, and `check_policies` tells of it.
    """
    for name in ("from", "to", "when"):
        _not_empty(fields, name)
    sources = []
    undone = []
    for index, entry in enumerate(fields.each("from")):
        inner = entry.child("source") if entry.required("source") else None
        if inner is not None:
            undone += [f"from[{index}].source.{name}" for name in _UNDONE_SOURCES if inner.node(name) is not None]
            sources.append(_source(inner, namespace))
        entry.finish()
    operations = []
    for entry in fields.each("to"):
        inner = entry.child("operation") if entry.required("operation") else None
        if inner is not None:
            operations.append(_operation(inner))
        entry.finish()
    conditions = []
    for index, entry in enumerate(fields.each("when")):
        condition = _condition(entry, namespace)
        if condition is None:
            undone.append(f"when[{index}].key")
        else:
            conditions.append(condition)
    for misplaced in ("source", "operation"):
        if fields.node(misplaced) is not None:
            outer = {"source": "from", "operation": "to"}[misplaced]
            fix = f"Write {outer}: [{{{misplaced}: ...}}]."
            fields.problem(ProblemCode.MISPLACED_FIELD, f"{misplaced} stands outside {outer}", fix, field=misplaced)
    fields.finish()
    return Rule(
        sources=tuple(sources), operations=tuple(operations), conditions=tuple(conditions), undone=tuple(undone)
    )


def _source(fields: Fields, namespace: str) -> Source:
    _says_something(fields, "source", "anyone")

    def account(text: str) -> StringMatch:
        return Exact(value=to_account(text, namespace))

    accounts = _either(fields, "serviceAccounts", "notServiceAccounts", account)
    for name in ("principals", "namespaces"):
        if fields.has("serviceAccounts") and fields.has(name):
            message = f"serviceAccounts and {name} exclude each other"
            fix = f"Remove {name}: a service account says its namespace."
            fields.problem(ProblemCode.CONFLICTING_FIELDS, message, fix, field=name)
    found = Source(
        principals=_either(fields, "principals", "notPrincipals", _principal),
        namespaces=_either(fields, "namespaces", "notNamespaces", _pattern),
        service_accounts=accounts,
        ip_blocks=_addresses(fields),
    )
    fields.finish()
    return found


def _operation(fields: Fields) -> Operation:
    _says_something(fields, "operation", "anything")
    paths, templates = _paths(fields, "paths")
    not_paths, not_templates = _paths(fields, "notPaths")
    methods = _either(fields, "methods", "notMethods", _pattern)
    for match in (*methods.any_of, *methods.none_of):
        if isinstance(match, Exact) and match.value != match.value.upper():
            message = f"methods are in upper case, {match.value!r} is not"
            fix = f"Write {match.value.upper()}."
            fields.problem(ProblemCode.NEVER_MATCHES, message, fix, field="methods", severity=Severity.WARNING)
    found = Operation(
        hosts=_either(fields, "hosts", "notHosts", _pattern),
        methods=methods,
        paths=Either(any_of=paths, none_of=not_paths),
        path_templates=templates,
        not_path_templates=not_templates,
        ports=_ports(fields),
    )
    fields.finish()
    return found


def _paths(fields: Fields, name: str) -> tuple[tuple[StringMatch, ...], tuple[str, ...]]:
    _not_empty(fields, name)
    matches, templates = [], []
    for index, text in listed_texts(fields, name):
        field = f"{name}[{index}]"
        try:
            if is_template(text):
                templates.append(check_path_template(text))
                continue
            match = _pattern(text)
        except ValueError as error:
            code = ProblemCode.INVALID_PATH_TEMPLATE if is_template(text) else ProblemCode.INVALID_VALUE
            fix = _TEMPLATE_FIX if is_template(text) else "Write a path, or one with '*' at one end."
            fields.problem(code, f"{field}: {error}", fix, field=field)
            continue
        if not text.startswith(("/", "*")):
            message = f"a path begins with '/', {text!r} does not"
            fix = "Put '/' before it."
            fields.problem(ProblemCode.NEVER_MATCHES, message, fix, field=field, severity=Severity.WARNING)
        elif "*" in text[1:-1]:
            message = f"the '*' inside {text!r} is read as the character itself"
            fix = "Use '{*}' for one segment, or '*' at one end only."
            fields.problem(ProblemCode.NEVER_MATCHES, message, fix, field=field, severity=Severity.WARNING)
        matches.append(match)
    return tuple(matches), tuple(templates)


def _ports(fields: Fields) -> PortSet:
    _not_empty(fields, "ports", "notPorts")
    fix = "Use a number from 1 to 65535, in quotes."
    return PortSet(
        any_of=checked_texts(fields, "ports", to_port, fix=fix),
        none_of=checked_texts(fields, "notPorts", to_port, fix=fix),
    )


def _addresses(fields: Fields) -> AddressSet:
    _not_empty(fields, "ipBlocks", "notIpBlocks")
    fix = "Write an address or a block such as 10.0.0.0/8."
    return AddressSet(
        any_of=checked_texts(fields, "ipBlocks", to_cidr, fix=fix),
        none_of=checked_texts(fields, "notIpBlocks", to_cidr, fix=fix),
    )


def _condition(fields: Fields, namespace: str) -> Condition | None:
    """None if its key is one of those that are not implemented."""
    key = fields.required_text("key")
    undone = False
    if key:
        try:
            key = check_key(key)
        except Undone:
            undone = True
        except ValueError as error:
            fields.problem(ProblemCode.INVALID_VALUE, f"key: {error}", CONDITION_FIX, field="key")
    _not_empty(fields, "values", "notValues")
    if not fields.has("values") and not fields.has("notValues"):
        fix = "Add values or notValues."
        fields.problem(ProblemCode.MISSING_FIELD, "a condition without values matches nothing", fix, field="values")

    def check(text: str) -> str:
        return check_value(key, text, namespace)

    found = Condition(
        key=key,
        values=checked_texts(fields, "values", check, fix="Write a value that the key can have."),
        not_values=checked_texts(fields, "notValues", check, fix="Write a value that the key can have."),
    )
    fields.finish()
    return None if undone else found


def _either(fields: Fields, name: str, negated: str, check: Callable[[str], StringMatch]) -> Either:
    _not_empty(fields, name, negated)
    fix = "Write a value, or one with '*' at one end; '*' alone is any."
    return Either(
        any_of=checked_texts(fields, name, check, fix=fix), none_of=checked_texts(fields, negated, check, fix=fix)
    )


def _pattern(text: str) -> StringMatch:
    if not text or not text.isprintable():
        raise ValueError(f"{text[:80]!r} can match nothing")
    return policy_match(text)


def _principal(text: str) -> StringMatch:
    if text.startswith(_SCHEME):
        raise ValueError(f"{text[:80]!r}: a principal is written without {_SCHEME}")
    return _pattern(text)


def _says_something(fields: Fields, name: str, who: str) -> None:
    if not fields.names():
        fix = f"Add a field, or remove the entry if {who} is meant."
        fields.problem(ProblemCode.MISSING_FIELD, f"{name} is empty: it would match {who}", fix)


def _not_empty(fields: Fields, *names: str) -> None:
    """An empty list would match everything where its author meant nothing."""
    for name in names:
        node = fields.node(name)
        if node is None:
            continue
        if node.value == ():
            fix = f"Add an entry, or remove {name}."
            fields.problem(ProblemCode.MISSING_FIELD, f"{name} is an empty list", fix, field=name)
        elif isinstance(node.value, tuple) and len(node.value) > MAX_VALUES:
            message = f"{name} has {len(node.value)} entries, more than {MAX_VALUES}"
            fields.problem(ProblemCode.TOO_LARGE, message, "Use a prefix, or several policies.", field=name)
