"""What a control plane takes from its directory at its start, and keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from heddle.admission import PodAdmission
from heddle.control_plane import ControlPlane, PlaneSettings
from model.names import IDENTITY_SECRET
from model.problem_codes import ProblemCode
from sds.keyfiles import KeyFileError
from sds.tokens import Caller

CALLER = Caller(namespace="shop", service_account="web", pod_name="web-1", pod_uid="u1")


def write(directory: Path, trust_domain: str) -> None:
    (directory / "mesh.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
        f"data: {{mesh: 'trustDomain: {trust_domain}'}}\n"
    )


def plane_on(directory: Path) -> ControlPlane:
    return ControlPlane(
        PlaneSettings(directory=directory, keys=directory.with_name("keys"), host="127.0.0.1")
    )


def root_identity(admission: PodAdmission) -> str:
    (root,) = admission.describe(CALLER.namespace, CALLER.pod_name)
    assert root.name != IDENTITY_SECRET
    return root.spiffe_id


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    write(manifests, "a.b")
    return manifests
