"""The memo derives once for all that are alike, again only for what changed, and never forgets to."""

from __future__ import annotations

from model.asker import Asker
from model.mesh import Mesh
from model.problems import ObjectRef
from model.services import Service
from model.view import View
from xds.read_memo import KnownAsker, ReadMemo


def world(**contents: str) -> Mesh:
    return Mesh(
        services={
            name: Service(ref=ObjectRef(kind="Service", name=name), external_name=content)
            for name, content in sorted(contents.items())
        }
    )


def asker(namespace: str = "n", app: str = "x", pod: str = "p") -> KnownAsker:
    return KnownAsker(Asker(namespace=namespace, pod=pod, service_account="s", labels={"app": app}))


class Derivation:
    """Reads one service, and what it says to read of the asker; counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, view: View, before: str | None) -> str:
        self.count += 1
        service = view.service("a")
        content = service.external_name if service else "none"
        if content.startswith("label"):
            return f"{content} {view.labels['app']}"
        if content.startswith("namespace"):
            return f"{content} {view.namespace}"
        return content


SUBJECT = ("type", "a")


def test_askers_that_differ_in_nothing_that_was_read_share_one_result() -> None:
    memo: ReadMemo[tuple[str, str], str] = ReadMemo(mesh=world(a="plain"), limit=10)
    derive = Derivation()
    assert [memo.get(SUBJECT, asker(pod=f"p{n}"), derive) for n in range(5)] == ["plain"] * 5
    assert derive.count == 1


def kept(memo: ReadMemo[tuple[str, str], str], name: str, value: str) -> bool:
    """Whether the result of that name was known already."""
    built = False

    def build(view: View, before: str | None) -> str:
        nonlocal built
        built = True
        view.service(name)
        return value

    memo.get(("type", name), asker(), build)
    return not built


def test_names_that_lead_to_nothing_push_out_each_other_alone_and_count_as_changed() -> None:
    memo: ReadMemo[tuple[str, str], str] = ReadMemo(
        mesh=world(), limit=10, is_void=lambda value: value == "", most_void=2
    )
    kept(memo, "something", "1")
    for name in ("a", "b", "c", "d"):
        kept(memo, name, "")
    assert len(memo) == 3
    assert kept(memo, "something", "1")
    assert kept(memo, "c", "")
    assert memo.advance(world()) == {("type", "a"), ("type", "b")}
    # What led to nothing and leads to something now is no longer one of them.
    assert memo.advance(world(c="1")) == {("type", "c")}
    assert not kept(memo, "c", "1")
    kept(memo, "e", "")
    assert all(kept(memo, name, "") for name in ("d", "e"))
    assert kept(memo, "c", "1")


def test_a_name_that_leads_to_nothing_for_one_leads_to_something_for_another() -> None:
    memo: ReadMemo[tuple[str, str], str] = ReadMemo(
        mesh=world(a="label"), limit=10, is_void=lambda value: value.endswith("x"), most_void=0
    )
    derive = Derivation()
    assert memo.get(SUBJECT, asker(app="y"), derive) == "label y"
    assert memo.get(SUBJECT, asker(app="x"), derive) == "label x"
    assert memo.get(SUBJECT, asker(app="y"), derive) == "label y"
    assert derive.count == 2
    assert memo.advance(world(a="label")) == {SUBJECT}


def test_askers_that_differ_in_what_was_read_do_not() -> None:
    memo: ReadMemo[tuple[str, str], str] = ReadMemo(mesh=world(a="label"), limit=10)
    derive = Derivation()
    assert memo.get(SUBJECT, asker(app="x"), derive) == "label x"
    assert memo.get(SUBJECT, asker(app="y"), derive) == "label y"
    assert memo.get(SUBJECT, asker(app="x", namespace="m"), derive) == "label x"
    assert derive.count == 2


def test_what_is_read_of_the_asker_may_change_with_the_mesh() -> None:
    memo: ReadMemo[tuple[str, str], str] = ReadMemo(mesh=world(a="label"), limit=10)
    derive = Derivation()
    memo.get(SUBJECT, asker(app="x", namespace="m"), derive)
    memo.get(SUBJECT, asker(app="x", namespace="n"), derive)
    assert memo.advance(world(a="namespace")) == {SUBJECT}
    assert memo.get(SUBJECT, asker(app="x", namespace="m"), derive) == "namespace m"
    assert memo.get(SUBJECT, asker(app="x", namespace="n"), derive) == "namespace n"
    assert memo.get(SUBJECT, asker(app="y", namespace="n"), derive) == "namespace n"
    assert len(memo) == 2


def test_only_readers_of_what_changed_are_marked_and_derived_again() -> None:
    memo: ReadMemo[tuple[str, str], str] = ReadMemo(mesh=world(a="1", b="1"), limit=10)
    derive = Derivation()
    memo.get(SUBJECT, asker(), derive)
    assert memo.advance(world(a="1", b="2")) == frozenset()
    memo.get(SUBJECT, asker(), derive)
    assert derive.count == 1
    assert memo.advance(world(a="2", b="2")) == {SUBJECT}
    assert memo.get(SUBJECT, asker(), derive) == "2"


def test_a_change_that_was_taken_back_before_anybody_asked_derives_nothing() -> None:
    memo: ReadMemo[tuple[str, str], str] = ReadMemo(mesh=world(a="1"), limit=10)
    derive = Derivation()
    memo.get(SUBJECT, asker(), derive)
    memo.advance(world(a="2"))
    memo.advance(world(a="1"))
    assert memo.get(SUBJECT, asker(), derive) == "1"
    assert derive.count == 1


def test_it_is_bounded_and_what_was_dropped_counts_as_changed() -> None:
    memo: ReadMemo[tuple[str, str], str] = ReadMemo(mesh=world(a="1"), limit=3)
    derive = Derivation()
    for number in range(6):
        memo.get(("type", f"invented{number}"), asker(), derive)
    assert len(memo) == 3
    assert memo.advance(world(a="1")) == {("type", f"invented{number}") for number in range(3)}
    assert memo.advance(world(a="1")) == frozenset()


def test_what_was_dropped_is_not_remembered_without_end() -> None:
    memo: ReadMemo[tuple[str, str], str] = ReadMemo(mesh=world(a="1"), limit=3)
    derive = Derivation()
    for number in range(10):
        memo.get(("type", f"invented{number}"), asker(), derive)
    assert memo.advance(world(a="1")) is None, "anything may be another"
    assert memo.advance(world(a="1")) == frozenset()
