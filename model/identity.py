"""Who a workload is: trust domains and SPIFFE ids (SPIFFE-ID standard, sections 2.1 to 2.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass

DEFAULT_TRUST_DOMAIN = "cluster.local"

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")
_MAX_BYTES = 2048


def check_trust_domain(text: str) -> str:
    """`text` itself. Raises ValueError unless it is 1 to 255 characters of a-z, 0-9, '.', '_', '-'."""
    if not _TRUST_DOMAIN.fullmatch(text):
        raise ValueError(f"{text!r} is no trust domain: 1 to 255 characters of a-z, 0-9, '.', '_' and '-'")
    return text


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SpiffeId:
    """A workload's identity: `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT`.

    Raises ValueError if a part has a character that SPIFFE forbids, is '.' or '..', or the whole is
    longer than 2,048 bytes. Source: SPIFFE-ID standard; the path is Istio's convention.
    """

    trust_domain: str = DEFAULT_TRUST_DOMAIN
    namespace: str
    service_account: str

    def __post_init__(self) -> None:
        check_trust_domain(self.trust_domain)
        for part in (self.namespace, self.service_account):
            if not _SEGMENT.fullmatch(part) or part in (".", ".."):
                raise ValueError(f"{part!r} is no path segment of a SPIFFE id: letters, digits, '.', '_', '-'")
        if len(str(self)) > _MAX_BYTES:
            raise ValueError(f"a SPIFFE id has at most {_MAX_BYTES} bytes")

    def __str__(self) -> str:
        return f"spiffe://{self.principal}"

    @property
    def principal(self) -> str:
        """The id as policies write it: without the scheme."""
        return f"{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"


def parse_spiffe_id(text: str) -> SpiffeId:
    """The id in `spiffe://TRUST_DOMAIN/ns/NS/sa/SA`. Raises ValueError if it is anything else."""
    match text.split("/"):
        case ["spiffe:", "", trust_domain, "ns", namespace, "sa", service_account]:
            return SpiffeId(trust_domain=trust_domain, namespace=namespace, service_account=service_account)
        case _:
            raise ValueError(f"{text!r} is not of the form spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT")
