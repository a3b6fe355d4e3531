"""The issuer of a fake API server: signs pods' tokens as the real one does, publishes its keys, reviews."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from datetime import datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sds.tokens import Caller
from tests.kubernetes_api.objects import Json
from tests.kubernetes_api.server import FakeApiServer

ISSUER = "https://kubernetes.default.svc.cluster.local"
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def new_rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def key_id(key: PrivateKey) -> str:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def jwk(key: PrivateKey, **more: Any) -> Json:
    """The public half as an API server publishes it."""
    if isinstance(key, rsa.RSAPrivateKey):
        found = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
        algorithm = "RS256"
    else:
        found = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
        algorithm = "ES256"
    found.pop("key_ops", None)
    return {**found, "use": "sig", "kid": key_id(key), "alg": algorithm, **more}


class FakeIssuer:
    """Signs with `key`; `publish` puts keys where an API server has them."""

    def __init__(self, key: PrivateKey) -> None:
        self.key = key

    def publish(self, server: FakeApiServer, *keys: PrivateKey, issuer: str = ISSUER) -> None:
        metadata = {"issuer": issuer, "jwks_uri": "https://elsewhere.invalid/keys"}
        server.documents["/.well-known/openid-configuration"] = metadata
        server.documents["/openid/v1/jwks"] = {"keys": [jwk(key) for key in keys or (self.key,)]}

    def claims(self, caller: Caller, now: datetime, **more: object) -> dict[str, object]:
        issued = int(now.timestamp())
        return {
            "aud": ["heddle"],
            "exp": int((now + timedelta(hours=1)).timestamp()),
            "iat": issued,
            "iss": ISSUER,
            "jti": str(uuid.UUID(int=issued)),
            "kubernetes.io": {
                "namespace": caller.namespace,
                "node": {"name": "n1", "uid": "u-n1"},
                "pod": {"name": caller.pod_name, "uid": caller.pod_uid},
                "serviceaccount": {"name": caller.service_account, "uid": "u-sa"},
            },
            "nbf": issued,
            "sub": f"system:serviceaccount:{caller.namespace}:{caller.service_account}",
            **more,
        }

    def mint(self, caller: Caller, now: datetime, **more: object) -> str:
        algorithm = "RS256" if isinstance(self.key, rsa.RSAPrivateKey) else "ES256"
        claims = self.claims(caller, now, **more)
        return jwt.encode(claims, self.key, algorithm=algorithm, headers={"kid": key_id(self.key)})


def accepted(caller: Caller) -> Json:
    """The status of a TokenReview that found the token good."""
    return {
        "authenticated": True,
        "audiences": ["heddle"],
        "user": {
            "username": f"system:serviceaccount:{caller.namespace}:{caller.service_account}",
            "uid": "u-sa",
            "groups": [
                "system:serviceaccounts",
                f"system:serviceaccounts:{caller.namespace}",
                "system:authenticated",
            ],
            "extra": {
                "authentication.kubernetes.io/pod-name": [caller.pod_name],
                "authentication.kubernetes.io/pod-uid": [caller.pod_uid],
            },
        },
    }
