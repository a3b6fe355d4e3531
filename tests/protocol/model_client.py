"""A client that does just what xDS asks of one, at the far end of two queues."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from protos import discovery_pb2 as pb
from tests.protocol.conversation import CDS, EDS, LDS, parse_toy

BAD = "BAD"
"""Content that this client refuses, and with it the whole response."""
COMPLETE = (CDS, LDS)


@dataclass(slots=True)
class Want:
    """What the client wants and has of one type."""

    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    named: bool = False
    held: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Name to version and content."""
    nonce: str = ""
    version: str = ""


@dataclass(slots=True)
class ModelClient:
    """Its requests wait in `outbox` as bytes. One stream; `reconnect` begins another and keeps what is held."""

    delta: bool
    wants: dict[str, Want] = field(default_factory=dict)
    outbox: deque[bytes] = field(default_factory=deque)
    begun: set[str] = field(default_factory=set)
    proven: set[str] = field(default_factory=set)
    """The types of which it accepted something on this stream, or had nothing before it."""
    refused_last: set[str] = field(default_factory=set)
    """The types whose last response it refused."""
    moody: bool = False
    """Refuses the next response that has something in it."""
    whims: defaultdict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    """By type: name and content of what it refused on this stream without a reason, so that who looks for the culprit
    may end there. Content '': that it is gone."""
    warming: set[str] = field(default_factory=set)
    """The clusters that are new or changed, and wait for the endpoints that it asked for."""

    def refuses(self, url: str, contents: Mapping[str, str]) -> bool:
        """Whether it takes nothing of a response with these, by name."""
        moody = self.moody and bool(contents)
        self.moody = self.moody and not moody
        self.refused_last.discard(url)
        bad = any(BAD in content for content in contents.values())
        if not moody and not bad:
            return False
        self.refused_last.add(url)
        if not bad:
            self._note_whim(url, contents)
        if url == EDS:
            self.warming -= {name for name, content in contents.items() if BAD in content}
        return True

    def _note_whim(self, url: str, contents: Mapping[str, str]) -> None:
        if self.delta and len(contents) > 1:
            return  # its parts come alone
        self.whims[url].update(contents.items())
        if not self.delta and url in COMPLETE:
            self.whims[url].update((name, "") for name in self.wants[url].held.keys() - contents.keys())

    def contents(self, url: str) -> dict[str, str]:
        """What it holds of a type, by name."""
        return {name: content for name, (_, content) in self.wants[url].held.items()}

    def open_wildcard(self, url: str) -> None:
        want = self.wants.setdefault(url, Want())
        if want.wildcard or want.named:
            return
        want.wildcard = True
        self._request(url)

    def subscribe(self, url: str, name: str) -> None:
        want = self.wants.setdefault(url, Want())
        if name in want.names:
            return
        want.names.add(name)
        self._named(url, want)
        self._request(url, subscribe=(name,))

    def unsubscribe(self, url: str, name: str) -> None:
        want = self.wants.get(url)
        if want is None or name not in want.names:
            return
        want.names.discard(name)
        if not want.wildcard:
            want.held.pop(name, None)
        if url == EDS:
            self.warming.discard(name)
        self._request(url, unsubscribe=(name,))

    def reconnect(self) -> None:
        self.outbox.clear()
        self.begun.clear()
        self.whims.clear()
        self.warming.clear()
        # A first request without names would mean everything: of a type that it wants nothing of it says nothing.
        self.wants = {url: want for url, want in self.wants.items() if want.wildcard or want.names}
        self.proven = {url for url, want in self.wants.items() if not want.version}
        for url, want in self.wants.items():
            want.nonce = ""
            names = sorted(want.names) + (["*"] if want.wildcard and want.named else [])
            self._request(url, subscribe=tuple(names))

    def hear(self, raw: bytes) -> None:
        if self.delta:
            self._hear_delta(pb.DeltaDiscoveryResponse.FromString(raw))
        else:
            self._hear_sotw(pb.DiscoveryResponse.FromString(raw))

    def _named(self, url: str, want: Want) -> None:
        # From its first name on, a state-of-the-world client says the wildcard aloud.
        want.named = True

    def _hear_delta(self, message: pb.DeltaDiscoveryResponse) -> None:
        want = self.wants[message.type_url]
        want.nonce = message.nonce
        found = [one for one in message.resources if one.HasField("resource")]
        contents = {one.name: (one.version, parse_toy(one.resource.value)[1]) for one in found}
        if self.refuses(message.type_url, {name: content for name, (_, content) in contents.items()}):
            self._request(message.type_url, error="bad")
            return
        self._warm(message.type_url, contents, message.removed_resources)
        for name, (version, content) in contents.items():
            if name in want.names or want.wildcard:
                want.held[name] = (version, content)
        if message.type_url != EDS:
            for name in message.removed_resources:
                want.held.pop(name, None)
        self._request(message.type_url)

    def _hear_sotw(self, message: pb.DiscoveryResponse) -> None:
        want = self.wants[message.type_url]
        want.nonce = message.nonce
        contents = dict(parse_toy(one.value) for one in message.resources)
        if self.refuses(message.type_url, contents):
            self._request(message.type_url, error="bad")
            return
        gone = want.held.keys() - contents.keys() if message.type_url in COMPLETE else set()
        self._warm(message.type_url, {name: ("", content) for name, content in contents.items()}, gone)
        want.version = message.version_info
        self.proven.add(message.type_url)
        if message.type_url in COMPLETE:
            want.held.clear()
        for name, content in contents.items():
            if name in want.names or want.wildcard:
                want.held[name] = ("", content)
        self._request(message.type_url)

    def _warm(self, url: str, contents: Mapping[str, tuple[str, str]], removed: Collection[str]) -> None:
        """Clusters that it takes wait for endpoints, though it has some already."""
        if url == EDS:
            self.warming -= {*contents, *removed}
        elif url == CDS and EDS in self.wants:
            held = self.wants[CDS].held
            self.warming -= set(removed)
            changed = {name for name, one in contents.items() if held.get(name, ("", ""))[1] != one[1]}
            self.warming |= changed & self.wants[EDS].names

    def _request(
        self,
        url: str,
        *,
        subscribe: tuple[str, ...] = (),
        unsubscribe: tuple[str, ...] = (),
        error: str | None = None,
    ) -> None:
        want = self.wants[url]
        first = url not in self.begun
        self.begun.add(url)
        message: pb.DeltaDiscoveryRequest | pb.DiscoveryRequest
        if self.delta:
            message = pb.DeltaDiscoveryRequest(
                type_url=url,
                resource_names_subscribe=subscribe,
                resource_names_unsubscribe=unsubscribe,
                initial_resource_versions={name: version for name, (version, _) in want.held.items()} if first else {},
                response_nonce="" if subscribe or unsubscribe else want.nonce,
            )
        else:
            message = pb.DiscoveryRequest(
                type_url=url,
                resource_names=sorted(want.names) + (["*"] if want.wildcard and want.named else []),
                response_nonce=want.nonce,
                version_info=want.version,
            )
        if error is not None:
            message.error_detail.message = error
        self.outbox.append(message.SerializeToString())
