"""The authority on disk: whole or not there, private, and never replaced by a new root."""

from __future__ import annotations

import stat
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sds.authority import NewAuthority, create_authority
from sds.authority_material import INTERMEDIATE, ROOT_CERTIFICATE, ROOT_KEY
from sds.authority_store import load_authority, load_or_create_authority, save_authority
from sds.keyfiles import KeyFileError, to_pem

FILES = (ROOT_CERTIFICATE, ROOT_KEY, INTERMEDIATE)


def test_what_was_saved_is_loaded(tmp_path: Path, new_authority: NewAuthority) -> None:
    assert save_authority(tmp_path / "ca", new_authority)
    loaded = load_authority(tmp_path / "ca")
    assert loaded == new_authority.authority
    assert to_pem(loaded.signing_key) == to_pem(new_authority.authority.signing_key)


def test_files_are_private_and_nothing_is_left_beside_them(tmp_path: Path, new_authority: NewAuthority) -> None:
    save_authority(tmp_path / "deep" / "ca", new_authority)
    assert sorted(path.name for path in (tmp_path / "deep" / "ca").iterdir()) == sorted(FILES)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["ca"]
    for path in (tmp_path / "deep" / "ca").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "deep" / "ca").stat().st_mode) == 0o700


def test_the_root_key_stands_in_its_own_file_only(tmp_path: Path, new_authority: NewAuthority) -> None:
    save_authority(tmp_path / "ca", new_authority)
    secret = _base64_lines(to_pem(new_authority.root_key))
    for name in (ROOT_CERTIFICATE, INTERMEDIATE):
        assert not secret & _base64_lines((tmp_path / "ca" / name).read_bytes())
    (tmp_path / "ca" / ROOT_KEY).unlink()
    assert load_authority(tmp_path / "ca") == new_authority.authority


def test_the_first_start_makes_one_and_the_second_finds_it(tmp_path: Path, now: datetime) -> None:
    with capture_logs() as logs:
        first = load_or_create_authority(tmp_path / "ca", trust_domain="mesh.example", now=now)
        second = load_or_create_authority(tmp_path / "ca", trust_domain="mesh.example", now=now)
    assert first == second
    assert [entry["event"] for entry in logs] == ["sds.authority_created"]


def test_an_empty_directory_is_filled(tmp_path: Path, now: datetime) -> None:
    (tmp_path / "ca").mkdir()
    load_or_create_authority(tmp_path / "ca", trust_domain="mesh.example", now=now)
    assert load_authority(tmp_path / "ca").trust_domain == "mesh.example"


def test_who_comes_second_writes_nothing(tmp_path: Path, new_authority: NewAuthority, now: datetime) -> None:
    assert save_authority(tmp_path / "ca", new_authority)
    assert not save_authority(tmp_path / "ca", create_authority(trust_domain="mesh.example", now=now))
    assert load_authority(tmp_path / "ca") == new_authority.authority
    assert [path.name for path in tmp_path.iterdir()] == ["ca"]


@pytest.mark.parametrize("content", [b"", b"garbage", b"\0" * 100, b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
@pytest.mark.parametrize("name", [ROOT_CERTIFICATE, INTERMEDIATE])
def test_a_corrupt_file_is_an_error_and_no_new_root(
    tmp_path: Path, new_authority: NewAuthority, now: datetime, name: str, content: bytes
) -> None:
    save_authority(tmp_path / "ca", new_authority)
    (tmp_path / "ca" / name).write_bytes(content)
    before = _contents(tmp_path / "ca")
    with pytest.raises(KeyFileError, match=name):
        load_or_create_authority(tmp_path / "ca", trust_domain="mesh.example", now=now)
    assert _contents(tmp_path / "ca") == before


@pytest.mark.parametrize("name", [ROOT_CERTIFICATE, INTERMEDIATE])
def test_a_missing_file_is_an_error_and_no_new_root(
    tmp_path: Path, new_authority: NewAuthority, now: datetime, name: str
) -> None:
    save_authority(tmp_path / "ca", new_authority)
    (tmp_path / "ca" / name).unlink()
    before = _contents(tmp_path / "ca")
    with pytest.raises(KeyFileError, match=name):
        load_or_create_authority(tmp_path / "ca", trust_domain="mesh.example", now=now)
    assert _contents(tmp_path / "ca") == before


def test_a_truncated_key_is_an_error_that_quotes_nothing(
    tmp_path: Path, new_authority: NewAuthority, now: datetime
) -> None:
    save_authority(tmp_path / "ca", new_authority)
    path = tmp_path / "ca" / INTERMEDIATE
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(KeyFileError) as refusal:
        load_or_create_authority(tmp_path / "ca", trust_domain="mesh.example", now=now)
    secret = _base64_lines(to_pem(new_authority.authority.signing_key))
    assert not any(line.decode() in f"{refusal.value!r}{refusal.value.__cause__!r}" for line in secret)


def test_a_path_that_is_no_directory_is_an_error(tmp_path: Path, now: datetime) -> None:
    (tmp_path / "ca").write_text("in the way")
    with pytest.raises(KeyFileError, match="cannot be read"):
        load_or_create_authority(tmp_path / "ca", trust_domain="mesh.example", now=now)


def test_an_oversized_file_is_not_read(tmp_path: Path, new_authority: NewAuthority) -> None:
    save_authority(tmp_path / "ca", new_authority)
    (tmp_path / "ca" / ROOT_CERTIFICATE).write_bytes(b"a" * (1 << 20))
    with pytest.raises(KeyFileError, match="larger than"):
        load_authority(tmp_path / "ca")


def test_another_trust_domain_is_an_error(tmp_path: Path, new_authority: NewAuthority, now: datetime) -> None:
    save_authority(tmp_path / "ca", new_authority)
    with pytest.raises(KeyFileError, match=r"other\.example"):
        load_or_create_authority(tmp_path / "ca", trust_domain="other.example", now=now)


def test_an_intermediate_past_half_its_life_is_replaced_under_the_same_root(tmp_path: Path, now: datetime) -> None:
    first = load_or_create_authority(tmp_path / "ca", trust_domain="mesh.example", now=now)
    early, late = now + timedelta(days=364), now + timedelta(days=366)
    assert load_or_create_authority(tmp_path / "ca", trust_domain="mesh.example", now=early) == first
    renewed = load_or_create_authority(tmp_path / "ca", trust_domain="mesh.example", now=late)
    assert renewed.root == first.root
    assert renewed.intermediate != first.intermediate
    assert load_authority(tmp_path / "ca") == renewed
    assert stat.S_IMODE((tmp_path / "ca" / INTERMEDIATE).stat().st_mode) == 0o600


def test_a_root_that_ended_is_an_error_and_no_new_root(tmp_path: Path, now: datetime) -> None:
    load_or_create_authority(tmp_path / "ca", trust_domain="mesh.example", now=now)
    before = _contents(tmp_path / "ca")
    with pytest.raises(KeyFileError, match="cannot be renewed"):
        load_or_create_authority(tmp_path / "ca", trust_domain="mesh.example", now=now + timedelta(days=3651))
    assert _contents(tmp_path / "ca") == before


def _contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def _base64_lines(pem: bytes) -> set[bytes]:
    return {line for line in pem.splitlines() if line and not line.startswith(b"-----")}
