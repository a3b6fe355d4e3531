"""PeerAuthentications and AuthorizationPolicies: whom they are for, whom they name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from model.identity import DEFAULT_TRUST_DOMAIN, parse_spiffe_id
from model.matching import Exact, StringMatch
from model.pods import Pod
from model.policies import Action, AuthorizationPolicy, Operation, PeerAuthentication, Rule
from model.problem_codes import ProblemCode
from model.problems import ObjectRef, Problem, Severity
from model.services import Protocol, Service
from sources.inventory import Inventory
from sources.kinds import Object


def check_peer_authentication(entry: Object, inventory: Inventory) -> Iterator[Problem]:
    """The problems of one PeerAuthentication."""
    value = entry.value
    if not isinstance(value, PeerAuthentication):
        return
    yield from _check_selector(value.ref, value.selector, inventory)
    for other in inventory.mesh.peer_authentications.get(value.ref.namespace, ()):
        if other.ref == value.ref:
            return
        if other.selector == value.selector:
            whom = "the same selector" if value.selector else "the whole namespace as well"
            yield Problem(
                severity=Severity.ERROR,
                code=ProblemCode.CONFLICTING_POLICIES,
                message=f"{other.ref} is for {whom} and older, so it is in force and this object is not",
                fix=f"Remove this object or {other.ref}.",
                field="spec.selector" if value.selector else "",
            )
            return


def check_authorization_policy(entry: Object, inventory: Inventory) -> Iterator[Problem]:
    """The problems of one AuthorizationPolicy."""
    policy = entry.value
    if not isinstance(policy, AuthorizationPolicy):
        return
    yield from _check_selector(policy.ref, policy.selector, inventory)
    protocols = _protocols(policy, inventory)
    for index, rule in enumerate(policy.rules):
        path = f"spec.rules[{index}]"
        yield from (_undone(entry, policy.action, f"{path}.{inner}") for inner in rule.undone)
        yield from _check_names(rule, path, inventory)
        conditions = any(condition.key.startswith("request.") for condition in rule.conditions)
        for position, operation in enumerate(rule.operations or (Operation(),)):
            if not conditions and not _needs_http(operation):
                continue
            ports = _tcp_only(operation, protocols)
            if ports:
                inside = f"{path}.to[{position}].operation" if rule.operations else path
                yield _http_on_tcp(policy.action, ports, inside)


def _undone(entry: Object, action: Action, field: str) -> Problem:
    """What is enforced of a rule that asks for what is not implemented: see `translators/authorization.py`."""
    what = field.rpartition(".")[2]
    if what == "key":
        node = entry.find(field)
        what = f"the key {str(node.value)[:80]}" if node is not None else "the key"
    effect = {
        Action.ALLOW: "until it is, nobody is admitted by this rule",
        Action.DENY: "until it is, this rule is enforced without it and denies more than it says",
    }[action]
    return Problem(
        severity=Severity.ERROR,
        code=ProblemCode.HALF_APPLIED_POLICY,
        message=f"{what} is not implemented yet; {effect}",
        fix="Say the same in other words, or remove the rule.",
        field=field,
    )


def _check_selector(ref: ObjectRef, selector: Mapping[str, str], inventory: Inventory) -> Iterator[Problem]:
    if selector and not any(True for _ in inventory.pods_for_policy(ref.namespace, selector)):
        labels = ", ".join(f"{key}={value}" for key, value in selector.items())
        yield Problem(
            severity=Severity.WARNING,
            code=ProblemCode.UNUSED_SELECTOR,
            message=f"no pod in namespace {ref.namespace} has the labels {labels}",
            fix="Correct the labels, or add the workload they are for.",
            field="spec.selector.matchLabels",
        )


def _check_names(rule: Rule, path: str, inventory: Inventory) -> Iterator[Problem]:
    for index, source in enumerate(rule.sources):
        inside = f"{path}.from[{index}].source"
        for field, matches in (
            ("principals", source.principals.any_of),
            ("notPrincipals", source.principals.none_of),
        ):
            for position, text in _exact(matches):
                yield from _check_principal(text, f"{inside}.{field}[{position}]", inventory)
        for field, matches in (
            ("serviceAccounts", source.service_accounts.any_of),
            ("notServiceAccounts", source.service_accounts.none_of),
        ):
            for position, text in _exact(matches):
                namespace, _, name = text.partition("/")
                yield from _check_account(namespace, name, f"{inside}.{field}[{position}]", inventory)
        for field, matches in (
            ("namespaces", source.namespaces.any_of),
            ("notNamespaces", source.namespaces.none_of),
        ):
            for position, text in _exact(matches):
                if text not in inventory.namespaces:
                    message = f"there is no namespace {text}"
                    yield _unknown_identity(message, f"{inside}.{field}[{position}]")


def _check_principal(text: str, field: str, inventory: Inventory) -> Iterator[Problem]:
    try:
        identity = parse_spiffe_id(f"spiffe://{text}")
    except ValueError:
        yield Problem(
            severity=Severity.WARNING,
            code=ProblemCode.NEVER_MATCHES,
            message=f"no caller in the mesh has the principal {text!r}",
            fix="Write TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT, such as cluster.local/ns/shop/sa/web.",
            field=field,
        )
        return
    settings = inventory.mesh.settings
    if identity.trust_domain not in (DEFAULT_TRUST_DOMAIN, settings.trust_domain, *settings.trust_domain_aliases):
        message = f"the mesh has no trust domain {identity.trust_domain}; its own is {settings.trust_domain}"
        yield _unknown_identity(message, field)
        return
    yield from _check_account(identity.namespace, identity.service_account, field, inventory)


def _check_account(namespace: str, name: str, field: str, inventory: Inventory) -> Iterator[Problem]:
    account = (namespace, name)
    if account in inventory.service_accounts or account in inventory.running_accounts:
        return
    if namespace not in inventory.namespaces:
        yield _unknown_identity(f"there is no namespace {namespace}", field)
    elif name != "default":
        yield _unknown_identity(f"there is no ServiceAccount {name} in namespace {namespace}", field)


def _unknown_identity(message: str, field: str) -> Problem:
    return Problem(
        severity=Severity.WARNING,
        code=ProblemCode.UNKNOWN_IDENTITY,
        message=message,
        fix="Correct the name, or add what it names.",
        field=field,
    )


def _exact(matches: Iterable[StringMatch]) -> Iterator[tuple[int, str]]:
    return ((index, match.value) for index, match in enumerate(matches) if isinstance(match, Exact))


def _protocols(policy: AuthorizationPolicy, inventory: Inventory) -> dict[int, set[Protocol]]:
    """What is spoken on the workload ports of the policy's pods, as far as Services say it."""
    found: dict[int, set[Protocol]] = {}
    selected = {id(pod): pod for pod in inventory.pods_for_policy(policy.ref.namespace, policy.selector)}
    for namespace in sorted({pod.ref.namespace for pod in selected.values()}):
        for service in inventory.services_of(namespace):
            for pod in inventory.pods(namespace, service.selector) if service.selector else ():
                if id(pod) in selected:
                    _add_protocols(service, pod, found)
    return found


def _add_protocols(service: Service, pod: Pod, found: dict[int, set[Protocol]]) -> None:
    numbers = {port.name: port.number for port in pod.ports}
    for port in service.ports:
        number = port.target if isinstance(port.target, int) else numbers.get(port.target)
        if number is not None:
            found.setdefault(number, set()).add(port.protocol)


def _needs_http(operation: Operation) -> bool:
    return bool(
        operation.hosts
        or operation.methods
        or operation.paths
        or operation.path_templates
        or operation.not_path_templates
    )


def _tcp_only(operation: Operation, protocols: Mapping[int, set[Protocol]]) -> list[int]:
    """The ports of an operation that speak no HTTP: those it names, or all if none of the workload's does."""
    opaque = sorted(number for number, said in protocols.items() if said <= {Protocol.TCP, Protocol.TLS})
    if operation.ports.any_of:
        return [number for number in opaque if number in operation.ports.any_of]
    return opaque if len(opaque) == len(protocols) else []


def _http_on_tcp(action: Action, ports: list[int], field: str) -> Problem:
    listed = ", ".join(map(str, ports))
    effect = {
        Action.ALLOW: "so this never allows anything there",
        Action.DENY: "so the HTTP fields are dropped there and more is denied than they say",
    }[action]
    return Problem(
        severity=Severity.WARNING,
        code=ProblemCode.HTTP_RULE_ON_TCP,
        message=f"workload port {listed} speaks no HTTP, {effect}",
        fix="Restrict the rule to HTTP ports with ports, or remove hosts, methods, paths and request headers.",
        field=field,
    )
