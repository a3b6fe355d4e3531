"""Every stream that is sent the same is handed the same bytes."""

from __future__ import annotations

from protos import discovery_pb2 as pb
from xds import delta
from xds.push import Push
from xds.resource import Resource, build_resource
from xds.shared_responses import RECENT, Response, SharedResponses

TYPE = "type/x"
MADE: list[str] = []


def resource(name: str) -> Resource:
    return build_resource(TYPE, name, b"x" * 300)


def get(shared: SharedResponses, *resources: Resource) -> Response:
    def make() -> Response:
        MADE.append(",".join(one.name for one in resources))
        return delta.compose(TYPE, Push(changed=resources))

    return shared.get((TYPE, True, resources), make)


def test_a_response_is_made_once_with_a_nonce_of_its_own() -> None:
    MADE.clear()
    shared = SharedResponses()
    one, other = resource("a"), resource("b")
    assert get(shared, one).raw is get(shared, one).raw
    assert get(shared, one, other).raw is not get(shared, one).raw
    assert MADE == ["a", "a,b"]
    nonces = [pb.DeltaDiscoveryResponse.FromString(get(shared, *each).raw).nonce for each in ((one,), (one, other))]
    assert nonces == [get(shared, one).nonce, get(shared, one, other).nonce]
    assert len({*nonces}) == 2


def test_a_resource_with_the_same_name_is_another() -> None:
    shared = SharedResponses()
    assert get(shared, resource("a")).raw is not get(shared, resource("a")).raw


def test_a_stream_may_send_it_with_a_nonce_of_the_streams_own() -> None:
    response = get(SharedResponses(), resource("a"))
    read = pb.DeltaDiscoveryResponse.FromString(response.with_nonce("7"))
    assert (read.nonce, [one.name for one in read.resources]) == ("7", ["a"])
    assert len(response.with_nonce("7")) < len(response.raw)


def test_those_that_were_not_sent_lately_are_forgotten() -> None:
    MADE.clear()
    shared = SharedResponses()
    first, *others = [resource(str(number)) for number in range(RECENT + 1)]
    get(shared, first)
    for other in others[:-1]:
        get(shared, other)
    get(shared, first)
    get(shared, others[-1])
    MADE.clear()
    get(shared, first)
    assert MADE == []
    get(shared, others[0])
    assert MADE == ["1"]
