"""Which level of a DestinationRule is in force for a port of a subset."""

from __future__ import annotations

from model.problems import ObjectRef
from model.traffic import (
    ClientTls,
    ConnectionPool,
    DestinationRule,
    SimpleBalancer,
    Subset,
    TlsMode,
    TrafficPolicy,
    policy_for,
)

RULE = DestinationRule(
    ref=ObjectRef(kind="DestinationRule", namespace="shop", name="users"),
    host="users.shop.svc.cluster.local",
    policy=TrafficPolicy(
        load_balancer=SimpleBalancer.RANDOM,
        tls=ClientTls(mode=TlsMode.DISABLE),
        ports={80: TrafficPolicy(load_balancer=SimpleBalancer.ROUND_ROBIN)},
    ),
    subsets=(
        Subset(
            name="v1",
            policy=TrafficPolicy(
                connection_pool=ConnectionPool(max_connections=1),
                ports={81: TrafficPolicy(connection_pool=ConnectionPool(max_connections=2))},
            ),
        ),
    ),
)


def test_no_rule_is_no_policy() -> None:
    assert policy_for(None, "", 80) == TrafficPolicy()


def test_a_port_takes_the_place_of_the_rule_and_inherits_nothing() -> None:
    assert policy_for(RULE, "", 80) == TrafficPolicy(load_balancer=SimpleBalancer.ROUND_ROBIN)
    assert policy_for(RULE, "", 9999) == TrafficPolicy(
        load_balancer=SimpleBalancer.RANDOM, tls=ClientTls(mode=TlsMode.DISABLE)
    )


def test_a_subset_overrides_the_rule_or_its_port_field_by_field() -> None:
    assert policy_for(RULE, "v1", 80) == TrafficPolicy(
        load_balancer=SimpleBalancer.ROUND_ROBIN, connection_pool=ConnectionPool(max_connections=1)
    )
    assert policy_for(RULE, "v1", 9999).tls == ClientTls(mode=TlsMode.DISABLE)


def test_a_port_of_a_subset_inherits_neither_from_the_subset_nor_from_the_rule() -> None:
    assert policy_for(RULE, "v1", 81) == TrafficPolicy(connection_pool=ConnectionPool(max_connections=2))


def test_an_unknown_subset_gets_the_rules_policy() -> None:
    assert policy_for(RULE, "v9", 9999).load_balancer is SimpleBalancer.RANDOM
