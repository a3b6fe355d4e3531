"""Text that a user writes and Envoy reads: regular expressions, header values, path templates, hosts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.routing import HeaderFormat
from sources.header_values import (
    PLAIN_COMMANDS,
    check_changed_header,
    check_header_name,
    check_plain,
    parse_header_value,
)
from sources.hosts import check_host
from sources.istio_resilience import parse_retry_on
from sources.path_template import check_path_template
from sources.regex import check_substitution, compile_regex


@pytest.mark.parametrize(
    "pattern",
    ["a", "a" * 1024, "(a+)+$", "[a-z]{1,1000}", r"\pL{1,27}", "|".join("ab" for _ in range(300)), "é", "a\n"],
)
def test_regexes_that_envoy_takes(pattern: str) -> None:
    assert compile_regex(pattern).pattern == pattern


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("", "must not be empty"),
        ("a" * 1025, "1025 characters, more than 1024"),
        ("a(?=b)", "invalid perl operator"),
        (r"(a)\1", "invalid escape sequence"),
        ("[a-z", "missing ]"),
        ("(a{1,100}){1,100}", "repetition size"),
        (r"(\pL{1,30}){1,20}", "too large"),
        (r"\pL{1,500}", "too large"),
        ("a\0", "NUL"),
        ("\ud800", "Unicode"),
    ],
)
def test_regexes_that_are_refused(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        compile_regex(pattern)


def test_a_hostile_regex_costs_nothing() -> None:
    """RE2 is linear, and nothing here runs the pattern."""
    assert compile_regex("(a*)*" * 100 + "$").groups == 100


@given(st.text(max_size=40))
def test_no_regex_makes_the_compiler_raise_anything_else(pattern: str) -> None:
    try:
        compiled = compile_regex(pattern)
    except ValueError:
        return
    assert compiled.pattern == pattern


def test_substitutions() -> None:
    two = compile_regex("(a)(b)")
    assert check_substitution(two, r"/\0\1\2\\") == r"/\0\1\2\\"
    for wrong in (r"\3", r"\q", "\\", r"\٣"):
        with pytest.raises(ValueError):
            check_substitution(two, wrong)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ""),
        ("plain, text; with=all (sorts) of \t signs", "plain, text; with=all (sorts) of \t signs"),
        ("100%%", "100%"),
        ("%%%%", "%%"),
        ("%%REQ(a)%%", "%REQ(a)%"),
        ("%REQ(x-a)%", HeaderFormat(format="%REQ(x-a)%")),
        ("%REQ(:path)%", HeaderFormat(format="%REQ(:path)%")),
        ("a %REQ(X-A?:authority):10% 5%%", HeaderFormat(format="a %REQ(X-A?:authority):10% 5%%")),
        *((f"%{command}%", HeaderFormat(format=f"%{command}%")) for command in sorted(PLAIN_COMMANDS)),
    ],
)
def test_header_values(text: str, value: str | HeaderFormat) -> None:
    assert parse_header_value(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "%",
        "100%",
        "a%b%c",
        "%%%",
        "%FOO%",
        "%REQ()%",
        "%REQ(a%",
        "%REQ(a b)%",
        "%REQ(a):x%",
        "%REQ(a):99999999%",
        "%REQ(a)b%",
        "%REQ%",
        "%PROTOCOL(a)%",
        "%protocol%",
        "%DOWNSTREAM_PEER_CERT%",
        "%ENVIRONMENT(HOME)%",
        "%FILE_CONTENT(/etc/passwd)%",
        "%START_TIME(%s)%",
        "a\r\nb: c",
        "a\nb",
        "a\0b",
        "a" * 16385,
        "\ud800",
    ],
)
def test_header_values_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_header_value(text)


@given(st.text(alphabet="%ABCREQ()?:x-_10", max_size=30))
def test_a_value_without_a_command_reads_back(text: str) -> None:
    try:
        value = parse_header_value(text)
    except ValueError:
        return
    assert (value.format if isinstance(value, HeaderFormat) else value.replace("%", "%%")) == text


def test_header_names() -> None:
    assert check_header_name("X-A") == "x-a"
    assert check_header_name("a" * 256) == "a" * 256
    for wrong in ("", "a b", "a:b", "a\n", "é", "a" * 257, "a\0", "(a)"):
        with pytest.raises(ValueError):
            check_header_name(wrong)
    for fixed in (":path", ":authority", "host", "HOST", "Transfer-Encoding", "content-length", "connection"):
        with pytest.raises(ValueError):
            check_changed_header(fixed)


@pytest.mark.parametrize(
    "path",
    ["/{*}", "/{**}", "/a/{*}/b/{**}", "/{*}/{*}/{**}/c", "/a/{*}/", "/a-._~%20!$&'()+,;:@=/{*}", "/../{*}"],
)
def test_path_templates(path: str) -> None:
    assert check_path_template(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "{*}",
        "a/{*}",
        "//{*}",
        "/{*}//",
        "/{**}/{*}",
        "/{**}/{**}",
        "/{***}",
        "/{}",
        "/{a}",
        "/{a=*}",
        "/{*",
        "/*}",
        "/a{*}",
        "/{*}.js",
        "/{*}/*",
        "/{*}/a b",
        "/{*}/é",
        "/{*}?a",
        "/{*}#a",
        "/{*}/[a]",
        '/{*}/"',
        "/{*}/\\",
        "/{*}/\0",
        "/{*}/" + "a" * 252,
    ],
)
def test_path_templates_that_are_refused(path: str) -> None:
    with pytest.raises(ValueError):
        check_path_template(path)


@pytest.mark.parametrize("host", ["a", "a.b", "*.a.b", "*", "10.0.0.1", "xn--a.com", "a_b.c", "a" * 63 + ".com"])
def test_hosts(host: str) -> None:
    assert check_host(host.upper()) == host


@pytest.mark.parametrize(
    "host",
    ["", ".", "a.", ".a", "a..b", "a.*.b", "*a.b", "**", "*.", "*.*.a", "a b", "a:80", "[::1]", "-a", "a-.b", "é.com",
     "a\0", "a" * 64, ".".join(["a" * 60] * 5), "a/b"],
)  # fmt: skip
def test_hosts_that_are_refused(host: str) -> None:
    with pytest.raises(ValueError):
        check_host(host)


def test_retry_conditions() -> None:
    assert parse_retry_on("5xx, reset,503,504,503") == "5xx,reset,503,504"
    for wrong in ("", "5xx,", "junk", "99", "600", "5XX"):
        with pytest.raises(ValueError):
            parse_retry_on(wrong)


@given(st.text(max_size=50))
def test_plain_text_holds_no_control_characters(text: str) -> None:
    try:
        check_plain(text)
    except ValueError:
        return
    assert not any(character in text for character in "\0\r\n\x7f")
