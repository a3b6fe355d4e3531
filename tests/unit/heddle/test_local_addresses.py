from ipaddress import IPv4Address, IPv4Network, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle.local.addresses import AddressBook, AddressUnavailable, MeshSubnet, choose_subnets
from heddle.local.loopback import LoopbackBook, loopback_networks

SUBNET = MeshSubnet(network=IPv4Network("10.213.0.0/16"))
BOOK = AddressBook(subnet=SUBNET)


def test_a_subnet_has_its_parts_where_the_module_says() -> None:
    assert SUBNET.gateway == IPv4Address("10.213.0.1")
    assert SUBNET.uplink == IPv4Address("10.213.0.2")
    assert SUBNET.host == IPv4Address("10.213.0.3")
    assert SUBNET.pods == IPv4Network("10.213.0.0/17")
    assert SUBNET.services == IPv4Network("10.213.128.0/17")
    assert SUBNET.gateway6 == IPv6Address("fd68:6564:646c:d5::1")
    assert SUBNET.ipv6_of(IPv4Address("10.213.1.2")) == IPv6Address("fd68:6564:646c:d5::102")


@pytest.mark.parametrize("network", ["10.213.0.0/24", "192.168.0.0/16", "10.0.0.0/8"])
def test_other_shapes_of_subnet_are_refused(network: str) -> None:
    with pytest.raises(ValueError, match="a mesh's subnet"):
        MeshSubnet(network=IPv4Network(network))


def test_an_address_of_another_mesh_has_no_ipv6_twin() -> None:
    with pytest.raises(ValueError, match="not in"):
        SUBNET.ipv6_of(IPv4Address("10.214.1.1"))


def test_a_freed_pod_address_is_the_last_to_be_used_again() -> None:
    book, first = BOOK.with_pod("shop/a")
    assert first == IPv4Address("10.213.1.1")
    book, second = book.without_pod("shop/a").with_pod("shop/b")
    assert second == IPv4Address("10.213.1.2")
    book, again = book.with_pod("shop/b")
    assert again == second


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcdefgh")), max_size=60))
def test_pod_addresses_are_unique_and_in_the_pods_range(steps: list[tuple[bool, str]]) -> None:
    book = AddressBook(subnet=SUBNET, last_pod=0x7FFA)  # so that it comes round
    for adds, key in steps:
        if adds:
            book, address = book.with_pod(key)
            assert book.pods[key] == address
            assert address in SUBNET.pods
            assert address.packed[2] > 0
            assert address.packed[3] not in (0, 255)
        else:
            book = book.without_pod(key)
            assert key not in book.pods
        assert len(set(book.pods.values())) == len(book.pods)


USERS, PAYMENTS = ("shop", "users"), ("shop", "payments")


def test_a_service_keeps_its_address() -> None:
    book, refused = BOOK.with_services({USERS: None})
    assert (dict(book.services), refused) == ({USERS: IPv4Address("10.213.128.1")}, {})
    book, _ = book.with_services({PAYMENTS: None})
    assert book.services[PAYMENTS] == IPv4Address("10.213.128.2")
    assert book.with_services({USERS: None, PAYMENTS: None}) == (book, {})


def test_a_cluster_ip_that_is_asked_for_is_given() -> None:
    wanted = IPv4Address("10.96.0.10")
    book, _ = BOOK.with_services({USERS: wanted})
    assert book.services[USERS] == wanted
    assert book.with_services({USERS: None})[0].services[USERS] == wanted
    moved, _ = book.with_services({USERS: IPv4Address("10.213.200.1")})
    assert moved.services[USERS] == IPv4Address("10.213.200.1")
    assert moved.with_services({PAYMENTS: wanted})[1] == {}


def test_whoever_wants_an_address_goes_before_those_who_take_any() -> None:
    first = IPv4Address("10.213.128.1")
    book, refused = BOOK.with_services({USERS: None, PAYMENTS: first})
    assert (book.services[PAYMENTS], refused) == (first, {})
    assert book.services[USERS] == IPv4Address("10.213.128.2")


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("10.213.128.1", "address of Service shop/users"),
        ("10.213.1.1", "cannot be"),
        ("127.0.0.1", "cannot be"),
        ("0.0.0.0", "cannot be"),
        ("224.0.0.1", "cannot be"),
    ],
)
def test_a_cluster_ip_that_cannot_be_had_says_why(wanted: str, reason: str) -> None:
    book, _ = BOOK.with_services({USERS: None})
    book, refused = book.with_services({PAYMENTS: IPv4Address(wanted)})
    assert reason in refused[PAYMENTS]
    assert book.services[PAYMENTS] == IPv4Address("10.213.128.2")


def test_a_service_too_many_has_no_address() -> None:
    many = {("shop", f"s{number}"): None for number in range(2**15 - 1)}
    book, refused = BOOK.with_services(many)
    assert len(book.services) == 2**15 - 2
    assert refused == {("shop", f"s{2**15 - 2}"): "all Service addresses of 10.213.128.0/17 are taken"}


def test_a_chosen_subnet_overlaps_nothing_the_host_uses() -> None:
    assert choose_subnets(())[0].network == IPv4Network("10.210.0.0/16")
    taken = (IPv4Network("10.210.4.0/24"), IPv4Network("10.211.0.0/16"), IPv4Network("192.168.0.0/16"))
    assert choose_subnets(taken)[0].network == IPv4Network("10.212.0.0/16")
    assert choose_subnets((IPv4Network("10.0.0.0/8"),)) == ()


def test_loopback_addresses_are_unique_and_kept() -> None:
    book, first = LoopbackBook(network=loopback_networks()[1]).with_owner("a")
    assert first == IPv4Address("127.65.0.1")
    book, second = book.with_owner("b")
    assert second != first
    assert book.with_owner("a")[1] == first
    assert book.without_owner("a").with_owner("c")[1] == first


def test_loopback_addresses_run_out() -> None:
    book, _ = LoopbackBook(network=IPv4Network("127.64.0.0/31")).with_owner("a")
    book, _ = book.with_owner("b")
    with pytest.raises(AddressUnavailable):
        book.with_owner("c")
