"""Our joined bytes are what the protobuf library reads, and an Envoy's real request is read as it was meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos import discovery_pb2 as pb
from xds.resource import build_missing, build_resource
from xds.wire import join_delta, join_sotw, nonce_field, parse_delta_request, parse_sotw_request

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
FIXTURE = Path(__file__).parents[2] / "fixtures" / "envoy_first_delta_request.bin"


@given(name=texts, body=st.binary(max_size=20_000), nonce=texts, removed=st.lists(texts, unique=True, max_size=3))
def test_a_delta_response_reads_back(name: str, body: bytes, nonce: str, removed: list[str]) -> None:
    one = build_resource("type/x", name, body)
    missing = build_missing(name)
    entries = [one.head, one.packed, one.tail, missing.head, missing.packed, missing.tail]
    raw = join_delta(type_url="type/x", entries=entries, removed=removed) + nonce_field(nonce)
    read = pb.DeltaDiscoveryResponse.FromString(raw)
    assert (read.type_url, read.nonce, list(read.removed_resources)) == ("type/x", nonce, removed)
    first, second = read.resources
    assert (first.name, first.version, first.resource.type_url) == (name, one.version, "type/x")
    assert first.resource.value == body == one.body
    assert (second.name, list(second.aliases), second.HasField("resource")) == (name, [name], False)


@given(bodies=st.lists(st.binary(max_size=200), max_size=4), version=texts, nonce=texts)
def test_a_state_of_the_world_response_reads_back(bodies: list[bytes], version: str, nonce: str) -> None:
    resources = [build_resource("type/x", str(number), body) for number, body in enumerate(bodies)]
    joined = join_sotw(version=version, type_url="type/x", packed=(one.packed for one in resources))
    raw = joined + nonce_field(nonce)
    read = pb.DiscoveryResponse.FromString(raw)
    assert (read.version_info, read.type_url, read.nonce) == (version, "type/x", nonce)
    assert [(one.type_url, one.value) for one in read.resources] == [("type/x", body) for body in bodies]


def test_the_first_request_of_a_real_envoy_is_read() -> None:
    request = parse_delta_request(FIXTURE.read_bytes())
    assert request.node is not None
    assert request.node.id
    assert request.node.user_agent.startswith("envoy 1.")
    assert request.type_url


@pytest.mark.parametrize("parse", [parse_delta_request, parse_sotw_request])
@given(raw=st.binary(max_size=100))
def test_garbage_is_a_value_error_or_a_request(parse: object, raw: bytes) -> None:
    try:
        request = parse(raw)  # type: ignore[operator]
    except ValueError:
        return
    assert isinstance(request.type_url, str)


def test_bodies_are_never_printed() -> None:
    assert "private" not in repr(build_resource("type/x", "name", b"private"))
