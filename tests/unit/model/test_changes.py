"""What differs between two snapshots is what a view could read differently, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from model.asker import Asker
from model.changes import changed_slots
from model.mesh import Mesh
from model.problems import ObjectRef
from model.recorded_reads import still_holds
from model.services import Endpoint, Service
from model.settings import MeshSettings
from model.view import view_of

ASKER = Asker(namespace="n", pod="p", service_account="s")
HOSTS = ("a.n.svc.cluster.local", "b.n.svc.cluster.local", "c.n.svc.cluster.local")


def service(host: str, content: str) -> Service:
    return Service(ref=ObjectRef(kind="Service", namespace="n", name=host.partition(".")[0]), external_name=content)


meshes = st.builds(
    lambda services, endpoints, ports, timeout: Mesh(
        settings=MeshSettings(root_namespace=timeout),
        services={host: service(host, content) for host, content in sorted(services.items())},
        endpoints={host: (Endpoint(address=address, ports={}),) for host, address in sorted(endpoints.items())},
        hosts_on_port=dict.fromkeys(sorted(ports), HOSTS),
    ),
    st.dictionaries(st.sampled_from(HOSTS), st.sampled_from("12")),
    st.dictionaries(st.sampled_from(HOSTS), st.sampled_from(["10.0.0.1", "10.0.0.2"])),
    st.sets(st.sampled_from([80, 81])),
    st.sampled_from(["r", "s"]),
)


@given(before=meshes, after=meshes)
def test_a_slot_has_changed_just_if_what_was_read_there_no_longer_holds(before: Mesh, after: Mesh) -> None:
    view = view_of(before, ASKER)
    assert view.settings, "read"
    for host in HOSTS:
        view.service(host)
        view.endpoints(host)
        view.destination_rule(host)
    for port in (80, 81):
        view.hosts_on_port(port)
    assert (view.hosts, view.ports) == (tuple(before.services), tuple(before.hosts_on_port))
    changed = changed_slots(before, after)
    for slot, answer in view.reads.items():
        assert (slot in changed) == (not still_holds({slot: answer}, after, ASKER)), slot


def test_nothing_has_changed_between_a_snapshot_and_itself() -> None:
    mesh = Mesh(services={HOSTS[0]: service(HOSTS[0], "1")})
    assert changed_slots(mesh, mesh) == frozenset()
