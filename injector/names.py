"""The names by which people, tools and we ourselves know what is injected."""

from __future__ import annotations

from typing import Final

from model.pods import INJECTED

SIDECAR: Final = "istio-proxy"
CAPTURE: Final = "istio-init"
FOREIGN_INIT: Final = ("istio-init", "istio-validation")
"""Init containers that say that another mesh has been here."""

SECRETS_VOLUME: Final = "heddle-secrets"
RUN_VOLUME: Final = "heddle-run"
VOLUMES: Final = (SECRETS_VOLUME, RUN_VOLUME)

SECRETS_FOLDER: Final = "/var/run/secrets/heddle"
RUN_FOLDER: Final = "/run/heddle"
ROOT_FILE: Final = f"{SECRETS_FOLDER}/root.pem"
TOKEN_FILE: Final = f"{SECRETS_FOLDER}/token"
TOKEN_SECRET_FILE: Final = f"{SECRETS_FOLDER}/token-secret.json"
ADMIN_SOCKET: Final = f"{RUN_FOLDER}/admin.sock"

INJECT_LABEL: Final = "heddle.io/inject"
"""On a namespace or a pod: `enabled` or `disabled`. Ours alone, so that Istio never acts on it."""

REVISION_LABEL: Final = "istio.io/rev"
ISTIO_NAMESPACE_LABEL: Final = "istio-injection"
RECORD: Final = INJECTED
"""The annotation of an injected pod: which revision did it, and what it looked like before."""

STATUS: Final = "sidecar.istio.io/status"
"""What Istio's tools look at to see that a pod has a sidecar."""

TOKEN_SECRET: Final = "heddle.io/token-secret"
"""Holds the small file that names the token's place; the downward API puts it there."""

ANNOTATIONS: Final = (RECORD, STATUS, TOKEN_SECRET)
