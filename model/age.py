"""Which of several objects came first: where two say different things, the older one is in force."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol, TypeAlias

from model.problems import ObjectRef

_END_OF_TIME = datetime.max.replace(tzinfo=UTC)

Age: TypeAlias = tuple[datetime, str, str]


class Aged(Protocol):
    """An object that may say when it was created."""

    @property
    def ref(self) -> ObjectRef: ...
    @property
    def created(self) -> datetime | None: ...


def age(value: Aged) -> Age:
    """Sorts the oldest first; what does not say its age comes last; then by namespace and name."""
    return (value.created or _END_OF_TIME, value.ref.namespace, value.ref.name)
