"""Keys as an issuer publishes them: which are taken, and that nothing else is."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from sds.key_set import MAX_BYTES, NoKeySet, parse_issuer, parse_key_set
from sds.keyfiles import new_key
from sds.tokens import POD_TOKENS, Caller, TokenKeys, TokenRefused, UnknownSigner, verify_token
from tests.kubernetes_api.issuer import ISSUER, FakeIssuer, jwk, key_id, new_rsa_key

RSA, EC = new_rsa_key(), new_key()
CALLER = Caller(namespace="shop", service_account="users", pod_name="users-1", pod_uid="u1")


def key_set(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


@pytest.mark.parametrize("key", [RSA, EC], ids=["rsa", "ec"])
def test_a_published_key_verifies_what_its_private_half_signed(now: datetime, key: Any) -> None:
    issuer = FakeIssuer(key)
    keys = TokenKeys(issuer=ISSUER, by_id=parse_key_set(key_set(jwk(RSA), jwk(EC))))
    assert set(keys.by_id) == {key_id(RSA), key_id(EC)}
    assert verify_token(issuer.mint(CALLER, now), keys=keys, now=now) == CALLER
    with pytest.raises(UnknownSigner):
        verify_token(issuer.mint(CALLER, now, iss="https://other"), keys=keys, now=now)
    with pytest.raises(TokenRefused) as refused:
        verify_token(issuer.mint(CALLER, now, aud=["other"]), keys=keys, now=now)
    assert not isinstance(refused.value, UnknownSigner)


def test_a_key_verifies_its_own_algorithm_only(now: datetime) -> None:
    issuer = FakeIssuer(RSA)
    swapped = TokenKeys(issuer=ISSUER, by_id={key_id(RSA): EC.public_key()})
    with pytest.raises(TokenRefused, match="not accepted") as refused:
        verify_token(issuer.mint(CALLER, now), keys=swapped, now=now)
    assert "Algorithm" in refused.value.reason


LEFT_OUT: dict[str, Any] = {
    "for encryption": jwk(EC, use="enc"),
    "of another algorithm": jwk(RSA, alg="PS256"),
    "hmac said of rsa": jwk(RSA, alg="HS256"),
    "short": jwk(new_rsa_key(1024)),
    "another curve": jwk(ec.generate_private_key(ec.SECP384R1())),
    "symmetric": {"kty": "oct", "kid": "a", "k": "c2VjcmV0", "alg": "HS256"},
    "private": jwk(EC, d="AAAA"),
    "without a name": {**jwk(EC), "kid": ""},
    "named by a number": {**jwk(EC), "kid": 7},
    "without its numbers": {"kty": "RSA", "kid": "a"},
    "with wrong numbers": {"kty": "EC", "kid": "a", "crv": "P-256", "x": "AA", "y": "AA"},
    "no object": "key",
}


@pytest.mark.parametrize("item", LEFT_OUT.values(), ids=LEFT_OUT.keys())
def test_what_is_no_key_for_us_is_left_out(item: Any) -> None:
    assert list(parse_key_set(key_set(item, jwk(RSA)))) == [key_id(RSA)]


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"{}", b'{"keys": {}}', b"[" * 100_000, b'{"keys": []}' + b" " * MAX_BYTES]
)
def test_what_is_no_key_set(document: bytes) -> None:
    with pytest.raises(NoKeySet):
        parse_key_set(document)
    with pytest.raises(NoKeySet):
        parse_issuer(document)


def test_claims_that_no_key_would_help_are_refused_unasked(now: datetime) -> None:
    issuer = FakeIssuer(RSA)
    claimed = POD_TOKENS.read(issuer.mint(CALLER, now), now=now)
    assert (claimed.caller, claimed.issuer) == (CALLER, ISSUER)
    for token in (
        issuer.mint(CALLER, now, aud=["other"]),
        issuer.mint(CALLER, now, exp=int(now.timestamp()) - 1),
        issuer.mint(CALLER, now, exp=10**30),
        issuer.mint(CALLER, now, **{"kubernetes.io": {"namespace": "shop"}}),
        "garbage",
    ):
        with pytest.raises(TokenRefused):
            POD_TOKENS.read(token, now=now)
