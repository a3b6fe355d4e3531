"""YAML that everybody reads alike."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from injector.yaml_output import dump_yaml, to_plain
from sources.yaml_documents import read_documents

WORDS = ("y", "n", "yes", "Off", "010", "0o7", "1_000", "1e3", ".5", "~", "null", "", "1:30", "2026-01-01", "<<", "=")
LINES = ("a\nb\n", "a\n\nb", " lead\nx\n", "tab\t\nx\n", "# no\n comment\n", "---\nx\n", "\ufeff", "\x85", "\u2028")
TEXTS = st.text(max_size=20) | st.sampled_from((*WORDS, *LINES))
VALUES = st.recursive(
    TEXTS | st.integers(-(1 << 63), 1 << 63) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4))
def test_what_is_written_is_what_is_read(value: dict[str, object]) -> None:
    (document,) = read_documents(dump_yaml(value).encode())
    assert document.faults == ()
    assert to_plain(document.root) == value


def test_words_that_are_booleans_to_kubernetes_are_quoted() -> None:
    assert dump_yaml({"y": "n", "a": "010"}) == '"y": "n"\na: "010"\n'
