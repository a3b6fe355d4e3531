"""AuthorizationPolicy."""

from __future__ import annotations

from sources.istio_authorization_policy import ACTIONS, KIND, MAX_RULES
from sources.istio_authorization_rule import MAX_VALUES
from sources.istio_conditions import KEYS, UNDONE, UNDONE_BEGIN
from sources.schemas.definition import Column, Definition
from sources.schemas.parts import Schema, choice, items, kept_record, text, unbuilt
from sources.schemas.shared import selector, targets

_KEY = "".join(
    (
        "^(",
        "|".join(name.replace(".", r"\.") for name in (*KEYS, *UNDONE)),
        r"|request\.headers\[(?s:.)*\]|(",
        "|".join(begin.replace(".", r"\.") for begin in UNDONE_BEGIN),
        r")(?s:.)*)$",
    )
)
_VALUES = items(text(least=1), least=1, most=MAX_VALUES)
_PORTS = items(text(pattern="^[0-9]{1,5}$"), least=1, most=MAX_VALUES)
_UNBUILT = unbuilt(items(text(), most=MAX_VALUES))


def _spec() -> Schema:
    return kept_record(
        {
            "selector": selector(),
            **targets(),
            "action": choice(ACTIONS),
            "provider": unbuilt(kept_record({"name": text()})),
            "rules": items(_rule(), most=MAX_RULES),
        }
    )


def _rule() -> Schema:
    source = kept_record(
        {
            **_both("principals", _VALUES),
            **_both("requestPrincipals", _UNBUILT),
            **_both("namespaces", _VALUES),
            **_both("serviceAccounts", _VALUES),
            **_both("ipBlocks", _VALUES),
            **_both("remoteIpBlocks", _UNBUILT),
            **_both("trustDomains", _UNBUILT),
        },
        least=1,
    )
    operation = kept_record(
        {
            **_both("hosts", _VALUES),
            **_both("ports", _PORTS),
            **_both("methods", _VALUES),
            **_both("paths", _VALUES),
        },
        least=1,
    )
    when = kept_record({"key": text(pattern=_KEY), **_both("values", _VALUES)}, required=["key"])
    return kept_record(
        {
            "from": items(kept_record({"source": source}, required=["source"]), least=1, most=MAX_VALUES),
            "to": items(kept_record({"operation": operation}, required=["operation"]), least=1, most=MAX_VALUES),
            "when": items(
                {**when, "anyOf": [{"required": ["values"]}, {"required": ["notValues"]}]}, least=1, most=MAX_VALUES
            ),
        }
    )


def _both(name: str, schema: Schema) -> dict[str, Schema]:
    """A field and its `not` twin."""
    return {name: schema, f"not{name[0].upper()}{name[1:]}": schema}


DEFINITION = Definition(
    group=KIND.group,
    versions=KIND.versions,
    kind=KIND.kind,
    plural="authorizationpolicies",
    short="ap",
    description="Who may call workloads, and what of them.",
    spec=_spec(),
    needs_spec=False,
    columns=(Column(name="Action", path=".spec.action", description="ALLOW where nothing is said."),),
)
