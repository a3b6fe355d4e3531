"""What a kubelet makes of our arguments."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from injector.bootstrap_text import build_bootstrap_text
from injector.kubelet_text import to_literal
from injector.settings import InjectionSettings
from tests.injector.kubelet import expand

VARIABLES = {"POD_NAME": "web-1", "A": "$(POD_NAME)"}


@given(st.text(alphabet="$()AP_ODNME x"))
def test_a_literal_arrives_as_it_was(text: str) -> None:
    assert expand(to_literal(text), VARIABLES) == text


def test_a_bootstrap_has_no_other_dollars_than_our_variables() -> None:
    text = build_bootstrap_text(InjectionSettings(), "sidecar", ())
    variables = ("POD_NAME", "POD_NAMESPACE", "INSTANCE_IP", "SERVICE_ACCOUNT", "WORKLOAD_NAME")
    assert "$" not in expand(text, dict.fromkeys(variables, "x"))
