"""Envoy's messages as plain dataclasses: the library's classes without the validation that each construction ran.

envoy-data-plane declares its classes with pydantic's `dataclass`. To build their validators is half of what importing
them costs, and to run them more than half of what building a message does. A type checker sees every construction of
ours, an unknown field is a TypeError all the same, and `encode` refuses what does not fit the wire (a value of another
class, two members of a oneof), so that they find nothing that is not found without them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_PACKAGE = "envoy_data_plane"


class _BeforeTheMessages(MetaPathFinder):
    """Waits for the first import of the package, so that who needs no message need not load pydantic either."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds nothing. What it is asked for is the news."""
        if fullname == _PACKAGE:
            sys.meta_path.remove(self)
            _declare_plainly()
        return None


def use_plain_messages() -> None:
    """From now on, unless the package is loaded already: then its classes stay as they are."""
    if _PACKAGE not in sys.modules and not any(isinstance(each, _BeforeTheMessages) for each in sys.meta_path):
        sys.meta_path.insert(0, _BeforeTheMessages())


def _declare_plainly() -> None:
    import betterproto2
    import pydantic.dataclasses

    # The library works out the types of all fields of a class once for each of its fields.
    hints = cache(betterproto2.Message._type_hints.__func__)  # type: ignore[attr-defined]  # of a classmethod
    betterproto2.Message._type_hints = classmethod(hints)  # type: ignore[arg-type, method-assign, assignment]

    validating: Callable[..., Any] = pydantic.dataclasses.dataclass

    def declare(cls: type | None = None, *, config: Any = None, **options: Any) -> Any:
        def decorate(declared: type) -> type:
            if declared.__module__.split(".")[0] == _PACKAGE:
                if "__post_init__" in declared.__dict__:
                    # It warns of deprecated fields, which takes a third of building a cluster.
                    del declared.__post_init__  # type: ignore[attr-defined]  # looked up above
                return dataclass(**options)(declared)
            decorated: type = validating(config=config, **options)(declared)
            return decorated

        return decorate if cls is None else decorate(cls)

    pydantic.dataclasses.dataclass = declare  # type: ignore[assignment]
