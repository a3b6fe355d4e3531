"""What `deploy/users`, `users-0.shop` and their like mean."""

from __future__ import annotations

import pytest

from heddle.pod_names import NoSuchPod, PodEntry, choose_pod

PODS = (
    PodEntry(namespace="shop", name="users-1", workload="users", ready=False),
    PodEntry(namespace="shop", name="users-2", workload="users", ready=True),
    PodEntry(namespace="shop", name="web-0", workload="web", ready=True),
    PodEntry(namespace="other", name="web-0", workload="web", ready=True),
    PodEntry(namespace="default", name="tool", workload="tool", ready=True),
    PodEntry(namespace="other", name="tool", workload="tool", ready=True),
)


@pytest.mark.parametrize(
    ("wanted", "namespace", "found"),
    [
        ("users-1", None, "shop/users-1"),
        ("pod/users-1", "shop", "shop/users-1"),
        ("deploy/users", None, "shop/users-2"),
        ("deployment/users", "shop", "shop/users-2"),
        ("sts/web", "other", "other/web-0"),
        ("web-0.other", None, "other/web-0"),
        ("tool", None, "default/tool"),
        ("tool", "other", "other/tool"),
    ],
)
def test_found(wanted: str, namespace: str | None, found: str) -> None:
    pod = choose_pod(wanted, namespace, PODS)
    assert f"{pod.namespace}/{pod.name}" == found


@pytest.mark.parametrize(
    ("wanted", "namespace", "says"),
    [
        ("web-0", None, "say which with -n"),
        ("nobody", None, "users-2 -n shop"),
        ("users-1", "other", "in namespace other"),
        ("deploy/users-1", None, "no pod fits"),
        ("secret/users", None, "no kind that has pods"),
    ],
)
def test_the_error_says_what_there_is(wanted: str, namespace: str | None, says: str) -> None:
    with pytest.raises(NoSuchPod, match=says):
        choose_pod(wanted, namespace, PODS)
