"""The part of Go's template language that the chart keeps to. That it is Helm's, tests/kubernetes shows."""

from __future__ import annotations

import pytest

from heddle.cluster.template import render
from heddle.cluster.template_syntax import Template, TemplateError, parse_template

DATA = {"name": "web", "ports": [80, 443], "labels": {"b": "2", "a": "1"}, "none": None, "off": False, "n": 2}


def rendered(text: str) -> str:
    templates: dict[str, Template] = {one.name: one for one in parse_template(text, "t.yaml")}
    return render(templates, "t.yaml", DATA)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain { text }", "plain { text }"),
        ("a: {{ .name }}", "a: web"),
        ("a: {{ .missing }}!", "a: !"),
        ("{{ .n }} {{ .off }}", "2 false"),
        ("x\n  {{- /* a comment with }} in it? no */}}\ny", "x\ny"),
        ("a {{- .name -}} b", "awebb"),
        ("a {{-1}}", "a -1"),
        ('{{ "a\\"b" }}', 'a"b'),
        ("{{ .name | quote }}", '"web"'),
        ('{{ printf "%s:%s" .name "x" }}', "web:x"),
        ('{{ default "x" .missing }}{{ .name | default "x" }}', "xweb"),
        ("{{ if .off }}a{{ else if .name }}b{{ else }}c{{ end }}", "b"),
        ("{{ if and .name .off }}a{{ else }}b{{ end }}", "b"),
        ("{{ or .off .none .name }}", "web"),
        ("{{ if not .off }}a{{ end }}", "a"),
        ('{{ if eq .name "web" "x" }}a{{ end }}{{ if ne .name "web" }}b{{ end }}', "a"),
        ("{{ if gt (int .n) 1 }}a{{ end }}", "a"),
        ("{{ range .ports }}[{{ . }}]{{ end }}", "[80][443]"),
        ("{{ range $k, $v := .labels }}{{ $k }}{{ $v }},{{ end }}", "a1,b2,"),
        ("{{ range $p := .ports }}{{ $p }}{{ $.name }},{{ end }}", "80web,443web,"),
        ("{{ range .none }}a{{ else }}nothing{{ end }}", "nothing"),
        ("{{ with .labels }}{{ .a }}{{ $.name }}{{ end }}{{ with .none }}x{{ end }}", "1web"),
        ("a:\n  {{- toYaml .labels | nindent 2 }}", "a:\n  a: '1'\n  b: '2'"),
        ('{{ define "x" }}<{{ .a }}>{{ end }}{{ include "x" .labels }}', "<1>"),
        ("{{ empty .none }}{{ toString .n }}", "true2"),
        ('{{ hasPrefix "w" .name }}', "true"),
        ('{{ hasSuffix "w" .name }}', "false"),
        ("{{ sha256sum .name }}", "4b5e57f6eb2f42b9039b3d1e13929295f231749c510cbe341cd68036d9af97e2"),
    ],
)
def test_it_renders(text: str, expected: str) -> None:
    assert rendered(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a\n{{ if .x }}", "t.yaml:2: if without an end"),
        ("{{ end }}", "t.yaml:1: end without a beginning"),
        ("a\nb {{ .name", "t.yaml:2: an action without an end"),
        ("{{ lookup 1 }}", "t.yaml:1: lookup is beyond what charts here may use"),
        ("{{ $x := 1 }}", "beyond|no place"),
        ("{{ block }}", "beyond"),
        ('{{ if .x }}{{ define "y" }}{{ end }}{{ end }}', "define inside of something"),
        ("{{ .name.first }}", "a text and has no first"),
        ("{{ .labels }}", "a mapping is no text"),
        ('{{ eq .n "2" }}', "number and text are not compared"),
        ('{{ include "nobody" . }}', "there is no template 'nobody'"),
        ('{{ define "x" }}{{ include "x" . }}{{ end }}{{ include "x" . }}', "includes itself"),
        ('{{ printf "%d" .n }}', "only %s"),
        ("{{ ( .name }}", "a parenthesis without an end"),
        ("{{ .name .n }}", "only functions take arguments"),
        ("{{}}", "an empty action"),
        ("{{ $nobody }}", r"there is no variable \$nobody"),
        ("{{ range .name }}{{ end }}", "range goes through no text"),
    ],
)
def test_it_says_what_it_cannot(text: str, why: str) -> None:
    with pytest.raises(TemplateError, match=why):
        rendered(text)
