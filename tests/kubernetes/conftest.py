"""One real control plane for all tests here, and a fresh namespace for each."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

from tests.cluster.build import ClusterUnavailable, say
from tests.cluster.control_plane import API_SERVER, ControlPlane, start


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """A real etcd, API server and controller manager. Where there can be none, the test fails and says why."""
    if os.environ.get("HEDDLE_SKIP_CLUSTER") == "1":
        pytest.skip("HEDDLE_SKIP_CLUSTER=1")
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def progress(line: str) -> None:
        # The first build takes minutes; whoever waits for it should see why.
        with capture.global_and_fixture_disabled():
            say(line)

    try:
        control_plane = start(progress=progress)
    except ClusterUnavailable as reason:
        pytest.fail(str(reason), pytrace=False)
    yield control_plane
    control_plane.stop()


@pytest.fixture
def namespace(cluster: ControlPlane) -> Iterator[str]:
    """The name of a namespace of the test's own, in which pods can be made.

    A test may stop or kill the API server: afterwards it runs again, with controllers that know nothing of that.
    """
    api_server = cluster.pid(API_SERVER)
    name = f"test-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    # Made by the controllers; no pod is admitted before the first, none runs without the second.
    for made in ("serviceaccount/default", "configmap/kube-root-ca.crt"):
        cluster.kubectl("wait", "--for=create", made, "-n", name, "--timeout=50s")
    yield name
    cluster.start_api_server()
    if cluster.pid(API_SERVER) != api_server:
        cluster.restart_controllers()
    cluster.kubectl("delete", "namespace", name, "--wait=false")
