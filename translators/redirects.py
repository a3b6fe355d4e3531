"""Answers that the sidecar gives itself: redirects and fixed responses."""

from __future__ import annotations

from collections.abc import Mapping

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    RedirectAction,
    RedirectActionRedirectResponseCode,
)

from model.routing import DirectResponse, Redirect

FROM_REQUEST_PORT = "FROM_REQUEST_PORT"
"""Istio's constant: the port that the request came to, which is the port of the table."""

_CODES: Mapping[int, RedirectActionRedirectResponseCode] = {
    301: RedirectActionRedirectResponseCode.MOVED_PERMANENTLY,
    302: RedirectActionRedirectResponseCode.FOUND,
    303: RedirectActionRedirectResponseCode.SEE_OTHER,
    307: RedirectActionRedirectResponseCode.TEMPORARY_REDIRECT,
    308: RedirectActionRedirectResponseCode.PERMANENT_REDIRECT,
}

_DEFAULT_PORTS = {"http": 80, "https": 443}


def build_redirect(redirect: Redirect, port: int) -> RedirectAction:
    """The redirect for the table of `port`. A scheme's own port is never written out."""
    wanted = redirect.port if redirect.port is not None else port if redirect.derive_port == FROM_REQUEST_PORT else 0
    scheme = redirect.scheme or "http"
    return RedirectAction(
        host_redirect=redirect.authority,
        path_redirect=redirect.uri or None,
        prefix_rewrite=redirect.prefix_rewrite or None if not redirect.uri else None,
        scheme_redirect=redirect.scheme or None,
        port_redirect=0 if wanted == _DEFAULT_PORTS.get(scheme) else wanted,
        response_code=_CODES[redirect.code],
    )


def build_direct_response(response: DirectResponse) -> DirectResponseAction:
    """The status and the body, if there is one."""
    body = DataSource(inline_bytes=response.body) if response.body is not None else None
    return DirectResponseAction(status=response.status, body=body)
