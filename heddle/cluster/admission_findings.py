"""What the validation webhook warns of: an object that does not fit those of the mesh, looked at in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from model.problems import Problem, Severity
from sources.assemble import Assembly
from sources.inventory import Inventory
from sources.kinds import Object
from sources.neighbours import find_beside
from sources.store import Store

LIMIT_SECONDS: Final = 0.05
"""How long whoever writes an object waits for warnings: after that, there are none."""
FRESH_SECONDS: Final = 1.0
"""How old the inventory may be when the mesh differs by now. To build it takes ten times as long as to use it."""
KEPT_SECONDS: Final = 60.0
"""How long an inventory that nobody asks for is kept: it holds on to pods that are gone."""
ENOUGH: Final = 15
"""How many problems are looked for: an API server passes no more warnings on."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Stock:
    """An inventory, of which generation of the store it is, and when that was read."""

    inventory: Inventory
    generation: int
    read: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Question:
    """One object, and all that a thread needs to know. `objects` are for an inventory, if there is no `stock`."""

    entry: Object
    present: Assembly
    stock: _Stock | None
    objects: Sequence[Object]
    generation: int
    asked: float
    now: datetime


class AdmissionFindings:
    """Call it from the store's thread. One question is looked into at a time, whatever is asked."""

    def __init__(
        self,
        store: Store,
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        limit_seconds: float = LIMIT_SECONDS,
    ) -> None:
        """`monotonic` in seconds."""
        self._store = store
        self._now = now
        self._monotonic = monotonic
        self._limit = limit_seconds
        self._stock: _Stock | None = None
        self._forgetting: asyncio.TimerHandle | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="admission-findings")

    async def __call__(self, entry: Object) -> tuple[Problem, ...]:
        """See `reviewers.Findings`: at most `ENOUGH`, and none if they are not found in time. It raises nothing."""
        loop = asyncio.get_running_loop()
        if self._forgetting is not None:
            self._forgetting.cancel()
        self._forgetting = loop.call_later(KEPT_SECONDS, self._forget)
        name = str(entry.ref)
        try:
            async with asyncio.timeout(self._limit):
                return await loop.run_in_executor(self._thread, self._find, self._question(entry))
        except TimeoutError:
            _log.info("validator.no_findings", object=name, reason=f"not found within {self._limit:g} s")
        except Exception:
            # A warning that fails must not be what keeps somebody from mending a mesh.
            _log.exception("validator.findings_failed", object=name)
        return ()

    def close(self) -> None:
        """Nothing is asked any more."""
        if self._forgetting is not None:
            self._forgetting.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _question(self, entry: Object) -> _Question:
        store, asked = self._store, self._monotonic()
        stock = self._known(store.generation, asked)
        return _Question(
            entry=entry,
            present=store.assembly,
            stock=stock,
            objects=() if stock is not None else tuple(store.objects.values()),
            generation=store.generation,
            asked=asked,
            now=self._now(),
        )

    def _known(self, generation: int, asked: float) -> _Stock | None:
        stock = self._stock
        good = stock is not None and (stock.generation == generation or asked - stock.read < FRESH_SECONDS)
        return stock if good else None

    def _find(self, question: _Question) -> tuple[Problem, ...]:
        """In the thread."""
        found: list[Problem] = []
        for problem in find_beside(question.entry, question.present, self._inventory(question)):
            if problem.severity is not Severity.INFO:
                found.append(problem)
            if len(found) == ENOUGH:
                break
        return tuple(found)

    def _inventory(self, question: _Question) -> Inventory:
        """Those who asked together share one."""
        stock = question.stock or self._known(question.generation, question.asked)
        if stock is None:
            inventory = Inventory(question.present.mesh, question.objects, question.now)
            stock = _Stock(inventory=inventory, generation=question.generation, read=question.asked)
            self._stock = stock
        return stock.inventory

    def _forget(self) -> None:
        self._stock = None
