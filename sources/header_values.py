"""Names and values of HTTP headers that a user sets, checked as Envoy will check them."""

from __future__ import annotations

from collections.abc import Iterator

from model.routing import HeaderFormat

MAX_NAME_BYTES = 256
MAX_VALUE_BYTES = 16384
"""Envoy's limit."""

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
"""RFC 9110, section 5.6.2, in lower case."""

_HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "content-length", "upgrade", "te", "keep-alive"})

PLAIN_COMMANDS = frozenset(
    {
        "BYTES_RECEIVED",
        "BYTES_SENT",
        "CONNECTION_ID",
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_LOCAL_ADDRESS",
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_LOCAL_PORT",
        "DOWNSTREAM_LOCAL_URI_SAN",
        "DOWNSTREAM_PEER_DNS_SAN",
        "DOWNSTREAM_PEER_FINGERPRINT_256",
        "DOWNSTREAM_PEER_ISSUER",
        "DOWNSTREAM_PEER_SERIAL",
        "DOWNSTREAM_PEER_SUBJECT",
        "DOWNSTREAM_PEER_URI_SAN",
        "DOWNSTREAM_REMOTE_ADDRESS",
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_REMOTE_PORT",
        "DOWNSTREAM_TLS_CIPHER",
        "DOWNSTREAM_TLS_VERSION",
        "DURATION",
        "GRPC_STATUS",
        "HOSTNAME",
        "PROTOCOL",
        "REQUESTED_SERVER_NAME",
        "RESPONSE_CODE",
        "RESPONSE_CODE_DETAILS",
        "RESPONSE_FLAGS",
        "ROUTE_NAME",
        "START_TIME",
        "STREAM_ID",
        "TRACE_ID",
        "UPSTREAM_CLUSTER",
        "UPSTREAM_HOST",
        "UPSTREAM_LOCAL_ADDRESS",
        "UPSTREAM_REMOTE_ADDRESS",
    }
)
"""Envoy's commands without arguments that may go into a header. Left out is what reveals the sidecar's
environment, files, or whole certificates."""

HEADER_COMMANDS = frozenset({"REQ", "RESP"})
"""`%REQ(name)%`, `%REQ(name?other)%`, either with `:LENGTH` behind the bracket."""

ALLOWED = f"{', '.join(sorted(HEADER_COMMANDS))} and Envoy's commands on addresses, peer, TLS and outcome"


def check_header_name(name: str) -> str:
    """`name` in lower case. Raises ValueError if it is no token of RFC 9110 or longer than 256 bytes."""
    lower = name.lower()
    if not lower:
        raise ValueError("a header needs a name")
    if len(lower.encode("utf-8", "replace")) > MAX_NAME_BYTES:
        raise ValueError(f"a header name has at most {MAX_NAME_BYTES} bytes")
    if not _TOKEN.issuperset(lower):
        raise ValueError(f"{name[:80]!r} is no header name: letters, digits and !#$%&'*+-.^_`|~")
    return lower


def check_changed_header(name: str) -> str:
    """`name` in lower case, if a user may set, add or remove that header. Raises ValueError if not.

    Envoy refuses `host` and everything with a leading colon; the ones that frame a message would break it.
    """
    if name.startswith(":") or name.lower() == "host":
        raise ValueError(f"{name[:80]!r} cannot be changed as a header")
    lower = check_header_name(name)
    if lower in _HOP_BY_HOP:
        raise ValueError(f"{lower!r} frames the message itself and cannot be changed")
    return lower


def parse_header_value(text: str) -> str | HeaderFormat:
    """The value: plain text (`%%` already read as '%'), or a format if it holds Envoy commands.

    Raises ValueError for CR, LF, NUL, over 16,384 bytes, a lone '%', or a command that is not known here.
    """
    check_plain(text)
    if len(text.encode("utf-8", "replace")) > MAX_VALUE_BYTES:
        raise ValueError(f"a header value has at most {MAX_VALUE_BYTES} bytes")
    if "%" not in text:
        return text
    parts = list(_split(text))
    if any(part is not None for _, part in parts):
        return HeaderFormat(format=text)
    return "".join(literal for literal, _ in parts)


def check_plain(text: str) -> str:
    """`text` itself. Raises ValueError if it holds CR, LF or another control character but the tab."""
    for character in text:
        if (character < " " and character != "\t") or character == "\x7f":
            raise ValueError(f"the control character {character!r} cannot stand in a header")
        if "\ud800" <= character <= "\udfff":
            raise ValueError("the value is no valid Unicode text")
    return text


def _split(text: str) -> Iterator[tuple[str, str | None]]:
    """(literal text, the command behind it or None), in turn."""
    rest = text
    while rest:
        literal, percent, rest = rest.partition("%")
        if not percent:
            yield literal, None
        elif rest.startswith("%"):
            yield literal + "%", None
            rest = rest[1:]
        else:
            command, end, rest = rest.partition("%")
            if not end:
                raise ValueError(f"a lone '%' in {text[:80]!r}")
            _check_command(command, text)
            yield literal, command


def _check_command(command: str, text: str) -> None:
    if command in PLAIN_COMMANDS:
        return
    name, bracket, rest = command.partition("(")
    arguments, closing, length = rest.partition(")")
    if bracket and closing and name in HEADER_COMMANDS:
        main, _, other = arguments.partition("?")
        for header in (main, other) if "?" in arguments else (main,):
            check_header_name(header.removeprefix(":"))
        if not length or (length[0] == ":" and length[1:].isascii() and length[1:].isdigit() and len(length) < 7):
            return
        raise ValueError(f"'%{command[:80]}%': only a length, as in ':10', may follow the bracket")
    if not command.replace("_", "").isalnum() or not command.isupper():
        raise ValueError(f"a lone '%' in {text[:80]!r}")
    raise ValueError(f"'%{command[:80]}%' is no command that may stand in a header value")
