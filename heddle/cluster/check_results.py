"""What `heddle check` found: one line a check, green, yellow or red, with a hint where it is not green."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """FAILED: it does not work. WARNING: it works, and should be looked at, or could not be."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """`section` and `check` are constant; `detail` is what was found, `hint` what to do ('' when it is OK)."""

    section: str
    check: str
    state: State
    detail: str = ""
    hint: str = ""


def ok(section: str, check: str, detail: str = "") -> Result:
    return Result(section=section, check=check, state=State.OK, detail=detail)


def warning(section: str, check: str, detail: str, hint: str) -> Result:
    return Result(section=section, check=check, state=State.WARNING, detail=detail, hint=hint)


def failed(section: str, check: str, detail: str, hint: str) -> Result:
    return Result(section=section, check=check, state=State.FAILED, detail=detail, hint=hint)


_SIGNS: Final = {State.OK: "√", State.WARNING: "‼", State.FAILED: "×"}
_COLOURS: Final = {State.OK: "32", State.WARNING: "33", State.FAILED: "31"}


def to_lines(results: Sequence[Result], *, coloured: bool) -> Iterable[str]:
    """As people read them, section by section."""
    section = ""
    for result in results:
        if result.section != section:
            if section:
                yield ""
            section = result.section
            yield section
            yield "-" * len(section)
        sign = _SIGNS[result.state]
        if coloured:
            sign = f"\x1b[{_COLOURS[result.state]}m{sign}\x1b[0m"
        yield f"{sign} {result.check}" + (f": {result.detail}" if result.detail else "")
        if result.hint:
            yield f"    {result.hint}"
    counts = {state: sum(result.state is state for result in results) for state in State}
    yield ""
    yield f"{counts[State.OK]} ok, {counts[State.WARNING]} to look at, {counts[State.FAILED]} failed"


def to_json(result: Result) -> dict[str, str]:
    return {
        "section": result.section,
        "check": result.check,
        "state": str(result.state),
        "detail": result.detail,
        "hint": result.hint,
    }
