"""Who a cluster's pods are, by the real API server's own tokens; one authority for all replicas, kept in it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import grpc
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from heddle.cluster import issuer_keys, root_config_maps
from heddle.cluster.duties import Duty
from heddle.control_plane import ControlPlane
from sds.keyfiles import KeyFileError
from tests.cluster.control_plane import API_SERVER
from tests.cluster.control_plane import ControlPlane as KubernetesControlPlane
from tests.kubernetes.source_manifests import READER
from tests.kubernetes_api.issuer import key_id
from tests.kubernetes_api.stream import METHODS, Outcome, node_id, plane_of, try_credential, try_stream

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

TIMEOUT_SECONDS = 90.0
OK, UNAUTHENTICATED = grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED

RIGHTS = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: heddle-ca, namespace: NAMESPACE}
rules:
- {apiGroups: [""], resources: [secrets], verbs: [create]}
- {apiGroups: [""], resources: [secrets], resourceNames: [heddle-ca], verbs: [get, update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: heddle-ca, namespace: NAMESPACE}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: heddle-ca}
subjects: [{kind: ServiceAccount, name: default, namespace: NAMESPACE}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: heddle-identity}
rules:
- {apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]}
- {apiGroups: [""], resources: [configmaps], verbs: [create]}
- {apiGroups: [""], resources: [configmaps], resourceNames: [heddle-root], verbs: [list, watch, patch]}
- {nonResourceURLs: [/.well-known/openid-configuration, /openid/v1/jwks], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: heddle-identity}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: heddle-identity}
subjects: [{kind: ServiceAccount, name: default, namespace: NAMESPACE}]
"""

POD = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, annotations: {heddle.io/injected: "{}"}}
spec: {containers: [{name: istio-proxy, image: example/envoy}]}
"""


class Place:
    """A namespace that is Heddle's own and its pods', in which Heddle has the rights that it is to have."""

    def __init__(self, cluster: KubernetesControlPlane, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    async def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return await asyncio.to_thread(self.cluster.kubectl, *arguments, "-n", self.namespace, stdin=stdin)

    async def make_pod(self, name: str) -> None:
        await self.kubectl("apply", "-f", "-", stdin=POD.replace("NAME", name))

    async def token(self, pod: str | None, audience: str | None = "heddle") -> str:
        return await asyncio.to_thread(self.cluster.token, self.namespace, "default", audience=audience, pod=pod)

    async def stream(self, plane: ControlPlane, token: str | None, pod: str = "web-1") -> Outcome:
        return await try_stream(plane, token, node_id(pod, self.namespace))

    async def secret(self) -> dict[str, bytes]:
        found = json.loads(await self.kubectl("get", "secret", "heddle-ca", "-o", "json"))
        return {name: base64.b64decode(text) for name, text in found["data"].items()}

    @asynccontextmanager
    async def plane(self) -> AsyncIterator[ControlPlane]:
        account = await asyncio.to_thread(self.cluster.service_account, self.namespace, "default")
        async with plane_of(account.kubeconfig, namespace=self.namespace) as plane:
            yield plane

    async def until_known(self, plane: ControlPlane, pod: str = "web-1", *, gone: bool = False) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while ((self.namespace, pod) in plane.store.mesh.pods) is gone:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@pytest.fixture
async def place(cluster: KubernetesControlPlane, namespace: str) -> Place:
    found = Place(cluster, namespace)
    await found.kubectl("apply", "-f", "-", stdin=(READER + "---" + RIGHTS).replace("NAMESPACE", namespace))
    await found.make_pod("web-1")
    return found


def sign(place: Place, claims: dict[str, object], **header: object) -> str:
    key = load_pem_private_key((place.cluster.directory / "sa.key").read_bytes(), password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": key_id(key), **header})


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def test_a_pod_is_admitted_by_its_own_token_and_nothing_else_is(place: Place) -> None:
    await place.make_pod("web-2")
    async with place.plane() as plane:
        good = await place.token("web-1")
        for method in METHODS:
            assert (await try_stream(plane, good, node_id("web-1", place.namespace), method)).code is OK
        claims = jwt.decode(good, options={"verify_signature": False})
        header = jwt.get_unverified_header(good)
        assert header["alg"] == "RS256"
        assert (await place.stream(plane, sign(place, claims))).code is OK

        now = int(time.time())
        public = (place.cluster.directory / "sa.pub").read_bytes()
        forged = f"{part({'alg': 'HS256', 'kid': header['kid']})}.{part(claims)}"
        digest = hmac.new(public, forged.encode(), hashlib.sha256).digest()
        stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        await place.kubectl("delete", "pod", "web-2", "--force", "--grace-period=0", "--wait=false")
        refused = {
            "another audience": await place.token("web-1", audience=None),
            "unbound": await place.token(None),
            "expired": sign(place, {**claims, "exp": now - 1}),
            "not yet": sign(place, {**claims, "nbf": now + 3600}),
            "another issuer": sign(place, {**claims, "iss": "https://other"}),
            "garbage": "garbage",
            "no algorithm": f"{part({'alg': 'none', 'kid': header['kid']})}.{part(claims)}.",
            "the public key as a secret": f"{forged}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}",
            "another key": jwt.encode(claims, stranger, algorithm="RS256", headers={"kid": "x"}),
            "another key of the known name": jwt.encode(
                claims, stranger, algorithm="RS256", headers={"kid": header["kid"]}
            ),
            "a changed signature": good[:-6] + ("AAAAAA" if good[-6:] != "AAAAAA" else "BBBBBB"),
            "empty": "",
        }
        outcomes: dict[str, Outcome] = {}
        for method in METHODS:
            node = node_id("web-1", place.namespace)
            for name, token in refused.items():
                outcomes[f"{name} {method}"] = await try_stream(plane, token, node, method)
            outcomes[f"nothing {method}"] = await try_credential(plane, None, node, method)
            outcomes[f"another scheme {method}"] = await try_credential(plane, f"Basic {good}", node, method)
        assert {name: outcome.code for name, outcome in outcomes.items()} == dict.fromkeys(outcomes, UNAUTHENTICATED)
        (text,) = {outcome.text for outcome in outcomes.values()}
        for method in METHODS:
            other = await try_stream(plane, good, node_id("web-2", place.namespace), method)
            assert other == Outcome(code=grpc.StatusCode.PERMISSION_DENIED, text=text)


async def test_a_pod_that_was_deleted_is_nobody_and_one_of_its_name_is_another(place: Place) -> None:
    async with place.plane() as plane:
        old = await place.token("web-1")
        assert (await place.stream(plane, old)).code is OK
        await place.kubectl("delete", "pod", "web-1", "--force", "--grace-period=0")
        await place.until_known(plane, gone=True)
        refused = await place.stream(plane, old)
        assert refused.code is UNAUTHENTICATED
        await place.make_pod("web-1")
        assert await place.stream(plane, old) == refused
        # At once: whether the watch has shown the new pod yet or not.
        assert (await place.stream(plane, await place.token("web-1"))).code is OK


async def test_a_pod_that_was_just_made_is_admitted_at_its_first_try(place: Place) -> None:
    async with place.plane() as plane:
        for number in range(5):
            await place.make_pod(f"new-{number}")
            token = await place.token(f"new-{number}")
            assert (await place.stream(plane, token, f"new-{number}")).code is OK


async def test_without_the_api_server_the_known_are_admitted_and_the_others_told_to_come_again(place: Place) -> None:
    async with place.plane() as plane:
        await place.until_known(plane)
        good = await place.token("web-1")
        claims = jwt.decode(good, options={"verify_signature": False})
        bound = claims["kubernetes.io"]
        unknown_pod = sign(place, {**claims, "kubernetes.io": {**bound, "pod": {"name": "late", "uid": "u-late"}}})
        unknown_key = jwt.encode(
            claims,
            rsa.generate_private_key(public_exponent=65537, key_size=2048),
            algorithm="RS256",
            headers={"kid": "new"},
        )
        await asyncio.to_thread(place.cluster.kill_api_server)
        assert (await place.stream(plane, good)).code is OK
        assert (await place.stream(plane, unknown_pod, "late")).code is grpc.StatusCode.UNAVAILABLE
        assert (await place.stream(plane, unknown_key)).code is grpc.StatusCode.UNAVAILABLE
        assert (await place.stream(plane, "garbage")).code is UNAUTHENTICATED
        await asyncio.to_thread(place.cluster.start_api_server)
        assert (await place.stream(plane, unknown_pod, "late")).code is UNAUTHENTICATED
        assert (await place.stream(plane, unknown_key)).code is UNAUTHENTICATED
        assert (await place.stream(plane, await place.token("web-1"))).code is OK


async def test_a_token_is_reviewed_where_keys_cannot_be_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer_keys, "KEYS_PATH", "/openid/v1/none")
    async with place.plane() as plane:
        good = await place.token("web-1")
        assert (await place.stream(plane, good)).code is OK
        for pod, audience in (("web-1", None), (None, "heddle")):
            assert (await place.stream(plane, await place.token(pod, audience))).code is UNAUTHENTICATED
        await asyncio.to_thread(place.cluster.kill_api_server)
        assert (await place.stream(plane, good)).code is OK
        another = sign(place, {**jwt.decode(good, options={"verify_signature": False}), "jti": "another"})
        assert (await place.stream(plane, another)).code is grpc.StatusCode.UNAVAILABLE


async def test_two_that_start_at_once_agree_and_a_restart_keeps_the_authority(place: Place) -> None:
    async with place.plane() as first, place.plane() as second:
        assert first.trust_bundle == second.trust_bundle
        kept = await place.secret()
        assert first.trust_bundle == kept["root.pem"]
        assert set(kept) == {"root.pem", "root.key.pem", "intermediate.pem"}
    async with asyncio.TaskGroup() as tasks:

        async def start() -> bytes:
            async with place.plane() as plane:
                return plane.trust_bundle

        started = [tasks.create_task(start()) for _ in range(3)]
    assert {task.result() for task in started} == {kept["root.pem"]}
    assert await place.secret() == kept


async def test_three_that_start_at_once_in_an_empty_cluster_agree(place: Place) -> None:
    began = asyncio.Barrier(3)

    async def start() -> bytes:
        await began.wait()
        async with place.plane() as plane:
            return plane.trust_bundle

    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(start()) for _ in range(3)]
    assert {task.result() for task in started} == {(await place.secret())["root.pem"]}


async def test_a_secret_that_is_no_authority_ends_it_and_stays(place: Place) -> None:
    await place.kubectl("create", "secret", "generic", "heddle-ca", "--from-literal=root.pem=x")
    with pytest.raises(ExceptionGroup) as raised:
        async with place.plane():
            pass
    assert raised.group_contains(KeyFileError, match=f"Secret heddle-ca in the namespace {place.namespace}")
    assert await place.secret() == {"root.pem": b"x"}


@asynccontextmanager
async def running(duty: Duty) -> AsyncIterator[None]:
    """As on the replica that leads."""
    task = asyncio.create_task(duty.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_the_roots_are_in_every_namespace_and_come_back(place: Place) -> None:
    async def roots(namespace: str) -> str:
        found = await asyncio.to_thread(
            place.cluster.admin.try_kubectl,
            "get", "configmap", root_config_maps.NAME, "-n", namespace, "-o", "jsonpath={.data.root\\.pem}",
        )  # fmt: skip
        return str(found.stdout)

    async def until(namespace: str, text: str) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while await roots(namespace) != text:
                pass

    other = f"{place.namespace}-other"
    async with place.plane() as plane, running(plane.root_config_maps):
        bundle = plane.trust_bundle.decode()
        assert len(x509.load_pem_x509_certificates(bundle.encode())) == 1
        await until(place.namespace, bundle)
        try:
            await asyncio.to_thread(place.cluster.kubectl, "create", "namespace", other)
            await until(other, bundle)
            await place.kubectl("delete", "configmap", root_config_maps.NAME)
            await until(place.namespace, bundle)
            patch = json.dumps({"data": {"root.pem": "mine"}})
            await place.kubectl("patch", "configmap", root_config_maps.NAME, "--type=merge", "-p", patch)
            await until(place.namespace, bundle)
            assert await roots("kube-system") == ""
        finally:
            await asyncio.to_thread(place.cluster.kubectl, "delete", "namespace", other, "--wait=false")


async def test_the_issuer_s_key_is_rotated(place: Place) -> None:
    async with place.plane() as plane:
        old = await place.token("web-1")
        assert (await place.stream(plane, old)).code is OK
        folder = place.cluster.directory
        files = {name: (folder / name).read_bytes() for name in ("sa.key", "sa.pub")}
        fresh = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private = fresh.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = fresh.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        await asyncio.to_thread(place.cluster.stop_api_server)
        try:
            (folder / "sa.key").write_bytes(private)
            # One file may hold several: the old key verifies what it signed.
            (folder / "sa.pub").write_bytes(public + files["sa.pub"])
            await asyncio.to_thread(place.cluster.start_api_server)
            new = await place.token("web-1")
            assert jwt.get_unverified_header(new)["kid"] == key_id(fresh)
            newer = await place.token("web-1")
            assert (await place.stream(plane, new)).code is OK
            assert (await place.stream(plane, old)).code is OK
            await asyncio.to_thread(place.cluster.stop_api_server)
            # Nobody can be asked now: the new key is known.
            assert (await place.stream(plane, newer)).code is OK
        finally:
            if place.cluster.status(API_SERVER) is None:
                await asyncio.to_thread(place.cluster.stop_api_server)
            for name, content in files.items():
                (folder / name).write_bytes(content)
            await asyncio.to_thread(place.cluster.start_api_server)
