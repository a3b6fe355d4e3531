from fractions import Fraction
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from textwrap import dedent

from hypothesis import given
from hypothesis import strategies as st

from heddle.local.service_proxy import Endpoint, ServicePort, build_service_rules

SERVICES = IPv4Network("10.213.128.0/17")
VIP = IPv4Address("10.213.128.1")


def endpoint(last: int, port: int = 8080) -> Endpoint:
    return Endpoint(address=IPv4Address(f"10.213.1.{last}"), port=port)


def test_rules_of_a_balanced_and_an_empty_service() -> None:
    ports = (
        ServicePort(address=VIP, port=80, protocol="tcp", endpoints=(endpoint(2), endpoint(1))),
        ServicePort(address=IPv4Address("10.96.0.10"), port=53, protocol="udp", endpoints=()),
    )
    assert build_service_rules(ports, services=SERVICES, version=4) == dedent(
        """\
        *nat
        :SERVICES - [0:0]
        -A PREROUTING -j SERVICES
        -A OUTPUT -j SERVICES
        -A SERVICES -d 10.213.128.1 -p tcp --dport 80 HALF-j DNAT --to-destination 10.213.1.1:8080
        -A SERVICES -d 10.213.128.1 -p tcp --dport 80 -j DNAT --to-destination 10.213.1.2:8080
        -A POSTROUTING -s 10.213.1.1 -d 10.213.1.1 -j MASQUERADE
        -A POSTROUTING -s 10.213.1.2 -d 10.213.1.2 -j MASQUERADE
        COMMIT
        *filter
        -A FORWARD -d 10.213.128.0/17 -p tcp -j REJECT --reject-with tcp-reset
        -A FORWARD -d 10.213.128.0/17 -j REJECT --reject-with icmp-port-unreachable
        -A FORWARD -d 10.96.0.10 -p tcp -j REJECT --reject-with tcp-reset
        -A FORWARD -d 10.96.0.10 -j REJECT --reject-with icmp-port-unreachable
        -A OUTPUT -d 10.213.128.0/17 -p tcp -j REJECT --reject-with tcp-reset
        -A OUTPUT -d 10.213.128.0/17 -j REJECT --reject-with icmp-port-unreachable
        -A OUTPUT -d 10.96.0.10 -p tcp -j REJECT --reject-with tcp-reset
        -A OUTPUT -d 10.96.0.10 -j REJECT --reject-with icmp-port-unreachable
        COMMIT
        """
    ).replace("HALF", "-m statistic --mode random --probability 0.50000000 ")


def test_each_ip_version_has_its_own() -> None:
    six = IPv6Address("fd00::1")
    port = ServicePort(address=six, port=80, protocol="tcp", endpoints=(endpoint(1), Endpoint(address=six, port=1)))
    rules = build_service_rules((port,), services=SERVICES, version=6)
    assert "-A SERVICES -d fd00::1 -p tcp --dport 80 -j DNAT --to-destination [fd00::1]:1\n" in rules
    assert "10.213" not in rules
    assert "icmp6-port-unreachable" in rules
    assert "fd00" not in build_service_rules((port,), services=SERVICES, version=4)


@given(st.integers(1, 40), st.randoms(use_true_random=False))
def test_every_endpoint_gets_the_same_share(count: int, chance: object) -> None:
    endpoints = [endpoint(number) for number in range(count)]
    chance.shuffle(endpoints)  # type: ignore[attr-defined]
    port = ServicePort(address=VIP, port=80, protocol="tcp", endpoints=tuple(endpoints))
    rules = build_service_rules((port,), services=SERVICES, version=4)
    assert rules == build_service_rules(
        (ServicePort(address=VIP, port=80, protocol="tcp", endpoints=tuple(sorted(endpoints))),),
        services=SERVICES,
        version=4,
    )
    left, shares = Fraction(1), []
    for rule in (line for line in rules.splitlines() if "DNAT" in line):
        words = rule.split()
        taken = Fraction(words[words.index("--probability") + 1]) if "--probability" in words else Fraction(1)
        shares.append(left * taken)
        left *= 1 - taken
    assert len(shares) == count
    assert left == 0
    assert all(abs(share - Fraction(1, count)) < Fraction(1, 10**6) for share in shares)
