"""The proxy that the environment names for an API server, as Go's programs read it (golang.org/x/net/http/httpproxy).

Python's own reader knows no ranges in NO_PROXY, by which people exclude the addresses of their cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit


def proxy_for(url: str, environment: Mapping[str, str]) -> str | None:
    """The URL of the proxy, None for none. `url` has a scheme."""
    asked = urlsplit(url)
    name = f"{asked.scheme}_proxy"
    proxy = environment.get(name.upper()) or environment.get(name) or ""
    if not proxy or _is_local(asked.hostname or ""):
        return None
    excluded = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    if any(_fits(asked, entry.strip().lower()) for entry in excluded.split(",")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_local(host: str) -> bool:
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _fits(asked: SplitResult, entry: str) -> bool:
    host = asked.hostname or ""
    address = _address(host)
    if entry in ("", "*"):
        return entry == "*"
    if "/" in entry:
        try:
            return address is not None and address in ip_network(entry, strict=False)
        except ValueError:
            return False
    named, port = _without_port(entry)
    if port and port != str(asked.port or {"https": 443}.get(asked.scheme, 80)):
        return False
    if address is not None:
        return _address(named) == address
    name = named.removeprefix("*").removeprefix(".")
    return host.endswith(f".{name}") or (host == name == named)


def _without_port(entry: str) -> tuple[str, str]:
    if entry.startswith("["):
        host, _, port = entry[1:].partition("]")
        return host, port.removeprefix(":")
    host, colon, port = entry.rpartition(":")
    return (host, port) if colon and ":" not in host else (entry, "")


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
