"""The conversation in which a pod is given its certificates: messages in, messages out."""

from __future__ import annotations

from dataclasses import dataclass, field

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret
from google.protobuf.message import DecodeError

from model.names import IDENTITY_SECRET, TRUST_BUNDLE_SECRET
from protos import discovery_pb2 as pb
from protos.type_urls import SECRET

USER_AGENT = "heddle certificates"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """A pod's key, its certificate with those between it and a root, and the roots of the mesh; all in PEM."""

    private_key: bytes = field(repr=False)
    chain: bytes
    roots: bytes


class SecretStream:
    """One stream, state of the world. Whoever has it sends what `first` and `receive` return."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._secrets: dict[str, Secret] = {}

    def first(self) -> bytes:
        """What begins the stream."""
        node = pb.Node(id=self._node, user_agent_name=USER_AGENT)
        return self._request(node=node).SerializeToString()

    def receive(self, raw: bytes) -> bytes:
        """Takes a response and returns its answer. Raises ValueError if it is none, or not of secrets."""
        response = pb.DiscoveryResponse()
        try:
            response.ParseFromString(raw)
        except DecodeError:
            raise ValueError("the server's answer is no discovery response") from None
        if response.type_url != SECRET:
            raise ValueError(f"the server answers with {response.type_url[:200]!r}")
        for resource in response.resources:
            secret = Secret.parse(resource.value)
            self._secrets[secret.name] = secret
        return self._request(version_info=response.version_info, response_nonce=response.nonce).SerializeToString()

    @property
    def certificates(self) -> Certificates | None:
        """The newest ones; None until all of them have come."""
        own, trusted = (self._secrets.get(name) for name in (IDENTITY_SECRET, TRUST_BUNDLE_SECRET))
        pair = own.tls_certificate if own else None
        validation = trusted.validation_context if trusted else None
        if pair is None or validation is None:
            return None
        key, chain, roots = map(_text, (pair.private_key, pair.certificate_chain, validation.trusted_ca))
        return Certificates(private_key=key, chain=chain, roots=roots) if key and chain and roots else None

    def _request(self, **fields: object) -> pb.DiscoveryRequest:
        names = (IDENTITY_SECRET, TRUST_BUNDLE_SECRET)
        return pb.DiscoveryRequest(type_url=SECRET, resource_names=names, **fields)  # type: ignore[arg-type]


def _text(source: DataSource | None) -> bytes:
    return (source.inline_bytes if source else None) or b""
