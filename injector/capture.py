"""The packet filter rules that send a pod's TCP through its sidecar, in a cluster and on a laptop alike.

Inbound connections go to one port of the sidecar, outbound ones to another, and what the sidecar itself opens goes
where it says. The meaning of every setting is Istio's (tools/istio-iptables); the text is for `iptables-restore
--noflush` and `ip6tables-restore --noflush`, which apply a table as one transaction.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, Literal, assert_never

from model.inbound_capture import CAPTURE, SIDECAR_PORTS, parse_ports

IpVersion = Literal[4, 6]
Network = IPv4Network | IPv6Network

SIDECAR_USER: Final = 1337
SIDECAR_MARK: Final = 0x539
PREFIX: Final = CAPTURE
_LOCALHOST: Final[Mapping[IpVersion, str]] = {4: "127.0.0.1/32", 6: "::1/128"}
_INBOUND_SOURCE: Final[Mapping[IpVersion, str]] = {4: "127.0.0.6/32", 6: "::6/128"}
"""Where the sidecar's connections to its own application come from; Istio's choice, ::6 must be put on `lo`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExemptUser:
    """What runs as this uid is the sidecar. Needs that uid to exist in the user namespace."""

    uid: int = SIDECAR_USER


@dataclass(frozen=True, slots=True, kw_only=True)
class ExemptMark:
    """What carries this SO_MARK is the sidecar: where only one uid exists. Setting it needs CAP_NET_ADMIN."""

    mark: int = SIDECAR_MARK


Exemption = ExemptUser | ExemptMark


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureSettings:
    """What is captured. The defaults capture all TCP but the sidecar's own.

    `include_inbound_ports` None is all ports; a tuple, also an empty one, just these, whatever
    `exclude_inbound_ports` says. `include_outbound_ranges` None is all destinations; `include_outbound_ports` are
    captured besides, whatever the ranges say. Excluded ports and ranges win over included ones.
    Raises ValueError for a port outside 1-65535.
    Source: annotations `traffic.sidecar.istio.io/*`, see `capture_from_annotations`.
    """

    exempt: Exemption = ExemptUser()
    inbound_port: int = 15006
    outbound_port: int = 15001
    include_inbound_ports: tuple[int, ...] | None = None
    exclude_inbound_ports: tuple[int, ...] = ()
    include_outbound_ports: tuple[int, ...] = ()
    exclude_outbound_ports: tuple[int, ...] = ()
    include_outbound_ranges: tuple[Network, ...] | None = None
    exclude_outbound_ranges: tuple[Network, ...] = ()

    def __post_init__(self) -> None:
        for port in (
            self.inbound_port,
            self.outbound_port,
            *(self.include_inbound_ports or ()),
            *self.exclude_inbound_ports,
            *self.include_outbound_ports,
            *self.exclude_outbound_ports,
        ):
            if not 1 <= port <= 65535:
                raise ValueError(f"not a port: {port}")


class BadAnnotation(ValueError):
    """An annotation that does not parse. `name` is its whole name, `fix` one sentence."""

    def __init__(self, name: str, message: str, fix: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.message = message
        self.fix = fix


def capture_from_annotations(annotations: Mapping[str, str], *, exempt: Exemption) -> CaptureSettings:
    """The settings a pod's annotations ask for. Raises BadAnnotation for the first that does not parse."""
    included_ports = _annotation(annotations, "includeInboundPorts", "*")
    included_ranges = _annotation(annotations, "includeOutboundIPRanges", "*")
    return CaptureSettings(
        exempt=exempt,
        include_inbound_ports=None if included_ports == "*" else _ports(annotations, "includeInboundPorts"),
        exclude_inbound_ports=_ports(annotations, "excludeInboundPorts"),
        include_outbound_ports=_ports(annotations, "includeOutboundPorts"),
        exclude_outbound_ports=_ports(annotations, "excludeOutboundPorts"),
        include_outbound_ranges=None if included_ranges == "*" else _ranges(annotations, "includeOutboundIPRanges"),
        exclude_outbound_ranges=_ranges(annotations, "excludeOutboundIPRanges"),
    )


def build_capture(settings: CaptureSettings, version: IpVersion) -> str:
    """The rules for one IP version, as `iptables-restore --noflush` (or `ip6tables-restore`) reads them."""
    lines = (
        "*nat",
        ":HEDDLE_INBOUND - [0:0]",
        ":HEDDLE_OUTBOUND - [0:0]",
        ":HEDDLE_TO_INBOUND - [0:0]",
        ":HEDDLE_TO_OUTBOUND - [0:0]",
        "-A PREROUTING -p tcp -j HEDDLE_INBOUND",
        "-A OUTPUT -p tcp -j HEDDLE_OUTBOUND",
        f"-A HEDDLE_TO_INBOUND -p tcp -j REDIRECT --to-ports {settings.inbound_port}",
        f"-A HEDDLE_TO_OUTBOUND -p tcp -j REDIRECT --to-ports {settings.outbound_port}",
        *(f"-A HEDDLE_INBOUND {rule}" for rule in _inbound(settings)),
        *(f"-A HEDDLE_OUTBOUND {rule}" for rule in _outbound(settings, version)),
        "COMMIT",
    )
    return "\n".join(lines) + "\n"


def build_block() -> str:
    """Rules that let no TCP over IPv6 in or out but over loopback, for `ip6tables-restore`.

    For kernels that cannot capture it. What comes in is refused by ICMP, as a reset would itself be TCP going out.
    """
    lines = (
        "*filter",
        "-A INPUT ! -i lo -p tcp -j REJECT --reject-with icmp6-adm-prohibited",
        "-A OUTPUT ! -o lo -p tcp -j REJECT --reject-with tcp-reset",
        "COMMIT",
    )
    return "\n".join(lines) + "\n"


def _inbound(settings: CaptureSettings) -> Iterator[str]:
    if settings.include_inbound_ports is not None:
        for port in settings.include_inbound_ports:
            yield f"-p tcp --dport {port} -j HEDDLE_TO_INBOUND"
        return
    for port in _unique((*SIDECAR_PORTS, *settings.exclude_inbound_ports)):
        yield f"-p tcp --dport {port} -j RETURN"
    yield "-j HEDDLE_TO_INBOUND"


def _outbound(settings: CaptureSettings, version: IpVersion) -> Iterator[str]:
    for port in _unique(settings.exclude_outbound_ports):
        yield f"-p tcp --dport {port} -j RETURN"
    # The sidecar handing a request to its application.
    yield f"-o lo -s {_INBOUND_SOURCE[version]} -j RETURN"
    # An application that calls its own Service: its sidecar chose this very pod, and enters it by the front door.
    yield f"-o lo ! -d {_LOCALHOST[version]} {_is_sidecar(settings.exempt)} -j HEDDLE_TO_INBOUND"
    # An application that talks to itself, by localhost or by its own address.
    ranges = settings.include_outbound_ranges
    if ranges is None or not any(network.is_loopback for network in ranges):
        yield f"-o lo {_is_sidecar(settings.exempt, negate=True)} -j RETURN"
    yield f"{_is_sidecar(settings.exempt)} -j RETURN"
    yield f"-d {_LOCALHOST[version]} -j RETURN"
    for network in _of_version(settings.exclude_outbound_ranges, version):
        yield f"-d {network} -j RETURN"
    for port in _unique(settings.include_outbound_ports):
        yield f"-p tcp --dport {port} -j HEDDLE_TO_OUTBOUND"
    if ranges is None:
        yield "-j HEDDLE_TO_OUTBOUND"
        return
    for network in _of_version(ranges, version):
        yield f"-d {network} -j HEDDLE_TO_OUTBOUND"


def _is_sidecar(exempt: Exemption, *, negate: bool = False) -> str:
    no = "! " if negate else ""
    match exempt:
        case ExemptUser(uid=uid):
            return f"-m owner {no}--uid-owner {uid}"
        case ExemptMark(mark=mark):
            return f"-m mark {no}--mark {mark:#x}"
        case _:
            assert_never(exempt)


def _of_version(networks: Iterable[Network], version: IpVersion) -> tuple[Network, ...]:
    return tuple(network for network in networks if network.version == version)


def _unique(ports: Iterable[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(ports))


def _annotation(annotations: Mapping[str, str], name: str, default: str) -> str:
    return annotations.get(PREFIX + name, default).strip()


def _ports(annotations: Mapping[str, str], name: str) -> tuple[int, ...]:
    text = _annotation(annotations, name, "")
    try:
        return parse_ports(text)
    except ValueError as error:
        everything = ", or * for all of them" if name == "includeInboundPorts" else ""
        fix = f"Write ports from 1 to 65535, separated by commas{everything}."
        raise BadAnnotation(PREFIX + name, str(error), fix) from None


def _ranges(annotations: Mapping[str, str], name: str) -> tuple[Network, ...]:
    text = _annotation(annotations, name, "")
    try:
        return tuple(ip_network(item.strip(), strict=False) for item in text.split(",") if item.strip())
    except ValueError as error:
        everything = ", or * for all of them" if name == "includeOutboundIPRanges" else ""
        fix = f"Write ranges such as 10.0.0.0/8, separated by commas{everything}."
        raise BadAnnotation(PREFIX + name, f"not a list of IP ranges: {text[:80]!r}", fix) from error
