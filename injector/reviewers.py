"""What is answered on the webhooks' paths: about pods, and about the mesh's configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, Protocol, TypeAlias

import structlog

from injector.admission_review import ReviewAnswer, ReviewRequest, answer_review
from injector.decide import Why
from injector.server import LARGE
from injector.settings import InjectionSettings
from injector.validation_review import Judgement, add_warnings, judge
from injector.validation_settings import ValidationSettings
from model.problems import Problem
from sources.kinds import Object

INJECT_PATH: Final = "/inject"
VALIDATE_PATH: Final = "/validate"

_STALE: Final = (Why.NOT_ASKED, Why.OTHER_REVISION, Why.ISTIO, Why.NAMESPACE_DISABLED, Why.UNKNOWN_VALUE)
"""Answers by a namespace's labels: the API server's selectors say otherwise, unless it was labelled a moment ago. The
others would be the same whatever its labels are (an unknown value may be the pod's, too; that is seldom)."""

Findings: TypeAlias = Callable[[Object], Awaitable[Iterable[Problem]]]
"""What is odd about an object beside the others, for warnings only. It takes no longer than whoever writes may wait."""

_THREADS: Final = 2
_log = structlog.get_logger()


class Namespaces(Protocol):
    """What is known of namespaces."""

    async def labels_of(self, namespace: str, *, newest: bool = False) -> Mapping[str, str] | None:
        """Its labels, None if there is no such namespace as far as one knows. May wait a moment to find out.

        `newest`: as they are now, if that can be found out in a moment.
        """


class InjectionReviewer:
    """Adds sidecars. `settings` answers those that are in force."""

    def __init__(self, settings: Callable[[], InjectionSettings], namespaces: Namespaces) -> None:
        self._settings = settings
        self._namespaces = namespaces

    async def review(self, asked: ReviewRequest) -> ReviewAnswer:
        """See `server.Reviewer`."""
        labels = await self._namespaces.labels_of(asked.namespace) if asked.pod is not None else {}
        answer = answer_review(asked, labels, self._settings())
        if answer.decision is not None and answer.decision.why in _STALE:
            newest = await self._namespaces.labels_of(asked.namespace, newest=True)
            if newest is not None and newest != labels:
                answer = answer_review(asked, newest, self._settings())
        if not answer.allowed:
            _log.warning("injector.refused", namespace=asked.namespace, uid=asked.uid, reason=answer.message)
        elif answer.decision is not None:
            why = answer.decision.why
            _log.info("injector.decided", namespace=asked.namespace, inject=answer.decision.inject, why=str(why))
        return answer


class ValidationReviewer:
    """Judges the mesh's configuration. Large objects are parsed in threads, so that no pod waits for them."""

    def __init__(self, settings: Callable[[], ValidationSettings], findings: Findings | None = None) -> None:
        self._settings = settings
        self._findings = findings
        self._threads = asyncio.Semaphore(_THREADS)

    async def review(self, asked: ReviewRequest) -> ReviewAnswer:
        """See `server.Reviewer`."""
        judged = await self._judge(asked)
        answer = judged.answer
        if self._findings is not None and judged.admitted is not None:
            answer = add_warnings(answer, await self._findings(judged.admitted))
        if not answer.allowed:
            name = f"{asked.kind}/{asked.namespace}/{asked.name}"
            _log.info("validator.refused", object=name, uid=asked.uid, reason=answer.message)
        return answer

    async def _judge(self, asked: ReviewRequest) -> Judgement:
        if asked.size <= LARGE:
            return judge(asked, self._settings())
        async with self._threads:
            return await asyncio.to_thread(judge, asked, self._settings())
