"""The public keys of a token issuer, as it publishes them: a JSON Web Key Set (RFC 7517)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sds.tokens import PublicKey, algorithm_of

SHORTEST_RSA_BITS = 2048
MAX_BYTES = 256 * 1024
MAX_KEYS = 100


class NoKeySet(ValueError):
    """What was published is no key set."""


def parse_issuer(document: bytes) -> str:
    """The issuer of an OpenID provider's metadata. Raises NoKeySet.

    Where it says its keys are is not read: it may be anywhere, and we ask nobody but who sent this.
    Source: OpenID Connect Discovery 1.0, section 3.
    """
    issuer = _decode(document).get("issuer")
    if not isinstance(issuer, str) or not issuer:
        raise NoKeySet("there is no issuer in it")
    return issuer


def parse_key_set(document: bytes) -> Mapping[str, PublicKey]:
    """The P-256 and RSA keys for signatures, by key id. Others are left out. Raises NoKeySet.

    A key that says it is for another algorithm than its type's is left out, and so is RSA below 2048 bits.
    """
    listed = _decode(document).get("keys")
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise NoKeySet("there is no list of keys in it, or one that is too long")
    found: dict[str, PublicKey] = {}
    for item in listed:
        key = _parse_key(item)
        if key is not None:
            found[item["kid"]] = key
    return found


def _parse_key(item: Any) -> PublicKey | None:
    match item:
        case {"kid": str(name), "kty": "RSA" | "EC"} if name:
            pass
        case _:
            return None
    # A private part has no business here: whoever published it, its key proves nothing any more.
    if item.get("use", "sig") != "sig" or "d" in item:
        return None
    try:
        key = jwt.PyJWK(item, algorithm="RS256" if item["kty"] == "RSA" else "ES256").key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    match key:
        case rsa.RSAPublicKey() if key.key_size >= SHORTEST_RSA_BITS:
            pass
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1()):
            pass
        case _:
            return None
    return key if item.get("alg", algorithm_of(key)) == algorithm_of(key) else None


def _decode(document: bytes) -> dict[str, object]:
    if len(document) > MAX_BYTES:
        raise NoKeySet(f"it has more than {MAX_BYTES} bytes")
    try:
        decoded = json.loads(document)
    except (ValueError, RecursionError):
        raise NoKeySet("it is no JSON") from None
    if not isinstance(decoded, dict):
        raise NoKeySet("it is no JSON object")
    return decoded
