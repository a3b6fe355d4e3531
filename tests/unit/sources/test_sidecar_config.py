"""The annotation that says how a pod's sidecar learns its destinations: a wrong word is a finding and no more."""

from __future__ import annotations

import pytest

from model.on_demand import SIDECAR_CONFIG, SidecarConfig, parse_sidecar_config
from model.problem_codes import ProblemCode
from model.problems import Severity
from sources.store import Store

POD = """apiVersion: v1
kind: Pod
metadata: {{name: p, namespace: shop, annotations: {{heddle.io/sidecar-config: "{word}"}}}}
spec: {{containers: [{{name: app, image: app, command: [sleep]}}]}}
"""


@pytest.mark.parametrize("word", list(SidecarConfig))
def test_the_words_it_knows(word: SidecarConfig) -> None:
    store = Store()
    store.replace_file("f.yaml", POD.format(word=word.value).encode())
    assert not [problem for problem in store.problems if "sidecar-config" in problem.message]
    assert parse_sidecar_config({SIDECAR_CONFIG: f" {word.value} "}) is word


@pytest.mark.parametrize("word", ["lazy", "", "On-Demand"])
def test_any_other_is_a_warning_that_names_the_field_and_the_pod_is_there_all_the_same(word: str) -> None:
    store = Store()
    store.replace_file("f.yaml", POD.format(word=word).encode())
    (found,) = [problem for problem in store.problems if "sidecar-config" in problem.message]
    assert (found.severity, found.code) == (Severity.WARNING, ProblemCode.INVALID_VALUE)
    assert found.field.endswith(f"annotations['{SIDECAR_CONFIG}']")
    assert "'on-demand'" in found.fix
    assert found.position is not None
    with pytest.raises(ValueError):
        parse_sidecar_config({SIDECAR_CONFIG: word})


def test_as_a_label_it_has_no_effect_and_that_is_said() -> None:
    store = Store()
    store.replace_file("f.yaml", POD.replace("annotations", "labels").format(word="eager").encode())
    (found,) = store.problems
    assert (found.severity, found.code) == (Severity.WARNING, ProblemCode.MISPLACED_FIELD)
    assert found.field.endswith(f"labels['{SIDECAR_CONFIG}']")


def test_without_a_word_nothing_is_said() -> None:
    assert parse_sidecar_config({}) is None
