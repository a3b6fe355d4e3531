"""The secrets of one gateway's stream: its own identity, and the certificates of the servers that it stands for.

A certificate is given only if a Gateway that the pod serves names it, and only from the pod's own namespace: what the
stream asks for decides nothing (CVE-2021-34824).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from model.asker import Asker
from model.gateways import Credential, Gateway
from model.mesh import Mesh
from model.names import CredentialSecret, parse_credential_secret
from model.pods import ProxyKind
from protos.encoder import encode
from sds.envoy_secrets import build_certificate_secret
from sds.secrets import IssuedSecret, SecretDescription


def find_server_secret(name: str, asker: Asker, mesh: Mesh) -> IssuedSecret | None:
    """The secret of that name for this asker; None if there is none such, or none for it.

    Its version is a hash of the certificates alone: a key that fits them is the only one there is.
    """
    try:
        wanted = parse_credential_secret(name)
    except ValueError:
        return None
    credential = _credential(wanted.name, asker, mesh)
    if credential is None:
        return None
    return IssuedSecret(
        name=name,
        version=hashlib.sha256(credential.certificate_chain).hexdigest()[:16],
        body=encode(build_certificate_secret(name, credential)),
        renew_at=None,
    )


def describe_server_secrets(asker: Asker, mesh: Mesh) -> tuple[SecretDescription, ...]:
    """What may be shown of the certificates that this asker gets, by name."""
    named = sorted({name for gateway in _served(asker, mesh) for name in _names(gateway)})
    found = ((name, _credential(name, asker, mesh)) for name in named)
    return tuple(
        SecretDescription(
            name=str(CredentialSecret(name=name)),
            serial=credential.serial,
            spiffe_id="",
            subject=credential.subject,
            issuer=credential.issuer,
            not_before=credential.not_before,
            not_after=credential.not_after,
            renew_at=None,
        )
        for name, credential in found
        if credential is not None
    )


def _credential(name: str, asker: Asker, mesh: Mesh) -> Credential | None:
    if not any(name in _names(gateway) for gateway in _served(asker, mesh)):
        return None
    found = mesh.credentials.get((asker.namespace, name))
    return found if isinstance(found, Credential) else None


def _served(asker: Asker, mesh: Mesh) -> Iterable[Gateway]:
    if asker.kind is not ProxyKind.GATEWAY:
        return ()
    return (gateway for gateway in mesh.gateways if gateway.selects(asker.labels))


def _names(gateway: Gateway) -> frozenset[str]:
    return frozenset(server.tls.credential for server in gateway.servers if server.tls is not None)
