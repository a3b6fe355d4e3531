"""Rules in CEL: what cannot be told there is left open, and no text of a user's is anything but text.

That Envoy reads them so is shown in tests/envoy/test_server_first.py.
"""

from __future__ import annotations

import pytest
from envoy_data_plane.envoy.config.rbac.v3 import Permission, Policy, Principal, PrincipalSet

from model.matching import policy_match
from translators import permissions, principals
from translators.early_refusal import LONGEST_CONDITION, build_early_refusal, to_condition

DOMAINS = ("cluster.local",)


def condition(*of: Principal, has_peer: bool = True, in_doubt: bool = True, to: Permission | None = None) -> str:
    policy = Policy(principals=list(of), permissions=[to or permissions.ANYTHING])
    return to_condition(policy, has_peer, in_doubt=in_doubt)


CLIENT = principals.by_principal(policy_match("cluster.local/ns/shop/sa/client"), DOMAINS)


def test_an_identity_is_compared_or_is_nobodys_in_plaintext() -> None:
    assert condition(CLIENT) == "connection.uri_san_peer_certificate == 'spiffe://cluster.local/ns/shop/sa/client'"
    assert condition(CLIENT, has_peer=False) == "false"
    assert condition(principals.none_of([CLIENT]), has_peer=False) == "true"


@pytest.mark.parametrize("in_doubt", [True, False])
def test_what_cannot_be_told_is_left_open_also_where_it_is_negated(in_doubt: bool) -> None:
    unknown = principals.by_address("fd00::/64")
    doubtful = "source.address.startsWith('\\U0000005b')" if in_doubt else "false"
    assert condition(unknown, in_doubt=in_doubt).replace("'['", "'\\U0000005b'") == doubtful
    negated = condition(principals.none_of([unknown]), in_doubt=in_doubt)
    assert negated == ("true" if in_doubt else "!(source.address.startsWith('['))")


def test_what_is_too_long_is_left_open() -> None:
    crowd = [
        principals.by_principal(policy_match(f"cluster.local/ns/shop/sa/{number}"), DOMAINS)
        for number in range(LONGEST_CONDITION // 60)
    ]
    many = Principal(or_ids=PrincipalSet(ids=crowd))
    assert (condition(many), condition(many, in_doubt=False)) == ("true", "false")


def test_text_is_nothing_but_text() -> None:
    said = condition(CLIENT, to=permissions.by_server_name(policy_match("a')%\\")))
    assert said.endswith("connection.requested_server_name == 'a\\U00000027\\U00000029\\U00000025\\U0000005c')")


def test_no_rules_no_filter() -> None:
    assert build_early_refusal([], has_peer=True) == ()
