from ipaddress import ip_network
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from injector.capture import (
    CaptureSettings,
    ExemptMark,
    ExemptUser,
    IpVersion,
    build_block,
    build_capture,
    capture_from_annotations,
)

PREFIX = "traffic.sidecar.istio.io/"


def test_the_defaults_capture_everything_but_the_sidecar() -> None:
    assert build_capture(CaptureSettings(), 4) == dedent(
        """\
        *nat
        :HEDDLE_INBOUND - [0:0]
        :HEDDLE_OUTBOUND - [0:0]
        :HEDDLE_TO_INBOUND - [0:0]
        :HEDDLE_TO_OUTBOUND - [0:0]
        -A PREROUTING -p tcp -j HEDDLE_INBOUND
        -A OUTPUT -p tcp -j HEDDLE_OUTBOUND
        -A HEDDLE_TO_INBOUND -p tcp -j REDIRECT --to-ports 15006
        -A HEDDLE_TO_OUTBOUND -p tcp -j REDIRECT --to-ports 15001
        -A HEDDLE_INBOUND -p tcp --dport 15020 -j RETURN
        -A HEDDLE_INBOUND -p tcp --dport 15021 -j RETURN
        -A HEDDLE_INBOUND -p tcp --dport 15090 -j RETURN
        -A HEDDLE_INBOUND -j HEDDLE_TO_INBOUND
        -A HEDDLE_OUTBOUND -o lo -s 127.0.0.6/32 -j RETURN
        -A HEDDLE_OUTBOUND -o lo ! -d 127.0.0.1/32 -m owner --uid-owner 1337 -j HEDDLE_TO_INBOUND
        -A HEDDLE_OUTBOUND -o lo -m owner ! --uid-owner 1337 -j RETURN
        -A HEDDLE_OUTBOUND -m owner --uid-owner 1337 -j RETURN
        -A HEDDLE_OUTBOUND -d 127.0.0.1/32 -j RETURN
        -A HEDDLE_OUTBOUND -j HEDDLE_TO_OUTBOUND
        COMMIT
        """
    )


def test_everything_at_once_for_ipv6_and_a_mark() -> None:
    settings = CaptureSettings(
        exempt=ExemptMark(mark=0x539),
        exclude_inbound_ports=(22, 15020),
        include_outbound_ports=(9000,),
        exclude_outbound_ports=(25, 25),
        include_outbound_ranges=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")),
        exclude_outbound_ranges=(ip_network("fd00:1::/32"), ip_network("10.1.0.0/16")),
    )
    rules = build_capture(settings, 6).splitlines()
    assert [rule.removeprefix("-A HEDDLE_INBOUND ") for rule in rules if rule.startswith("-A HEDDLE_INBOUND")] == [
        "-p tcp --dport 15020 -j RETURN",
        "-p tcp --dport 15021 -j RETURN",
        "-p tcp --dport 15090 -j RETURN",
        "-p tcp --dport 22 -j RETURN",
        "-j HEDDLE_TO_INBOUND",
    ]
    assert [rule.removeprefix("-A HEDDLE_OUTBOUND ") for rule in rules if rule.startswith("-A HEDDLE_OUTBOUND")] == [
        "-p tcp --dport 25 -j RETURN",
        "-o lo -s ::6/128 -j RETURN",
        "-o lo ! -d ::1/128 -m mark --mark 0x539 -j HEDDLE_TO_INBOUND",
        "-o lo -m mark ! --mark 0x539 -j RETURN",
        "-m mark --mark 0x539 -j RETURN",
        "-d ::1/128 -j RETURN",
        "-d fd00:1::/32 -j RETURN",
        "-p tcp --dport 9000 -j HEDDLE_TO_OUTBOUND",
        "-d fd00::/8 -j HEDDLE_TO_OUTBOUND",
    ]


def test_listed_inbound_ports_are_the_only_ones() -> None:
    rules = build_capture(CaptureSettings(include_inbound_ports=(80, 443), exclude_inbound_ports=(80,)), 4)
    assert "-A HEDDLE_INBOUND -p tcp --dport 80 -j HEDDLE_TO_INBOUND\n" in rules
    assert "-A HEDDLE_INBOUND -p tcp --dport 443 -j HEDDLE_TO_INBOUND\n" in rules
    assert "-A HEDDLE_INBOUND -j" not in rules
    assert "-A HEDDLE_INBOUND" not in build_capture(CaptureSettings(include_inbound_ports=()), 4)


def test_an_application_whose_loopback_is_included_is_captured_there_too() -> None:
    rules = build_capture(CaptureSettings(include_outbound_ranges=(ip_network("127.0.0.2/32"),)), 4)
    assert "-A HEDDLE_OUTBOUND -o lo -m owner ! --uid-owner 1337 -j RETURN" not in rules


@given(
    st.builds(
        CaptureSettings,
        exempt=st.one_of(st.builds(ExemptUser), st.builds(ExemptMark)),
        exclude_outbound_ranges=st.lists(st.sampled_from(["10.0.0.0/8", "fd00::/8", "0.0.0.0/0"])).map(
            lambda texts: tuple(map(ip_network, texts))
        ),
        exclude_outbound_ports=st.lists(st.integers(1, 65535), max_size=3).map(tuple),
    ),
    st.sampled_from([4, 6]),
)
def test_the_sidecar_is_let_through_before_anything_is_captured(settings: CaptureSettings, version: IpVersion) -> None:
    rules = [rule for rule in build_capture(settings, version).splitlines() if "-A HEDDLE_OUTBOUND" in rule]
    captured = next(number for number, rule in enumerate(rules) if rule.endswith("HEDDLE_TO_OUTBOUND"))
    assert captured == len(rules) - 1
    assert any(rule.endswith(("--uid-owner 1337 -j RETURN", "--mark 0x539 -j RETURN")) for rule in rules[:captured])
    other = "." if version == 6 else ":"
    assert not any(other in rule.split("-d ")[1].split()[0] for rule in rules if "-d " in rule)


def test_a_block_leaves_loopback_alone() -> None:
    assert build_block().count("! -i lo") == build_block().count("! -o lo") == 1


def test_annotations_are_read_as_istio_does() -> None:
    exempt = ExemptUser(uid=7)
    assert capture_from_annotations({}, exempt=exempt) == CaptureSettings(exempt=exempt)
    assert capture_from_annotations(
        {
            PREFIX + "includeInboundPorts": "80, 443",
            PREFIX + "excludeInboundPorts": "22",
            PREFIX + "includeOutboundPorts": "9000",
            PREFIX + "excludeOutboundPorts": "25,26",
            PREFIX + "includeOutboundIPRanges": "10.0.0.0/8,fd00::/8",
            PREFIX + "excludeOutboundIPRanges": "10.1.2.3/16",
        },
        exempt=exempt,
    ) == CaptureSettings(
        exempt=exempt,
        include_inbound_ports=(80, 443),
        exclude_inbound_ports=(22,),
        include_outbound_ports=(9000,),
        exclude_outbound_ports=(25, 26),
        include_outbound_ranges=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")),
        exclude_outbound_ranges=(ip_network("10.1.0.0/16"),),
    )
    assert capture_from_annotations({PREFIX + "includeInboundPorts": ""}, exempt=exempt).include_inbound_ports == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("excludeInboundPorts", "http"),
        ("excludeInboundPorts", "70000"),
        ("excludeOutboundPorts", "*"),
        ("includeInboundPorts", "80;443"),
        ("excludeOutboundIPRanges", "10.0.0.0/33"),
        ("includeOutboundIPRanges", "everywhere"),
    ],
)
def test_a_bad_annotation_is_named(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=name):
        capture_from_annotations({PREFIX + name: text}, exempt=ExemptUser())


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_outside_the_range_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match="not a port"):
        CaptureSettings(exclude_inbound_ports=(port,))
