"""Tokens: what is minted verifies; everything else is refused alike."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import stat
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from model.identity import SpiffeId
from sds.keyfiles import KeyFileError, new_key, to_pem
from sds.token_signer import KEY_FILE, TokenSigner, load_or_create_token_signer
from sds.tokens import CLOCK_SKEW, MAX_TOKEN_BYTES, Caller, TokenRefused, verify_token

ISSUER = "https://heddle.local"
CALLER = Caller(namespace="shop", service_account="users", pod_name="users-v1-0", pod_uid="8c0f-1")
KEY = new_key()
SIGNER = TokenSigner(issuer=ISSUER, key=KEY)
[KEY_ID] = SIGNER.keys.by_id


def mint(now: datetime, life: timedelta = timedelta(hours=1)) -> str:
    return SIGNER.mint(CALLER, service_account_uid="sa-1", now=now, life=life)


def claims_of(now: datetime) -> dict[str, object]:
    claims: dict[str, object] = jwt.decode(mint(now), options={"verify_signature": False})
    return claims


def sign(claims: Mapping[str, object], **header: object) -> str:
    return jwt.encode(dict(claims), KEY, algorithm="ES256", headers={"kid": KEY_ID, **header})


def refusal(text: str, now: datetime) -> TokenRefused:
    with pytest.raises(TokenRefused) as refused:
        verify_token(text, keys=SIGNER.keys, now=now)
    return refused.value


def test_a_minted_token_names_its_pod(now: datetime) -> None:
    caller = verify_token(mint(now), keys=SIGNER.keys, now=now)
    assert caller == CALLER
    assert caller.identity("mesh.example") == SpiffeId(
        trust_domain="mesh.example", namespace="shop", service_account="users"
    )


def test_its_claims_are_those_of_kubernetes(now: datetime) -> None:
    issued = int(now.timestamp())
    assert claims_of(now) == {
        "iss": ISSUER,
        "aud": ["heddle"],
        "sub": "system:serviceaccount:shop:users",
        "iat": issued,
        "nbf": issued,
        "exp": issued + 3600,
        "kubernetes.io": {
            "namespace": "shop",
            "pod": {"name": "users-v1-0", "uid": "8c0f-1"},
            "serviceaccount": {"name": "users", "uid": "sa-1"},
        },
    }
    assert jwt.get_unverified_header(mint(now))["alg"] == "ES256"


def test_in_force_from_its_issue_to_its_end(now: datetime) -> None:
    token = mint(now)
    end = now.replace(microsecond=0) + timedelta(hours=1)
    verify_token(token, keys=SIGNER.keys, now=now - CLOCK_SKEW + timedelta(seconds=1))
    verify_token(token, keys=SIGNER.keys, now=end - timedelta(microseconds=1))
    assert refusal(token, end).reason == "expired"
    assert refusal(token, now - CLOCK_SKEW - timedelta(seconds=1)).reason == "not yet in force"


def test_another_audience(now: datetime) -> None:
    token = SIGNER.mint(CALLER, service_account_uid="sa-1", now=now, audience="https://kubernetes.default.svc")
    assert "Audience" in refusal(token, now).reason
    assert verify_token(token, keys=SIGNER.keys, now=now, audience="https://kubernetes.default.svc") == CALLER


def test_another_issuer_s_key(now: datetime) -> None:
    stranger = TokenSigner(issuer=ISSUER, key=new_key())
    token = stranger.mint(CALLER, service_account_uid="sa-1", now=now)
    assert refusal(token, now).reason == "signed by no known key"
    pretended = jwt.encode(claims_of(now), new_key(), algorithm="ES256", headers={"kid": KEY_ID})
    assert "Signature" in refusal(pretended, now).reason


Change = Callable[[dict[str, object]], object]

CHANGES: dict[str, Change] = {
    "other issuer": lambda claims: claims.update(iss="https://elsewhere"),
    "no audience": lambda claims: claims.pop("aud"),
    "no issuer": lambda claims: claims.pop("iss"),
    "no end": lambda claims: claims.pop("exp"),
    "no beginning": lambda claims: claims.pop("nbf"),
    "no issue": lambda claims: claims.pop("iat"),
    "no subject": lambda claims: claims.pop("sub"),
    "end as text": lambda claims: claims.update(exp="4102444800"),
    "end as truth": lambda claims: claims.update(exp=True),
    "beginning as truth": lambda claims: claims.update(nbf=True),
    "end without bound": lambda claims: claims.update(exp=float("inf")),
    "beginning far ahead": lambda claims: claims.update(nbf=10**400),
    "unbound": lambda claims: claims.pop("kubernetes.io"),
    "legacy": lambda claims: claims.update({"kubernetes.io/serviceaccount/namespace": "shop", "kubernetes.io": {}}),
    "claims as list": lambda claims: claims.update({"kubernetes.io": ["shop"]}),
    "no pod": lambda claims: claims["kubernetes.io"].pop("pod"),  # type: ignore[attr-defined]
    "no uid": lambda claims: claims["kubernetes.io"]["pod"].pop("uid"),  # type: ignore[index]
    "empty uid": lambda claims: claims["kubernetes.io"]["pod"].update(uid=""),  # type: ignore[index]
    "pod of a number": lambda claims: claims["kubernetes.io"]["pod"].update(name=7),  # type: ignore[index]
    "pod of no name": lambda claims: claims["kubernetes.io"]["pod"].update(name="a b"),  # type: ignore[index]
    "other subject": lambda claims: claims.update(sub="system:serviceaccount:shop:admin"),
    "other namespace": lambda claims: claims["kubernetes.io"].update(namespace="kube-system"),  # type: ignore[attr-defined]
    "five parts": lambda claims: (
        claims.update(sub="system:serviceaccount:shop:users:x"),
        claims["kubernetes.io"]["serviceaccount"].update(name="users:x"),  # type: ignore[index]
    ),
    "a user": lambda claims: claims.update(sub="system:admin"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_claims_that_are_not_enough(now: datetime, change: Change) -> None:
    claims = claims_of(now)
    verify_token(sign(claims), keys=SIGNER.keys, now=now)
    change(claims)
    refusal(sign(claims), now)


def _base64(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def test_no_algorithm(now: datetime) -> None:
    for algorithm in ("none", "None", "NONE", "", None, ["ES256"]):
        for signature in ("", "AA"):
            header = _base64({"alg": algorithm, "typ": "JWT", "kid": KEY_ID})
            refusal(f"{header}.{_base64(claims_of(now))}.{signature}", now)


def test_the_public_key_is_no_shared_secret(now: datetime) -> None:
    public = KEY.public_key()
    for secret in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
    ):
        signed = f"{_base64({'alg': 'HS256', 'kid': KEY_ID})}.{_base64(claims_of(now))}"
        digest = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
        signature = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        assert "Algorithm" in refusal(f"{signed}.{signature}", now).reason


def test_other_algorithms_are_refused_even_with_good_keys(now: datetime) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    token = jwt.encode(claims_of(now), key, algorithm="RS256", headers={"kid": KEY_ID})
    assert "Algorithm" in refusal(token, now).reason
    large = ec.generate_private_key(ec.SECP384R1())
    token = jwt.encode(claims_of(now), large, algorithm="ES384", headers={"kid": KEY_ID})
    assert "Algorithm" in refusal(token, now).reason


@pytest.mark.parametrize("name", [None, "", "other", 7, ["x"]])
def test_a_key_that_nobody_knows(now: datetime, name: object) -> None:
    header = _base64({"alg": "ES256", "kid": name})
    refusal(f"{header}.{_base64(claims_of(now))}.AA", now)


def test_a_token_without_a_key_id(now: datetime) -> None:
    token = jwt.encode(claims_of(now), KEY, algorithm="ES256")
    assert refusal(token, now).reason == "signed by no known key"


def test_headers_that_change_the_meaning(now: datetime) -> None:
    refusal(sign(claims_of(now), crit=["exp"]), now)
    refusal(sign(claims_of(now), b64=False, crit=["b64"]), now)


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "...", "a.b.c", "\0", "ü" * 10, "\udcff", "Bearer x", "A" * MAX_TOKEN_BYTES, "." * 8000],
)
def test_garbage(now: datetime, text: str) -> None:
    refusal(text, now)


def test_deep_nesting_and_long_numbers(now: datetime) -> None:
    for bomb in ("[" * 5000, '{"kid":' * 800, "9" * 5000):
        refusal(f"{_base64(bomb)}.e30.AA", now)
        header = _base64({"alg": "ES256", "kid": KEY_ID})
        refusal(f"{header}.{_base64(bomb)}.AA", now)


def test_a_mebibyte_is_refused_unparsed(now: datetime) -> None:
    refused = refusal(mint(now) + "A" * (1 << 20), now)
    assert "longer than" in refused.reason


def test_a_changed_character_is_refused(now: datetime) -> None:
    token = mint(now)
    for place in range(0, len(token), 7):
        other = "A" if token[place] != "A" else "B"
        refusal(token[:place] + other + token[place + 1 :], now)


@settings(deadline=None)
@given(st.text() | st.text("eyJ0.=-_AZ", max_size=200))
def test_no_text_does_anything_but_be_refused(text: str) -> None:
    refusal(text, datetime.fromisoformat("2027-03-01T00:00:00+00:00"))


def test_the_caller_is_told_the_same_whatever_was_wrong(now: datetime) -> None:
    token = mint(now)
    refusals = [
        refusal(token, now + timedelta(days=1)),
        refusal(token, now - timedelta(days=1)),
        refusal("garbage", now),
        refusal("A" * (1 << 20), now),
        refusal(SIGNER.mint(CALLER, service_account_uid="sa-1", now=now, audience="else"), now),
    ]
    assert len({str(refused) for refused in refusals}) == 1
    assert len({refused.reason for refused in refusals}) == 5
    assert all(refused.__cause__ is None for refused in refusals)


def test_a_naive_clock_is_our_mistake(now: datetime) -> None:
    with pytest.raises(ValueError, match="time zone"):
        verify_token(mint(now), keys=SIGNER.keys, now=now.replace(tzinfo=None))
    with pytest.raises(ValueError, match="time zone"):
        mint(now.replace(tzinfo=None))


def test_the_signer_shows_no_key() -> None:
    secret = [line for line in to_pem(KEY).decode().splitlines() if not line.startswith("-----")]
    for text in (repr(SIGNER), str(SIGNER), repr(SIGNER.keys)):
        assert ISSUER in text
        assert "PRIVATE" not in text
        assert not any(line in text for line in secret)


def test_the_signer_s_key_is_kept(tmp_path: Path, now: datetime) -> None:
    directory = tmp_path / "state"
    with capture_logs() as logs:
        first = load_or_create_token_signer(directory, issuer=ISSUER)
        token = first.mint(CALLER, service_account_uid="sa-1", now=now)
        second = load_or_create_token_signer(directory, issuer=ISSUER)
    assert verify_token(token, keys=second.keys, now=now) == CALLER
    assert [path.name for path in directory.iterdir()] == [KEY_FILE]
    assert stat.S_IMODE((directory / KEY_FILE).stat().st_mode) == 0o600
    assert [entry["event"] for entry in logs] == ["sds.token_signer_created"]


@pytest.mark.parametrize("content", [b"", b"garbage", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_a_corrupt_key_file_is_an_error_and_no_new_key(tmp_path: Path, content: bytes) -> None:
    (tmp_path / KEY_FILE).write_bytes(content)
    with pytest.raises(KeyFileError, match=KEY_FILE):
        load_or_create_token_signer(tmp_path, issuer=ISSUER)
    assert (tmp_path / KEY_FILE).read_bytes() == content


def test_a_key_of_another_curve_is_an_error(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_bytes(to_pem(ec.generate_private_key(ec.SECP384R1())))
    with pytest.raises(KeyFileError, match="P-256"):
        load_or_create_token_signer(tmp_path, issuer=ISSUER)
