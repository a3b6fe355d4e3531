"""AuthorizationPolicies of which not everything can be enforced: what is, and what is said of it (ADR 11)."""

from __future__ import annotations

import pytest

from model.policies import Action, AuthorizationPolicy
from model.problems import Problem, Severity
from sources.manifests import parse_value
from sources.store import Store

HEAD = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
NAMED = HEAD + "metadata: {name: p, namespace: shop}\n"
GOOD = NAMED + "spec: {selector: {matchLabels: {app: users}}, rules: [{}]}\n"
USERS = "selector: {matchLabels: {app: users}}"
TYPO = NAMED + f"spec: {{{USERS}, rules: [{{form: []}}]}}\n"
DENY_TYPO = NAMED + f"spec: {{action: DENY, {USERS}, rules: [{{form: []}}]}}\n"


def put(store: Store, **files: str | None) -> bool:
    return store.replace_files(
        {f"{name}.yaml": None if text is None else text.encode() for name, text in files.items()}
    )


def errors(store: Store) -> list[Problem]:
    return [problem for problem in store.problems if problem.severity is Severity.ERROR]


def in_force(store: Store) -> AuthorizationPolicy | None:
    found = [policy for policies in store.mesh.authorization_policies.values() for policy in policies]
    assert len(found) <= 1
    return found[0] if found else None


def only(store: Store) -> AuthorizationPolicy:
    found = in_force(store)
    assert found is not None
    return found


UNDONE = NAMED + f"spec: {{{USERS}, %srules: [{{}}, {{when: [{{key: 'request.auth.claims[a]', values: [b]}}]}}]}}\n"


@pytest.mark.parametrize("before", [None, GOOD, NAMED + "spec: {action: DENY}\n"], ids=["first", "update", "other"])
@pytest.mark.parametrize(
    ("action", "effect"),
    [("", "nobody is admitted by this rule"), ("action: DENY, ", "this rule is enforced without it and denies more")],
)
def test_what_is_not_implemented_is_applied_safely_whatever_was_before(
    action: str, effect: str, before: str | None
) -> None:
    store = Store()
    put(store, a=before)
    put(store, a=UNDONE % action)
    assert only(store).selector == {"app": "users"}
    assert only(store).action is (Action.DENY if action else Action.ALLOW)
    assert [rule.undone for rule in only(store).rules] == [(), ("when[0].key",)]
    (problem,) = errors(store)
    assert (problem.code, problem.field) == ("HalfAppliedPolicy", "spec.rules[1].when[0].key")
    assert str(problem.position) == "a.yaml:4"
    assert problem.message.startswith("the key request.auth.claims[a] is not implemented yet; until it is, ")
    assert effect in problem.message
    put(store, a=GOOD)
    assert errors(store) == []


def test_the_first_version_that_cannot_be_read_admits_nobody() -> None:
    store = Store()
    put(store, a=TYPO)
    policy = only(store)
    assert (policy.selector, policy.action, policy.rules) == ({"app": "users"}, Action.ALLOW, ())
    (problem,) = errors(store)
    assert problem.message.endswith(
        "no good version of the object is known, so it admits nobody to pods with app=users in namespace shop; "
        "only another ALLOW policy can"
    )


def test_a_later_version_that_cannot_be_read_leaves_the_last_good() -> None:
    store = Store()
    put(store, a=GOOD)
    before = only(store)
    put(store, a=TYPO)
    assert only(store) is before
    (problem,) = errors(store)
    assert problem.message.endswith("; the object's last good version stays in force")


def test_a_refusal_is_no_last_good_version() -> None:
    store = Store()
    put(store, a=TYPO)
    refusal = only(store)
    put(store, a=TYPO + "# still wrong\n")
    assert only(store) is refusal
    put(store, a=TYPO.replace("app: users", "app: web"))
    assert only(store).selector == {"app": "web"}
    put(store, a=TYPO.replace("matchLabels", "matchLabel"))
    assert only(store).selector == {"app": "web"}
    assert all("nobody to pods with app=web in namespace shop" in problem.message for problem in errors(store))
    put(store, a=GOOD)
    assert len(only(store).rules) == 1
    assert errors(store) == []
    put(store, a=None)
    assert in_force(store) is None


def test_a_policy_for_all_says_so() -> None:
    store = Store()
    put(store, a=TYPO.replace(USERS + ", ", ""))
    assert "admits nobody to any pod in namespace shop;" in errors(store)[0].message
    root = Store()
    put(root, a=TYPO.replace(USERS + ", ", "").replace("namespace: shop", "namespace: istio-system"))
    assert "admits nobody to any pod in the mesh;" in errors(root)[0].message


@pytest.mark.parametrize(
    "text",
    [
        NAMED + f"spec: {{{USERS}, rule: [{{}}]}}\n",
        NAMED + "spec: {rule: [{}]}\n",
        NAMED + f"spec: {{{USERS}, priority: 1, rules: [{{}}]}}\n",
        NAMED + f"spec: {{{USERS}, action: ALLOW, acton: DENY}}\n",
        NAMED + f"spec: {{{USERS}, rules: 5}}\n",
        NAMED + f"spec: {{{USERS}, provider: {{name: a}}}}\n",
        NAMED + f"spec: {{{USERS}, from: []}}\n",
        NAMED + f"spec: {{{USERS}, rules: [{{to: [], to: []}}]}}\n",
        NAMED + f"extra: 1\nspec: {{{USERS}}}\n",
        NAMED.replace("/v1", "/v9") + f"spec: {{{USERS}}}\n",
    ],
)
def test_certain_to_allow_and_for_whom(text: str) -> None:
    store = Store()
    put(store, a=text)
    assert errors(store)
    assert only(store).rules == ()
    assert all("admits nobody to" in problem.message for problem in errors(store))


@pytest.mark.parametrize(
    "text",
    [
        DENY_TYPO,
        NAMED + f"spec: {{{USERS}, acton: DENY, rules: [{{}}]}}\n",
        NAMED + f"spec: {{{USERS}, Action: DENY, rules: [{{}}]}}\n",
        NAMED + f"spec: {{{USERS}, action: deny, rules: [{{}}]}}\n",
        NAMED + f"spec: {{{USERS}, action: !secret DENY}}\n",
        NAMED + f"spec: {{{USERS}, action: CUSTOM}}\n",
        NAMED + f"spec: {{{USERS}, action: AUDIT}}\n",
        NAMED + "spec: {selectors: {matchLabels: {app: users}}}\n",
        NAMED + "spec: {matchLabels: {app: users}}\n",
        NAMED + "spec: {selector: {app: users}}\n",
        NAMED + "spec: {selector: {matchLabel: {app: users}}}\n",
        NAMED + "spec: {selector: {matchLabels: {app: !x users, version: v1}}}\n",
        NAMED + "spec: {selector: {matchLabels: {app: users}, matchExpressions: []}}\n",
        NAMED + "spec: {selector: [users]}\n",
        NAMED + "spec: {targetRefs: [{kind: Gateway, name: a}]}\n",
        NAMED + "specs: {}\n",
        NAMED + "spec: []\n",
        HEAD + f"metadata: {{name: p, namspace: shop}}\nspec: {{{USERS}}}\n",
        HEAD + f"metadata: {{name: p, namespace: Shop}}\nspec: {{{USERS}}}\n",
        HEAD + "metadata: {name: p, namespace: shop, annotations: {istio.io/dry-run: 'true'}}\nspec: {rules: 1}\n",
    ],
)
def test_in_doubt_about_what_or_for_whom_it_protects_nothing_and_says_so(text: str) -> None:
    store = Store()
    put(store, a=text)
    assert in_force(store) is None
    assert errors(store)
    assert all(problem.message.endswith("so it protects nothing") for problem in errors(store))


def test_a_good_version_elsewhere_is_before_a_refusal() -> None:
    store = Store()
    put(store, a=TYPO)
    put(store, b=GOOD)
    assert len(only(store).rules) == 1
    assert {problem.code for problem in errors(store)} == {"UnknownField", "DuplicateObject"}
    assert not any("admits nobody" in problem.message for problem in errors(store))
    put(store, b=None)
    assert only(store).rules == ()
    both = Store()
    put(both, a=TYPO, b=GOOD)
    assert len(only(both).rules) == 1


def test_what_comes_as_json_is_refused_alike() -> None:
    metadata = {"name": "p", "namespace": "shop"}
    head = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata}
    selector = {"matchLabels": {"app": "users"}}
    (found,) = parse_value("api", {**head, "spec": {"selector": selector, "rules": 1}}).stand_ins
    assert isinstance(found.value, AuthorizationPolicy)
    assert found.value.selector == {"app": "users"}
    deep: object = "x"
    for _ in range(100):
        deep = [deep]
    parsed = parse_value("api", {**head, "spec": {"selector": selector, "rules": deep}})
    assert (parsed.stand_ins, len(parsed.rejected)) == ((), 1)


RULE = """apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: p, namespace: shop}
spec: {host: users, trafficPolicy: {tls: {mode: SIMPLE%s}}}
"""


def test_what_is_not_implemented_elsewhere_says_what_is_in_force() -> None:
    store = Store()
    put(store, a=RULE % ", credentialName: a")
    (first,) = errors(store)
    assert (first.code, first.fix) == ("NotImplemented", "Remove credentialName.")
    assert first.message == "credentialName is not implemented yet; no version of the object is in force"
    assert not store.mesh.destination_rules
    put(store, a=RULE % "")
    assert errors(store) == []
    put(store, a=RULE % ", credentialName: a")
    (later,) = errors(store)
    assert later.message == "credentialName is not implemented yet; the object's last good version stays in force"
    assert store.mesh.destination_rules
