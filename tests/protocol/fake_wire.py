"""One model client and its stream, joined by queues, and what is asserted of each response as it is sent."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from datetime import datetime

from tests.protocol.conversation import BROKEN, CDS, EDS, LDS, LEADS, RDS, VHDS, Heard, Talk, hear, is_for
from tests.protocol.model_client import COMPLETE, ModelClient, Want
from xds.gates import PATIENCE
from xds.protocol import ANSWER_WITHIN
from xds.wire import DeltaRequest, SotwRequest, parse_delta_request, parse_sotw_request

NAMES = {
    CDS: ("a", "b", "c~a", "c~b"),
    EDS: ("a", "b", "c~a"),
    LDS: ("l", "m"),
    RDS: ("80", "81"),
    VHDS: ("80/a", "80/b", "81/a"),
}


def contents(heard: Heard) -> dict[str, str]:
    """What a response says, by name; nothing of what there is not."""
    return heard.resources | dict.fromkeys(heard.missing, "")


class Side:
    """One client, its stream, and what passed between them on it. `looked` counts what was there to be looked at."""

    def __init__(self, delta: bool, app: str, talk: Talk, looked: Counter[str]) -> None:
        self.talk = talk
        self.app = app
        self.looked = looked
        self.client = ModelClient(delta)
        self.inbox: deque[bytes] = deque()
        self.unsure = False
        """Whether something was answered too late, or the client came back: what it has may not be known."""
        self.calm_since = talk.now
        self.came_back = False
        """Whether it did since all was quiet."""
        self.begin()

    def begin(self) -> None:
        self.inbox.clear()
        self.on_the_way: dict[str, tuple[Heard, datetime]] = {}
        self.refused: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
        self.sent_clusters: set[str] = set()
        self.known: defaultdict[str, set[str]] = defaultdict(set)
        """What it was sent on this stream, by type."""

    @property
    def hurried(self) -> bool:
        """Whether so much time has passed that nothing need be waited for."""
        return self.talk.now - self.calm_since >= PATIENCE

    def passes(self, seconds: int) -> None:
        self.talk.passes(seconds=seconds)
        self.unsure |= any(self.talk.now - at >= ANSWER_WITHIN for _, at in self.on_the_way.values())

    # What comes and goes

    def server_reads(self) -> None:
        if not self.client.outbox:
            return
        request = self.parse(self.client.outbox.popleft())
        self.heed(request)
        self.talk.stream.receive(request, self.talk.now)

    def heed(self, request: DeltaRequest | SotwRequest) -> None:
        if request.type_url not in self.on_the_way:
            return
        heard, _ = self.on_the_way[request.type_url]
        if request.nonce == heard.nonce:
            del self.on_the_way[request.type_url]
            if request.error is not None:
                self.refused[request.type_url].append(contents(heard))
                self.looked["refused responses"] += 1
                self.looked["refused responses of several"] += len(heard.resources) > 1

    def server_sends(self) -> bool:
        raw = self.talk.stream.next(self.talk.now)
        if raw is None:
            return False
        heard = hear(raw, delta=self.talk.delta)
        self.check(heard)
        self.on_the_way[heard.type_url] = (heard, self.talk.now)
        self.inbox.append(raw)
        return True

    def client_reads(self) -> None:
        if self.inbox:
            self.client.hear(self.inbox.popleft())

    def rest(self, *, burst: bool) -> None:
        """They exchange messages until neither has one. `burst`: all that there is to send goes before an answer."""
        for _ in range(500):
            quiet = not self.client.outbox and not self.inbox
            while self.client.outbox:
                self.server_reads()
            sent = self.server_sends()
            while burst and self.server_sends():
                pass
            self.client_reads()
            while burst and self.inbox:
                self.client_reads()
            if quiet and not sent and not self.client.outbox:
                return
        raise AssertionError("they never come to rest")

    def reconnect(self, *, to_another: bool) -> None:
        self.looked["reconnects"] += any(want.held for want in self.client.wants.values())
        self.begin()
        self.unsure = self.came_back = True
        self.talk.reconnect(to_another=to_another)
        self.client.reconnect()

    def parse(self, raw: bytes) -> DeltaRequest | SotwRequest:
        return (parse_delta_request if self.talk.delta else parse_sotw_request)(raw)

    # What is asserted of a response

    def check(self, heard: Heard) -> None:
        url, now = heard.type_url, self.talk.now
        before = self.on_the_way.get(url)
        assert before is None or now - before[1] >= ANSWER_WITHIN, "two of a type on their way"
        self.looked["resends"] += before is not None
        has_it_all = heard.resources.items() <= self.client.contents(url).items()
        if not (url in (EDS, VHDS) and has_it_all):  # else it follows what waits for it, whatever the client said of it
            assert contents(heard) not in self.refused[url] or not heard.resources, "a refused set of versions again"
        self.looked["sets beside a refused one"] += bool(self.refused[url] and heard.resources)
        assert all(is_for(name, self.app) for name in heard.resources), "what is another asker's"
        others = any(not is_for(name, self.app) for name in self.talk.world[url])
        self.looked["responses beside what is another's"] += others
        want = self.client.wants[url]
        known = self.known[url] | want.names | want.held.keys() | self.asked_lately(url)
        # A name that is taken back while the wildcard stays is answered.
        assert want.wildcard or set(heard.removed) <= known, "the removal of what it never had and does not ask for"
        self.known[url] |= heard.resources.keys()
        if not want.wildcard:
            asked = want.names | self.asked_lately(url)
            assert heard.resources.keys() <= asked, "what nobody asked for"
        self.check_left(heard)
        if url == CDS:
            self.check_removals(heard)
            self.sent_clusters |= heard.resources.keys()
        if url in (RDS, LDS, VHDS):
            self.check_references(heard)

    def asked_lately(self, url: str) -> set[str]:
        """What the server may think is wanted still: it has not read the newest requests, or they crossed a response
        (state of the world)."""
        return set(NAMES[url]) if self.client.outbox or (self.inbox and not self.talk.delta) else set()

    def removed(self, heard: Heard) -> set[str]:
        """What the client has and is to have no longer."""
        held = self.client.wants[heard.type_url].held.keys()
        if self.talk.delta:
            return held & set(heard.removed)
        return held - heard.resources.keys() if heard.type_url in COMPLETE else set()

    def check_left(self, heard: Heard) -> None:
        """What is there stays, in some version, refused or not and derivable or not."""
        if heard.type_url == EDS or self.keeps_a_set_of(heard.type_url):
            return  # that there is no assignment takes no hosts away: a cluster need not wait for it
        if not self.talk.delta and self.unsure:
            return  # what it took and answered too late does not count as held, nor is it in the parts of a refused set
        there = {name for name in self.talk.world[heard.type_url] if is_for(name, self.app)}
        removed = self.removed(heard)
        self.looked["removals"] += len(removed)
        assert not removed & there, "what is there is taken away"

    def check_references(self, heard: Heard) -> None:
        clusters = self.client.wants.get(CDS)
        if clusters is None or CDS not in self.client.begun:
            return
        if any(self.parse(raw).type_url == CDS for raw in self.client.outbox):
            return
        if self.keeps_a_set_of(CDS) and BROKEN in self.talk.world[CDS].values():
            return  # clusters come all or not at all, and routes do not wait for our mistakes
        warming = self.on_the_way.get(CDS)
        if warming is not None and self.talk.now - warming[1] >= PATIENCE:
            return
        leading = [content for content in heard.resources.values() if content.startswith(LEADS)]
        refused = {one.name for url, one in self.talk.stream.progress().rejected if url == CDS} if leading else set()
        for content in leading:
            target = content.removeprefix(LEADS)
            if not clusters.wildcard and target not in clusters.names:
                continue
            if self.talk.world[CDS].get(target, BROKEN) != BROKEN and target not in refused:
                assert target in self.sent_clusters | clusters.held.keys(), f"{heard.type_url} before {target}"
                if not self.hurried:
                    assert target in clusters.held, f"{heard.type_url} before the answer on {target}"
                    self.looked[f"{heard.type_url} that lead somewhere"] += 1

    def check_removals(self, heard: Heard) -> None:
        if self.hurried or self.keeps_a_set_of(CDS):
            return
        removed = self.removed(heard)
        self.looked["clusters that go"] += len(removed)
        for url in (LDS, RDS, VHDS):
            world = self.talk.world.get(url, {})
            for name, (_, content) in self.client.wants.get(url, Want()).held.items():
                now = world.get(name)
                # Else it leads there all the same, or nobody can tell where, or (state of the world) that it goes.
                if now not in (content, BROKEN) and (now is not None or self.talk.delta or url in COMPLETE):
                    assert content.removeprefix(LEADS) not in removed, f"a cluster before {name} that leads to it"

    def keeps_a_set_of(self, url: str) -> bool:
        """Whether the client came with a complete set of which nothing is known."""
        came_with_a_set = bool(self.client.wants[url].version) and url not in self.client.proven
        return not self.talk.delta and url in COMPLETE and came_with_a_set
