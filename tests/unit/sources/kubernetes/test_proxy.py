"""Which proxy an API server is reached by: as kubectl, and not as Python, reads the environment."""

from __future__ import annotations

import pytest

from sources.kubernetes.proxy import proxy_for

PROXY = "http://proxy:3128"


@pytest.mark.parametrize(
    ("host", "environment", "proxy"),
    [
        ("https://api.example.com", {}, None),
        ("https://api.example.com", {"HTTPS_PROXY": PROXY}, PROXY),
        ("https://api.example.com", {"https_proxy": "proxy:3128"}, PROXY),
        ("https://api.example.com", {"HTTP_PROXY": PROXY}, None),
        ("http://api.example.com", {"HTTP_PROXY": PROXY}, PROXY),
        ("https://api.example.com", {"HTTPS_PROXY": ""}, None),
        # A pod's API server is an address of the cluster, which people exclude as a range.
        ("https://10.96.0.1:443", {"HTTPS_PROXY": PROXY, "NO_PROXY": "localhost, 10.96.0.0/12,.svc"}, None),
        ("https://[fd00::1]:443", {"HTTPS_PROXY": PROXY, "NO_PROXY": "fd00::/8"}, None),
        ("https://10.96.0.1:443", {"HTTPS_PROXY": PROXY, "NO_PROXY": "10.96.0.1"}, None),
        ("https://[fd00::1]:443", {"HTTPS_PROXY": PROXY, "no_proxy": "[fd00:0::1]:443"}, None),
        ("https://10.96.0.1:443", {"HTTPS_PROXY": PROXY, "NO_PROXY": "10.96.0.1:6443"}, PROXY),
        ("https://10.96.0.1:443", {"HTTPS_PROXY": PROXY, "NO_PROXY": "10.0.0.0/16,nonsense/8,0.1"}, PROXY),
        ("https://kubernetes.default.svc", {"HTTPS_PROXY": PROXY, "NO_PROXY": ".svc"}, None),
        ("https://a.Example.com:6443", {"HTTPS_PROXY": PROXY, "NO_PROXY": "example.com:6443"}, None),
        ("https://example.com", {"HTTPS_PROXY": PROXY, "NO_PROXY": ".example.com"}, PROXY),
        ("https://badexample.com", {"HTTPS_PROXY": PROXY, "NO_PROXY": "example.com"}, PROXY),
        ("https://api.example.com", {"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, None),
        ("https://127.0.0.1:6443", {"HTTPS_PROXY": PROXY}, None),
        ("https://localhost:6443", {"HTTPS_PROXY": PROXY}, None),
    ],
)
def test_who_is_asked(host: str, environment: dict[str, str], proxy: str | None) -> None:
    assert proxy_for(host, environment) == proxy
