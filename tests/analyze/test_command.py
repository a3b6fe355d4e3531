"""`heddle analyze` as a process and as a function: exit status, JSON, where files come from."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from heddle.analyze import run

HERE = Path(__file__).parent
MESH = str(HERE / "mesh.yaml")
WRONG = str(HERE / "poison/weights-sum-zero.yaml")
REMARKED = str(HERE / "together/accepted.yaml")


def analyze(*paths: str, output: str = "json", stdin: bytes = b"") -> tuple[int, str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    status = run(paths, output, stdin=io.BytesIO(stdin), stdout=stdout, stderr=stderr)
    return status, stdout.getvalue(), stderr.getvalue()


def test_clean_is_0() -> None:
    assert analyze(MESH) == (0, '{\n  "findings": []\n}\n', "")


def test_remarks_alone_are_0() -> None:
    status, out, _ = analyze(MESH, REMARKED)
    findings = json.loads(out)["findings"]
    assert status == 0
    assert {finding["severity"] for finding in findings} == {"info"}


def test_findings_are_1_with_exactly_these_keys() -> None:
    status, out, _ = analyze(MESH, WRONG)
    assert status == 1
    assert json.loads(out) == {
        "findings": [
            {
                "severity": "error",
                "code": "InvalidWeights",
                "message": "the weights of route sum to 0",
                "fix": "Give at least one destination a weight above 0.",
                "file": WRONG,
                "line": 7,
                "resource": "VirtualService/shop/case",
                "field": "spec.http[0].route",
            }
        ]
    }


def test_people_get_place_message_and_fix() -> None:
    status, out, _ = analyze(MESH, WRONG, output="table")
    assert status == 1
    assert f"{WRONG}:7  error  InvalidWeights  VirtualService/shop/case spec.http[0].route\n" in out
    assert "    the weights of route sum to 0\n    fix: Give at least one" in out
    assert out.endswith("2 files: 1 error\n")


def test_a_missing_path_is_2_and_prints_no_findings(tmp_path: Path) -> None:
    status, out, err = analyze(MESH, str(tmp_path / "absent"))
    assert (status, out) == (2, "")
    assert "absent: No such file or directory" in err


def test_a_directory_is_walked_and_a_file_counts_once(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/a.yaml").write_bytes(Path(WRONG).read_bytes())
    (tmp_path / ".hidden.yaml").write_text("}")
    (tmp_path / "notes.txt").write_text("}")
    status, out, _ = analyze(MESH, str(tmp_path), str(tmp_path / "inner"))
    assert status == 1
    assert [finding["file"] for finding in json.loads(out)["findings"]] == [str(tmp_path / "inner/a.yaml")]


def test_standard_input() -> None:
    status, out, _ = analyze(MESH, "-", stdin=Path(WRONG).read_bytes())
    assert status == 1
    assert [(f["file"], f["line"]) for f in json.loads(out)["findings"]] == [("<stdin>", 7)]


def test_findings_are_sorted_by_file_and_line() -> None:
    paths = [str(path) for path in sorted(HERE.glob("poison/[a-d]*.yaml"))]
    _, out, _ = analyze(MESH, *reversed(paths))
    places = [(finding["file"], finding["line"]) for finding in json.loads(out)["findings"]]
    assert places == sorted(places)
    assert len(places) > 10


def test_malformed_yaml_hides_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [1\n")
    _, out, _ = analyze(MESH, WRONG, str(tmp_path / "a.yaml"))
    assert {finding["code"] for finding in json.loads(out)["findings"]} == {"MalformedYaml", "InvalidWeights"}


@pytest.mark.parametrize("path", sorted(HERE.glob("poison/destination-*.yaml")), ids=lambda path: path.stem)
def test_the_answer_does_not_depend_on_the_order_of_files(path: Path) -> None:
    assert analyze(MESH, str(path)) == analyze(str(path), MESH)


def test_a_terminal_obeys_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[31m.yaml").write_text('apiVersion: v1\nkind: Service\nmetadata: {name: "a\\e[31m"}\nspec: {}\n')
    done = subprocess.run(
        [sys.executable, "-m", "heddle.main", "analyze", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=HERE.parent.parent,
    )
    assert done.returncode == 1
    assert "\\x1b[31m" in done.stdout
    assert "\x1b" not in done.stdout


def test_the_command_loads_no_server() -> None:
    """1,000 objects in 3 s leaves no time for imports that are not needed."""
    heavy = {"grpc", "envoy_data_plane", "betterproto2", "aiohttp", "cryptography", "structlog", "pydantic"}
    program = (
        "import sys; from heddle.main import main; status = main(sys.argv[1:]);"
        f"print(sorted({heavy!r} & sys.modules.keys()), file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "analyze", MESH, WRONG, "-o", "json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=HERE.parent.parent,
    )
    assert (done.returncode, done.stderr) == (1, "[]\n")
    assert len(json.loads(done.stdout)["findings"]) == 1


def test_a_file_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    text = Path(WRONG).read_text()
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys; f = open({str(path)!r}, 'w'); f.write({text[:20]!r}); f.flush(); "
         f"print(flush=True); sys.stdin.read(); f.write({text[20:]!r}); f.close()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as writer:  # fmt: skip
        assert writer.stdout is not None
        assert writer.stdin is not None
        writer.stdout.readline()
        reading = threading.Thread(target=lambda: found.append(analyze(MESH, str(path))))
        found: list[tuple[int, str, str]] = []
        reading.start()
        writer.stdin.close()
        reading.join(timeout=60)
    assert [finding["code"] for finding in json.loads(found[0][1])["findings"]] == ["InvalidWeights"]
