"""Equal sets of names are one object, for as long as somebody uses them."""

import gc

from protos import discovery_pb2 as pb
from protos.type_urls import ENDPOINT
from xds import shared_names
from xds.shared_names import share
from xds.subscription import Subscription, change_names, replace_names
from xds.wire import parse_delta_request, parse_sotw_request

MANY = [f"outbound|80||s{number}.shop.svc.cluster.local" for number in range(100)]


def sotw() -> tuple[str, ...]:
    """Names as they come over the wire: strings of their own. So many that the parser forgets the request."""
    return parse_sotw_request(pb.DiscoveryRequest(type_url=ENDPOINT, resource_names=MANY).SerializeToString()).names


def delta() -> tuple[str, ...]:
    raw = pb.DeltaDiscoveryRequest(type_url=ENDPOINT, resource_names_subscribe=MANY).SerializeToString()
    return parse_delta_request(raw).subscribe


def test_sidecars_that_name_the_same_share_the_set_in_either_variant() -> None:
    assert sotw()[0] is not sotw()[0]
    first = replace_names(None, sotw()).after.names
    assert replace_names(None, sotw()).after.names is first
    assert change_names(None, delta(), ()).after.names is first
    assert replace_names(Subscription(names=frozenset({"a"}), named=True), sotw()).after.names is first


def test_the_same_names_again_leave_the_set_as_it_is() -> None:
    before = Subscription(names=frozenset(MANY), named=True)
    assert replace_names(before, sotw()).after.names is before.names


def test_a_set_that_nobody_uses_is_forgotten() -> None:
    gc.collect()
    before = len(shared_names._sets)
    kept = share(frozenset({"a set of one"}))
    assert len(shared_names._sets) == before + 1
    del kept
    gc.collect()
    assert len(shared_names._sets) == before
