"""What the webhook warns of: in time, from what is there now, and never more than a warning."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from heddle.cluster import admission_findings
from heddle.cluster.admission_findings import ENOUGH, FRESH_SECONDS, AdmissionFindings
from model.problems import Problem, Severity
from sources.assemble import Assembly
from sources.inventory import Inventory
from sources.kinds import Object
from sources.store import Store
from tests.unit.sources.test_neighbours import ROUTE, RULE, SERVICES, parse, store_of, text


class Counted(Inventory):
    """Counts how many were built."""

    built = 0

    def __init__(self, *given: object) -> None:
        type(self).built += 1
        super().__init__(*given)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    Counted.built = 0
    monkeypatch.setattr(admission_findings, "Inventory", Counted)


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@asynccontextmanager
async def running(store: Store, clock: Clock | None = None, limit: float = 30.0) -> AsyncIterator[AdmissionFindings]:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    found = AdmissionFindings(store, now=lambda: now, monotonic=clock or Clock(), limit_seconds=limit)
    try:
        yield found
    finally:
        found.close()


async def codes(findings: AdmissionFindings, manifest: str) -> list[str]:
    return [problem.code for problem in await findings(parse(manifest))]


async def test_a_route_to_a_subset_that_is_written_afterwards() -> None:
    store = store_of(SERVICES)
    async with running(store) as findings:
        assert await codes(findings, text(ROUTE)) == ["UnknownSubset"]
        store.replace_file("rule.yaml", text(RULE).encode())
        assert await codes(findings, text(ROUTE)) == []


async def test_an_inventory_serves_a_generation_and_at_least_a_second() -> None:
    store, clock = store_of(SERVICES), Clock()
    async with running(store, clock) as findings:
        await asyncio.gather(*(findings(parse(text(ROUTE))) for _ in range(20)))
        clock.seconds += 1000
        await findings(parse(text(ROUTE)))
        assert Counted.built == 1
        store.replace_file("rule.yaml", text(RULE).encode())
        await findings(parse(text(ROUTE)))
        assert Counted.built == 2
        for number in range(5):
            store.replace_file("rule.yaml", text(RULE, subset=f"v{number}").encode())
            await findings(parse(text(ROUTE)))
        assert Counted.built == 2
        clock.seconds += FRESH_SECONDS
        await findings(parse(text(ROUTE)))
        assert Counted.built == 3


async def test_what_takes_too_long_is_not_waited_for_and_the_next_has_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = asyncio.Event()
    loop = asyncio.get_running_loop()
    real = admission_findings.find_beside

    def find(entry: Object, present: Assembly, inventory: Inventory) -> Iterator[Problem]:
        if entry.ref.name == "slow":
            asyncio.run_coroutine_threadsafe(slow.wait(), loop).result()
        return real(entry, present, inventory)

    monkeypatch.setattr(admission_findings, "find_beside", find)
    async with running(store_of(SERVICES), limit=0.05) as findings:
        assert await findings(parse(text(ROUTE, "slow"))) == ()
        # One thread, whatever is asked: those behind it have none either.
        assert await findings(parse(text(ROUTE))) == ()
        slow.set()
        found = [await findings(parse(text(ROUTE))) for _ in range(20)]
        assert found[-1]


async def test_our_own_mistake_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(entry: Object, present: Assembly, inventory: Inventory) -> Iterator[Problem]:
        raise LookupError("ours")

    monkeypatch.setattr(admission_findings, "find_beside", find)
    async with running(store_of(SERVICES)) as findings:
        with capture_logs() as logged:
            assert await findings(parse(text(ROUTE))) == ()
    assert [(line["event"], line["log_level"]) for line in logged] == [("validator.findings_failed", "error")]


async def test_no_more_than_are_passed_on() -> None:
    routes = ", ".join(f"{{destination: {{host: nobody-{number}}}, weight: 2}}" for number in range(50))
    manifest = text(ROUTE).replace("{destination: {host: web, subset: v1}}", routes)
    async with running(store_of(SERVICES)) as findings:
        found = await findings(parse(manifest))
    assert len(found) == ENOUGH
    assert {problem.severity for problem in found} == {Severity.ERROR}
