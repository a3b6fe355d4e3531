"""The discovery envelope against envoy-data-plane's classes, and against a real Envoy's request."""

import subprocess
import sys
from pathlib import Path

import betterproto2 as bp
import pytest
from envoy_data_plane.envoy.config.core.v3 import BuildVersion, ControlPlane, Extension, Locality, Node
from envoy_data_plane.envoy.service.discovery import v3 as theirs
from envoy_data_plane.envoy.type.v3 import SemanticVersion
from envoy_data_plane.google.protobuf import Any, Struct
from envoy_data_plane.google.rpc import Status
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message

from protos import discovery_pb2 as ours

ROOT = Path(__file__).parents[3]
FIRST_REQUEST = ROOT / "tests" / "fixtures" / "envoy_first_delta_request.bin"

NODE = Node(
    id="sidecar~10.0.0.7~a.b~b.svc.cluster.local",
    cluster="a.b",
    metadata=Struct.from_dict({"LABELS": {"app": "a"}, "N": 1.5, "L": [True, None]}),
    locality=Locality(region="r", zone="z", sub_zone="s"),
    user_agent_name="envoy",
    user_agent_build_version=BuildVersion(version=SemanticVersion(major_number=1, minor_number=40)),
    client_features=["envoy.lb.does_not_support_overprovisioning"],
)
STATUS = Status(code=13, message="no such cluster")
ANY = Any(type_url="type.googleapis.com/t", value=b"\x00\xff")
CONTROL_PLANE = ControlPlane(identifier="heddle")

PAIRS: list[tuple[bp.Message, type[Message]]] = [
    (
        theirs.DiscoveryRequest(
            version_info="v",
            node=NODE,
            resource_names=["a", "b"],
            type_url="t",
            response_nonce="n",
            error_detail=STATUS,
        ),
        ours.DiscoveryRequest,
    ),
    (
        theirs.DiscoveryResponse(
            version_info="v", resources=[ANY, Any()], type_url="t", nonce="n", control_plane=CONTROL_PLANE
        ),
        ours.DiscoveryResponse,
    ),
    (
        theirs.DeltaDiscoveryRequest(
            node=Node(id="n", user_agent_version="1.40"),
            type_url="t",
            resource_names_subscribe=["*", "a"],
            resource_names_unsubscribe=["b"],
            initial_resource_versions={"c": "1", "d": ""},
            response_nonce="n",
            error_detail=STATUS,
        ),
        ours.DeltaDiscoveryRequest,
    ),
    (
        theirs.DeltaDiscoveryResponse(
            system_version_info="s",
            resources=[
                theirs.Resource(name="a", version="1", resource=ANY),
                theirs.Resource(name="b", aliases=["b", "c"]),
            ],
            type_url="t",
            nonce="n",
            removed_resources=["d"],
            control_plane=CONTROL_PLANE,
        ),
        ours.DeltaDiscoveryResponse,
    ),
]


def unset_fields(message: Message) -> list[str]:
    """Names of the fields, at any depth, that the example leaves out, so that no field escapes the tests."""
    unset = []
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        in_oneof = field.containing_oneof and message.WhichOneof(field.containing_oneof.name) != field.name
        if field.name not in {entry.name for entry, _ in message.ListFields()} and not in_oneof:
            unset.append(f"{message.DESCRIPTOR.name}.{field.name}")
        elif isinstance(value, Message) and value.DESCRIPTOR.file is message.DESCRIPTOR.file and not in_oneof:
            unset += unset_fields(value)
    return unset


@pytest.mark.parametrize(("message", "cls"), PAIRS, ids=[cls.DESCRIPTOR.name for _, cls in PAIRS])
def test_both_read_what_the_other_writes(message: bp.Message, cls: type[Message]) -> None:
    read = cls.FromString(bytes(message))
    read.DiscardUnknownFields()
    # The unknown fields are gone, so that only what was understood is written back.
    assert type(message).parse(read.SerializeToString()) == message
    assert cls.FromString(bytes(type(message).parse(read.SerializeToString()))) == read


def test_the_examples_set_every_field() -> None:
    unset = {field for message, cls in PAIRS for field in unset_fields(cls.FromString(bytes(message)))}
    assert unset <= {"SemanticVersion.patch"} | {
        # The delta request's node is there for the other arm of the user agent's oneof.
        f"Node.{name}"
        for name in ("cluster", "metadata", "locality", "user_agent_name", "client_features")
    }


def test_a_real_request() -> None:
    data = FIRST_REQUEST.read_bytes()
    request = ours.DeltaDiscoveryRequest.FromString(data)
    full = theirs.DeltaDiscoveryRequest.parse(data)
    assert request.type_url == full.type_url == "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    assert request.node.id == "sidecar~10.0.0.7~reviews-v1-0.shop~shop.svc.cluster.local"
    assert request.node.cluster == "reviews.shop"
    assert MessageToDict(request.node.metadata)["LABELS"] == {"app": "reviews", "version": "v1"}
    assert request.node.locality == ours.Locality(region="region", zone="zone", sub_zone="subzone")
    assert request.node.user_agent_name == "envoy"
    version = request.node.user_agent_build_version.version
    assert (version.major_number, version.minor_number) == (1, 40)
    assert full.node is not None
    assert list(request.node.client_features) == full.node.client_features
    assert not request.resource_names_subscribe
    assert not request.error_detail.message


def test_extensions_are_skipped() -> None:
    node = Node(id="a", extensions=[Extension(name="x", category="y")])
    request = ours.DiscoveryRequest.FromString(bytes(theirs.DiscoveryRequest(node=node)))
    assert request.node == ours.Node.FromString(bytes(node))
    request.DiscardUnknownFields()
    assert request == ours.DiscoveryRequest(node=ours.Node(id="a"))


def test_responses_join_from_cached_parts() -> None:
    """Concatenated encodings merge, so that a resource encoded once serves every response that holds it."""
    resources = [ours.Resource(name=name, version="1") for name in "abc"]
    parts = [ours.DeltaDiscoveryResponse(resources=[resource]).SerializeToString() for resource in resources]
    head = ours.DeltaDiscoveryResponse(type_url="t", nonce="7").SerializeToString()
    joined = ours.DeltaDiscoveryResponse.FromString(b"".join([*parts, head]))
    assert joined == ours.DeltaDiscoveryResponse(type_url="t", nonce="7", resources=resources)


@pytest.mark.parametrize("data", [b"\x0a\x05ab", b"\xff" * 11, b"\x12\x02\xff\xff"])
def test_malformed_requests_are_errors(data: bytes) -> None:
    with pytest.raises(DecodeError):
        ours.DeltaDiscoveryRequest.FromString(data)


def test_generated_code_is_up_to_date(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", "--proto_path=.", f"--python_out={tmp_path}"]
    subprocess.run([*command, f"--pyi_out={tmp_path}", "protos/discovery.proto"], cwd=ROOT, check=True)
    for name in ("discovery_pb2.py", "discovery_pb2.pyi"):
        assert (ROOT / "protos" / name).read_text() == (tmp_path / "protos" / name).read_text()
