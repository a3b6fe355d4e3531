"""A server's certificate of a control plane's authority, for those it is compared with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from model.settings import MeshSettings
from sds.authority_store import load_or_create_authority
from sds.signing import issue_server


def write_certificate(folder: Path, keys: Path, server_name: str) -> tuple[Path, Path]:
    """Certificate chain and key, as files in `folder`; `keys` is the directory of the control plane's."""
    now = datetime.now(UTC)
    authority = load_or_create_authority(keys / "authority", trust_domain=MeshSettings().trust_domain, now=now)
    issued = issue_server(
        authority,
        dns_names=(server_name,),
        ip_addresses=(ip_address("127.0.0.1"),),
        now=now,
        life=timedelta(days=1),
    )
    certificate, key = folder / "server.pem", folder / "server.key"
    certificate.write_bytes(issued.certificate_chain)
    key.write_bytes(issued.private_key)
    return certificate, key
