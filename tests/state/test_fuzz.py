"""Random content of the lock, the commit record, the manifest and the index of git.

pgtls never prints a traceback and never writes outside of the tree.

Short by default. ``PGTLS_FUZZ_SECONDS=600`` runs each test for that long with new examples.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgtls.diagnostics import Rejected
from pgtls.state import journal, known_lock, seal
from pgtls.state import lock as locks
from pgtls.state import manifest as manifests
from pgtls.state.git_index import tracked
from pgtls.state.lock import Lock
from pgtls.state.out_directory import opened
from pgtls.state.transaction import recover
from pgtls.state.up_to_date import up_to_date
from state.trees import ID, Site, issued, key, public

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

SECONDS = float(os.environ.get("PGTLS_FUZZ_SECONDS", "0"))

TREE = {
    "ca/root/ca.key": key("ca.root", "root"),
    "ca/root/ca.crt": public("ca.root", "root"),
    "clients/app/postgresql.key": key("user.app", "app"),
}

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        ["", ".", "..", "/etc", "ca/root/ca.key", "a/../b", "\0", "ca.root", "2026-01-01T00:00:00Z", "a" * 64]
    ),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner), max_leaves=8
)


def mutated(document: Any, draw: st.DrawFn) -> Any:
    """Change one place of a document, however deep."""
    if isinstance(document, dict) and document and draw(st.integers(0, 5)):
        name = draw(st.sampled_from(sorted(document)))
        if not draw(st.integers(0, 9)):
            return {other: value for other, value in document.items() if other != name}
        return {**document, name: mutated(document[name], draw)}
    if isinstance(document, list) and document and draw(st.integers(0, 5)):
        index = draw(st.integers(0, len(document) - 1))
        return [*document[:index], mutated(document[index], draw), *document[index + 1 :]]
    return draw(values)


@st.composite
def documents(draw: st.DrawFn, document: Any) -> bytes:
    """Draw bytes that are nearly a document: one place is another, or a piece is missing, doubled or replaced."""
    content = json.dumps(mutated(document, draw) if draw(st.integers(0, 3)) else document).encode()
    if draw(st.integers(0, 2)):
        return content
    begin = draw(st.integers(0, len(content)))
    end = draw(st.integers(begin, len(content)))
    return content[:begin] + draw(st.binary(max_size=8)) + content[end:]


def forever(test: Callable[..., None]) -> Callable[..., None]:
    """Run a property once, or for PGTLS_FUZZ_SECONDS with new examples."""
    quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    size: dict[str, Any] = {"max_examples": 500, "derandomize": False} if SECONDS else {"max_examples": 60}
    prepared = settings(suppress_health_check=quiet, deadline=None, **size)(test)

    def run(**fixtures: Any) -> None:
        end = time.monotonic() + SECONDS
        prepared(**fixtures)
        while time.monotonic() < end:
            prepared(**fixtures)

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


def codes(call: Callable[..., object], *arguments: object) -> set[str]:
    """Call a function, and return the codes that it refuses its arguments with."""
    try:
        call(*arguments)
    except Rejected as rejected:
        return {found.code[:5] for found in rejected.diagnostics}
    return set()


LINES = [
    issued(1, "ca.root").fields(),
    issued(2, "user.app").fields(),
    {
        "event": "revoked",
        "ca": "root",
        "entity": "user.app",
        "serial": "2",
        "reason": "unspecified",
        "date": "2026-01-01T00:00:00Z",
    },
]
HEADER: dict[str, object] = {"pgtls_lock": 1, "id": ID}


def test_a_lock_is_read_or_refused() -> None:
    @forever
    @given(st.lists(st.one_of(*(documents(line) for line in (HEADER, *LINES))), max_size=5), st.booleans())
    def holds(drawn: list[bytes], headed: bool) -> None:
        content = b"\n".join([json.dumps(HEADER).encode(), *drawn] if headed else drawn)
        refused = codes(locks.parse, content, "pgtls.lock")
        assert refused <= {"PGT50"}
        if not refused:
            found = locks.parse(content, "pgtls.lock")
            assert locks.parse(found.render(), "pgtls.lock") == found

    holds()


def test_a_manifest_is_read_or_refused_and_a_build_with_nothing_to_do_never_fails(tmp_path: Path) -> None:
    site = Site(tmp_path, tmp_path / "pgtls.lock")
    site.build(TREE, issued(1, "ca.root"))
    document = json.loads((site.out / "manifest.json").read_bytes())

    @forever
    @given(documents(document))
    def holds(content: bytes) -> None:
        (site.out / "manifest.json").write_bytes(content)
        up_to_date(str(site.spec), str(site.out), str(site.lock), "", "2026-03-02T00:00:00Z", touch=False)
        refused = codes(manifests.read, site.out)
        assert refused <= {"PGT51"}
        found = None if refused else manifests.read(site.out)
        for path in found.files if found else ():
            assert not os.path.isabs(path)
            assert ".." not in path.split("/")

    holds()


def _everything(directory: Path, without: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file() and without not in path.parents)
    return {str(path): path.read_bytes() for path in files}


def test_a_record_with_the_right_code_touches_nothing_outside_of_the_tree(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The worst case: the author has the key of the tree."""
    directory = tmp_path_factory.mktemp("records")
    site = Site(directory / "site", directory / "site/pgtls.lock")
    site.directory.mkdir()
    (directory / "victim").write_text("mine")
    site.build(TREE, issued(1, "ca.root"))
    with opened(str(site.out)) as place:
        sealing = seal.read(place.root, place.private)
        before = journal.digest("manifest.json", place.root)
    assert sealing is not None
    document = {
        "pgtls_commit": journal.VERSION,
        "lock": {
            "path": str(site.lock),
            "staged": str(directory / "site/.pgtls.lock.0123456789abcdef.new"),
            "before": None,
            "after": "a" * 64,
        },
        "before": before,
        "after": before,
        "known": None,
        "steps": [
            ["chmod", "ca/root/ca.key", 384],
            ["unlink", "clients/app/postgresql.key", 0],
            ["rename", "ca/root/ca.crt", 0],
        ],
    }
    shutil.copytree(site.out, directory / "kept")

    @forever
    @given(documents(document), st.booleans(), st.booleans())
    def holds(content: bytes, sealed: bool, staged: bool) -> None:
        shutil.rmtree(site.out)
        shutil.copytree(directory / "kept", site.out)
        lines = [content, seal.sign(sealing, content).encode()] if sealed else [content]
        (site.out / ".pgtls/commit.json").write_bytes(b"\n".join(lines))
        if staged:
            shutil.copytree(directory / "kept/ca", site.out / ".pgtls/staging/ca")
            shutil.copy(directory / "kept/manifest.json", site.out / ".pgtls/staging/manifest.json")
        others = _everything(directory, site.out)
        assert codes(recover, str(site.out), str(site.lock)) <= {"PGT53"}
        assert _everything(directory, site.out) == others
        mode = (site.out / "ca/root/ca.key").stat().st_mode & 0o777
        assert mode == 0o600
        assert (site.out / "ca/root/ca.key").read_bytes() == TREE["ca/root/ca.key"].content

    holds()


def test_the_copy_of_the_lock_and_the_index_of_git_may_hold_anything(tmp_path: Path) -> None:
    private = tmp_path / "out/.pgtls"
    private.mkdir(parents=True)
    git = tmp_path / ".git"
    git.mkdir()
    (git / "config").write_text("[core]\n")
    lock = Lock(ID, (issued(1, "ca.root"),))

    @forever
    @given(st.one_of(documents(LINES[0]), st.binary(max_size=200)), st.integers(2, 4), st.integers(0, 3))
    def holds(content: bytes, version: int, count: int) -> None:
        (private / "lock").write_bytes(json.dumps(HEADER).encode() + b"\n" + content)
        known_lock.compare(str(tmp_path / "out"), lock, ())
        (git / "index").write_bytes(b"DIRC" + version.to_bytes(4, "big") + count.to_bytes(4, "big") + content)
        tracked(str(tmp_path / "out"))

    holds()
