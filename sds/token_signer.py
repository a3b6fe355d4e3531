"""The issuer of pods' tokens where there is no Kubernetes, in place of the API server's TokenRequest."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime, timedelta
from pathlib import Path

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sds.keyfiles import create_file, new_key, parse_key, read_file, to_pem
from sds.tokens import AUDIENCE, Caller, TokenKeys, algorithm_of, to_subject

KEY_FILE = "token-signer.key.pem"

TOKEN_LIFE = timedelta(hours=1)
"""Kubernetes' default. Whoever writes the token to a pod renews it at 80 % of that, as kubelet does."""

_log = structlog.get_logger()


class TokenSigner:
    """Mints tokens bound to one pod, signed with ES256. `keys` verifies them."""

    __slots__ = ("_key", "_key_id", "keys")

    def __init__(self, *, issuer: str, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self._key_id = _key_id(key.public_key())
        self.keys = TokenKeys(issuer=issuer, by_id={self._key_id: key.public_key()})

    def __repr__(self) -> str:
        return f"TokenSigner(issuer={self.keys.issuer!r}, key_id={self._key_id!r})"

    def mint(
        self,
        caller: Caller,
        *,
        service_account_uid: str,
        now: datetime,
        life: timedelta = TOKEN_LIFE,
        audience: str = AUDIENCE,
    ) -> str:
        """A token for the pod `caller`, in force from `now` for `life`.

        Raises ValueError if `now` is naive.
        """
        if now.tzinfo is None:
            raise ValueError("an instant without a time zone")
        issued = int(now.timestamp())
        claims = {
            "aud": [audience],
            "exp": int((now + life).timestamp()),
            "iat": issued,
            "iss": self.keys.issuer,
            "kubernetes.io": {
                "namespace": caller.namespace,
                "pod": {"name": caller.pod_name, "uid": caller.pod_uid},
                "serviceaccount": {"name": caller.service_account, "uid": service_account_uid},
            },
            "nbf": issued,
            "sub": to_subject(caller),
        }
        return jwt.encode(
            claims, self._key, algorithm=algorithm_of(self._key.public_key()), headers={"kid": self._key_id}
        )


def load_or_create_token_signer(directory: Path, *, issuer: str) -> TokenSigner:
    """The signer whose key is in `directory`; a new key, mode 0600, if there is none.

    Raises KeyFileError if the file exists but holds no P-256 key: a new one would refuse every token in use.
    """
    path = directory / KEY_FILE
    if not path.exists():
        try:
            create_file(path, to_pem(new_key()))
            _log.info("sds.token_signer_created", issuer=issuer, directory=str(directory))
        except FileExistsError:
            # Another process was first: its key is the one.
            pass
    return TokenSigner(issuer=issuer, key=parse_key(read_file(path), path))


def _key_id(key: ec.EllipticCurvePublicKey) -> str:
    """As Kubernetes names its keys: the SHA-256 of the public key's DER, base64url without padding."""
    digest = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
