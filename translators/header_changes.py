"""What a VirtualService does to headers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValue as HeaderValueMessage,
)
from envoy_data_plane.envoy.config.core.v3 import HeaderValueOption, HeaderValueOptionHeaderAppendAction

from model.routing import HeaderChanges, HeaderFormat, Headers, HeaderValue


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderFields:
    """The four fields that Envoy's routes and weighted clusters have for headers."""

    request_add: list[HeaderValueOption] = field(default_factory=list)
    request_remove: list[str] = field(default_factory=list)
    response_add: list[HeaderValueOption] = field(default_factory=list)
    response_remove: list[str] = field(default_factory=list)


def build_headers(*changes: Headers) -> HeaderFields:
    """All of `changes`, applied in that order."""
    return HeaderFields(
        request_add=_additions(headers.request for headers in changes),
        request_remove=_removals(headers.request for headers in changes),
        response_add=_additions(headers.response for headers in changes),
        response_remove=_removals(headers.response for headers in changes),
    )


def escape(text: str) -> str:
    """Literal text where Envoy reads commands: a lone '%' would make it refuse the whole route table."""
    return text.replace("%", "%%")


def _additions(changes: Iterable[HeaderChanges]) -> list[HeaderValueOption]:
    return [option for change in changes for option in _options(change)]


def _options(change: HeaderChanges) -> Iterator[HeaderValueOption]:
    for name, value in change.set:
        yield _option(name, value, HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD)
    for name, value in change.add:
        yield _option(name, value, HeaderValueOptionHeaderAppendAction.APPEND_IF_EXISTS_OR_ADD)


def _option(name: str, value: HeaderValue, action: HeaderValueOptionHeaderAppendAction) -> HeaderValueOption:
    text = value.format if isinstance(value, HeaderFormat) else escape(value)
    return HeaderValueOption(
        header=HeaderValueMessage(key=name, value=text), append_action=action, keep_empty_value=not text
    )


def _removals(changes: Iterable[HeaderChanges]) -> list[str]:
    return list(dict.fromkeys(name for change in changes for name in change.remove))
