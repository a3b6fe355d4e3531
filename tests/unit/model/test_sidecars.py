"""Which Sidecar applies to whom, what it lets the asker see, and that those alike in it share what is derived."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.asker import Asker
from model.host_patterns import covers
from model.mesh import Mesh
from model.pods import ProxyKind
from model.problems import ObjectRef
from model.settings import OutboundTraffic
from model.sidecars import Egress, EgressHost, Sidecar
from model.view import View, view_of
from sources.store import Store
from translators.resources import derive
from xds.read_memo import KnownAsker, ReadMemo

WEB = Asker(namespace="shop", pod="p", service_account="s", labels={"app": "web", "version": "v1"})
USERS, DB, PAY, OPS = (
    f"{name}.svc.cluster.local" for name in ("users.shop", "db.shop", "pay.bank", "ops.istio-system")
)


def service(name: str, namespace: str, *ports: int) -> str:
    listed = ", ".join(f"{{name: http-{port}, port: {port}}}" for port in ports or (80,))
    head = f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}"
    return f"{head}\nspec: {{ports: [{listed}]}}"


def sidecar(name: str, spec: str, namespace: str = "shop", year: int = 2025) -> str:
    head = f'metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: "{year}-01-01T00:00:00Z"}}'
    return f"apiVersion: networking.istio.io/v1\nkind: Sidecar\n{head}\nspec: {spec}"


def virtual_service(name: str, namespace: str, host: str, to: str, export_to: str = "*") -> str:
    head = (
        f"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: {namespace}}}"
    )
    routes = f"[{{route: [{{destination: {{host: {to}}}}}]}}]"
    return f'{head}\nspec: {{hosts: ["{host}"], exportTo: ["{export_to}"], http: {routes}}}'


SERVICES = (
    service("users", "shop"),
    service("db", "shop", 80, 5432),
    service("pay", "bank", 80, 9080),
    service("ops", "istio-system"),
)


def mesh(*objects: str) -> Mesh:
    store = Store()
    store.replace_file("mesh.yaml", "\n---\n".join((*SERVICES, *objects)).encode())
    assert not [problem for problem in store.problems if problem.severity == "error" and "Conflict" not in problem.code]
    return store.mesh


def seen(*objects: str, asker: Asker = WEB) -> View:
    return view_of(mesh(*objects), asker)


def only(host: str) -> str:
    return f'{{egress: [{{hosts: ["{host}"]}}]}}'


def chosen(*objects: str, asker: Asker = WEB) -> str:
    found = seen(*objects, asker=asker).sidecar
    return str(found.ref) if found else ""


ROOT = sidecar("default", only("./*"), "istio-system")
WIDE = sidecar("default", only("./*"))


def selected(name: str, labels: str, year: int = 2025) -> str:
    return sidecar(name, f'{{workloadSelector: {{labels: {{{labels}}}}}, egress: [{{hosts: ["./*"]}}]}}', year=year)


def test_the_selected_one_comes_first_then_the_namespaces_then_the_roots() -> None:
    mine = selected("mine", "app: web")
    assert chosen(ROOT, WIDE, mine) == "Sidecar/shop/mine"
    assert chosen(ROOT, WIDE, selected("other", "app: job")) == "Sidecar/shop/default"
    assert chosen(ROOT, selected("other", "app: job")) == "Sidecar/istio-system/default"
    assert chosen(selected("other", "app: job")) == ""
    assert chosen(ROOT, mine, asker=replace(WEB, namespace="bank")) == "Sidecar/istio-system/default"


def test_the_oldest_of_several_wins() -> None:
    assert chosen(selected("a", "app: web", 2025), selected("b", "version: v1", 2024)) == "Sidecar/shop/b"
    assert chosen(sidecar("a", only("./*"), year=2025), sidecar("b", only("./*"), year=2024)) == "Sidecar/shop/b"


def test_a_selector_of_the_root_namespace_stays_there() -> None:
    there = sidecar("there", "{workloadSelector: {labels: {app: web}}, outboundTrafficPolicy: {}}", "istio-system")
    assert chosen(there) == ""
    assert chosen(there, asker=replace(WEB, namespace="istio-system")) == "Sidecar/istio-system/there"


def test_a_selector_without_labels_is_for_the_whole_namespace_and_for_it_alone() -> None:
    assert chosen(WIDE, sidecar("all", "{workloadSelector: {}, outboundTrafficPolicy: {}}")) == "Sidecar/shop/all"
    assert chosen(sidecar("all", "{workloadSelector: {}, outboundTrafficPolicy: {}}", "istio-system")) == ""


def test_a_gateway_sees_everything() -> None:
    view = seen(WIDE, asker=replace(WEB, kind=ProxyKind.GATEWAY))
    assert view.sidecar is None
    assert len(view.hosts) == 4


@pytest.mark.parametrize(
    ("egress", "hosts"),
    [
        ('[{hosts: ["*/*"]}]', {USERS, DB, PAY, OPS}),
        ('[{hosts: ["./*"]}]', {USERS, DB}),
        ('[{hosts: ["~/*"]}]', set()),
        ('[{hosts: ["*/*", "~bank/*"]}]', {USERS, DB, OPS}),
        (
            '[{hosts: ["*/*", "~/db.shop.svc.cluster.local", "~./ops.istio-system.svc.cluster.local"]}]',
            {USERS, PAY, OPS},
        ),
        (f'[{{hosts: ["bank/{PAY}"]}}]', {PAY}),
        (f'[{{hosts: ["*/{PAY}"]}}]', {PAY}),
        (f'[{{hosts: ["shop/{PAY}"]}}]', set()),
        ('[{hosts: ["*/*.shop.svc.cluster.local"]}]', {USERS, DB}),
        ('[{hosts: ["bank/*.shop.svc.cluster.local", "istio-system/*"]}]', {OPS}),
        ('[{port: {number: 9080}, hosts: ["*/*"]}]', {PAY}),
        ('[{port: {number: 81}, hosts: ["*/*"]}]', set()),
        ('[{port: {number: 80}, hosts: ["~/*"]}, {hosts: ["*/*"]}]', {DB, PAY}),
    ],
)
def test_what_is_in_scope(egress: str, hosts: set[str]) -> None:
    view = seen(sidecar("s", f"{{egress: {egress}}}"))
    assert set(view.hosts) == hosts
    assert view.hosts == tuple(sorted(view.hosts))
    assert {host for port in view.ports for host in view.hosts_on_port(port)} == hosts
    assert {host for host in (USERS, DB, PAY, OPS) if view.service(host)} == hosts


def test_the_entry_of_a_port_counts_there_alone() -> None:
    view = seen(sidecar("s", '{egress: [{port: {number: 80}, hosts: ["./*"]}, {hosts: ["bank/*"]}]}'))
    assert view.hosts_on_port(80) == (DB, USERS)
    assert view.hosts_on_port(9080) == (PAY,)
    assert view.hosts_on_port(5432) == ()
    assert view.ports == (80, 9080)
    pay, db = view.service(PAY), view.service(DB)
    assert pay is not None
    assert [port.number for port in pay.ports] == [9080]
    assert db is not None
    assert [port.number for port in db.ports] == [80]


def test_of_the_namespace_of_whoever_asks() -> None:
    assert seen(ROOT).hosts == (DB, USERS)
    assert seen(ROOT, asker=replace(WEB, namespace="bank")).hosts == (PAY,)


def test_routes_of_namespaces_out_of_scope_have_no_effect() -> None:
    route = virtual_service("v", "shop", PAY, "users")
    assert seen(route, sidecar("s", only("bank/*"))).virtual_service(PAY) is None
    found = seen(route, sidecar("s", '{egress: [{hosts: ["bank/*", "./*"]}]}')).virtual_service(PAY)
    assert found is not None
    assert found.ref.name == "v"


def test_where_routes_lead_is_reached_through_them_alone() -> None:
    route = virtual_service("v", "shop", USERS, PAY)
    view = seen(route, sidecar("s", only("./*")))
    assert view.hosts == (DB, PAY, USERS)
    assert view.destination(PAY) is not None
    assert view.service(PAY) is None
    assert view.hosts_on_port(9080) == ()
    assert seen(route, sidecar("s", only(f"./{DB}"))).destination(PAY) is None
    private = virtual_service("v", "bank", PAY, OPS, ".")
    assert seen(private, sidecar("s", only("bank/*"))).destination(OPS) is None


def test_a_wildcard_route_comes_with_a_host_that_it_covers_and_the_other_way_round() -> None:
    wide = virtual_service("v", "bank", "*.example.com", PAY)
    assert seen(wide, sidecar("s", only("bank/a.example.com"))).virtual_service("a.example.com") is not None
    narrow = virtual_service("v", "bank", "a.example.com", PAY)
    assert seen(narrow, sidecar("s", only("bank/*.example.com"))).virtual_service("a.example.com") is not None
    without = '{egress: [{hosts: ["bank/*", "~bank/a.example.com"]}]}'
    assert seen(narrow, sidecar("s", without)).virtual_service("a.example.com") is None


def test_outbound_traffic_is_the_sidecars_or_else_the_meshs() -> None:
    assert seen().outbound_traffic is OutboundTraffic.ALLOW_ANY
    assert seen(WIDE).outbound_traffic is OutboundTraffic.ALLOW_ANY
    only_known = sidecar("s", "{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}")
    assert seen(only_known).outbound_traffic is OutboundTraffic.REGISTRY_ONLY
    assert len(seen(only_known).hosts) == 4


def test_declared_is_what_an_entry_names_and_not_everything() -> None:
    view = seen(
        sidecar("s", '{egress: [{hosts: ["*/*", "bank/*", "~bank/b.bank.svc.cluster.local", "*/a.example.com"]}]}')
    )
    found = view.sidecar
    assert found is not None
    assert found.declares(PAY, "shop")
    assert not found.declares("b.bank.svc.cluster.local", "shop")
    assert not found.declares(USERS, "shop")
    assert found.declares("a.example.com", "shop")
    assert not found.declares("b.example.com", "shop")
    own = seen(ROOT).sidecar
    assert own is not None
    assert (own.declares(USERS, "shop"), own.declares(USERS, "bank")) == (True, False)


hosts = st.sampled_from(["*", "a", "a.b", "b.b", "a.a.b", "*.b", "*.a.b", "*.a"])
entries = st.builds(EgressHost, namespace=st.sampled_from("nm.*"), host=hosts, excluded=st.booleans())


@given(entry=st.lists(entries, max_size=5), host=hosts, owner=st.sampled_from("nm"), asker=st.sampled_from("nm"))
def test_an_entry_names_what_one_of_its_hosts_covers_and_none_leaves_out(
    entry: list[EgressHost], host: str, owner: str, asker: str
) -> None:
    def near(excluded: bool) -> bool:
        return any(
            each.excluded is excluded
            and covers(each.host, host)
            and (each.namespace in ("*", owner) or (each.namespace == "." and owner == asker))
            for each in entry
        )

    assert Egress(hosts=tuple(entry)).names(host, owner, asker) == (near(False) and not near(True))


@given(st.lists(st.lists(entries, min_size=1, max_size=3), min_size=1, max_size=3))
def test_everything_is_in_scope_just_if_nothing_limits_it(listed: list[list[EgressHost]]) -> None:
    egress = tuple(Egress(hosts=tuple(each)) for each in listed[:1])
    found = Sidecar(ref=ObjectRef(kind="Sidecar", name="s"), egress=egress)
    names_all = any((each.namespace, each.host, each.excluded) == ("*", "*", False) for each in listed[0])
    assert found.is_limiting == (not names_all or any(each.excluded for each in listed[0]))


def marked(before: Mesh, after: Mesh, *askers: Asker) -> tuple[int, bool]:
    """How many results there are for the askers, and whether a change marks that of the first."""
    memo: ReadMemo[tuple[str, str], object] = ReadMemo(mesh=before, limit=100)

    def build(view: View, _: object | None) -> object:
        return derive("type.googleapis.com/envoy.config.listener.v3.Listener", "virtualOutbound", view)

    for asker in askers:
        memo.get(("listener", "virtualOutbound"), KnownAsker(asker), build)
    return len(memo), bool(memo.advance(after))


def test_alike_sidecars_share_and_a_change_marks_those_alone_whom_it_is_for() -> None:
    mine = [replace(WEB, pod=f"p{number}", labels={"app": "web", "hash": str(number)}) for number in range(5)]
    others = [replace(WEB, pod=f"q{number}", labels={"app": f"job{number}"}) for number in range(5)]
    before = mesh(WIDE, selected("mine", "app: web"))
    after = mesh(WIDE, selected("mine", "app: web").replace("./*", "bank/*"))
    assert marked(before, after, *mine) == (1, True)
    assert marked(before, after, *others) == (1, False)
    assert marked(before, after, *mine, *others)[0] == 2
    elsewhere = replace(WEB, namespace="bank")
    assert marked(before, after, elsewhere) == (1, False)


def test_what_is_out_of_scope_marks_nothing() -> None:
    before = mesh(WIDE)
    added = mesh(WIDE, service("more", "bank"), virtual_service("v", "bank", "new.example.com", PAY))
    assert marked(before, added, WEB) == (1, False)
    assert marked(before, mesh(WIDE, service("more", "shop")), WEB) == (1, True)


def test_without_any_sidecar_nothing_more_is_read_than_that() -> None:
    view = seen()
    assert view.service(USERS) is not None
    assert view.destination(USERS) is not None
    assert view.hosts_on_port(80)
    assert view.host_at("10.0.0.1") is None
    assert set(view.reads) == {
        ("has_sidecars", None),
        ("services", USERS),
        ("hosts_on_port", 80),
        ("host_at", "10.0.0.1"),
    }
