"""One build at a time, with real processes."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import select
import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from pgtls.diagnostics import Rejected
from pgtls.state.mutex import exclusive, shared
from state.trees import Site, issued, public, snapshot
from support.killing import in_child
from support.system import is_root, new_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from state.trees import Tree

TREE: Tree = {"ca/root/ca.crt": public("ca.root", "root")}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Make a site with TREE in it."""
    built = Site(tmp_path, tmp_path / "pgtls.lock")
    with exclusive(str(built.out), 0):
        built.build(TREE, issued(1))
    return built


def fork() -> int:
    """Fork a child that ends within five minutes, whatever becomes of this test."""
    child = os.fork()
    if child == 0:
        signal.alarm(300)
    return child


@contextmanager
def holder(hold: Callable[[], AbstractContextManager[None]]) -> Iterator[int]:
    """Run a process that holds what ``hold`` gives until the block ends; give its id."""
    ready_read, ready_write = os.pipe()
    end_read, end_write = os.pipe()
    child = fork()
    if child == 0:
        with hold():
            os.write(ready_write, b"1")
            os.read(end_read, 1)
        os._exit(0)
    os.close(ready_write)
    assert os.read(ready_read, 1) == b"1"
    os.close(end_read)
    try:
        yield child
    finally:
        with suppress(BrokenPipeError):  # it was killed
            os.write(end_write, b"1")
        os.close(end_write)
        os.close(ready_read)
        os.waitpid(child, 0)


def test_a_second_build_waits_and_then_says_so(site: Site) -> None:
    out = str(site.out)
    with (
        holder(lambda: exclusive(out, 0)),
        pytest.raises(Rejected) as raised,
        exclusive(out, 0.2),
    ):
        pass
    (found,) = raised.value.diagnostics
    assert found.code == "PGT535"
    assert found.message == f'another pgtls works in the out directory "{out}"; waited 0.2 seconds for it'
    with exclusive(out, 0):
        pass


def test_a_build_waits_for_those_that_read_and_they_for_it(site: Site) -> None:
    out = str(site.out)
    with holder(lambda: shared(out, 0)):
        with shared(out, 0):
            pass
        with pytest.raises(Rejected, match="PGT535"), exclusive(out, 0):
            pass
    with holder(lambda: exclusive(out, 0)), pytest.raises(Rejected, match="PGT535"), shared(out, 0):
        pass


def test_who_waits_long_enough_gets_it(site: Site) -> None:
    out = str(site.out)
    with holder(lambda: exclusive(out, 0)) as child:
        waiting = fork()
        if waiting == 0:
            with exclusive(out, 250):
                os._exit(7)
        os.kill(child, signal.SIGKILL)  # a dead process releases it
        assert os.waitstatus_to_exitcode(os.waitpid(waiting, 0)[1]) == 7


def test_builds_at_the_same_time_do_one_after_the_other(site: Site) -> None:
    """Eight processes each add a line to the lock and a file to the tree; none is lost."""

    def build(number: int) -> None:
        with exclusive(str(site.out), 250):
            tree = {f"clients/u{n}/a": public(f"user.u{n}", "a") for n in range(8) if n == number or _has(site, n)}
            site.build({**TREE, **tree}, issued(100 + number, f"user.u{number}"))

    children = []
    for number in range(8):
        child = fork()
        if child == 0:
            build(number)
            os._exit(0)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 8
    found = snapshot(site.out)
    assert {path for path in found if path.endswith("/a")} == {f"clients/u{n}/a" for n in range(8)}
    assert site.lock.read_text().count("issued") == 9


def _has(site: Site, number: int) -> bool:
    return (site.out / f"clients/u{number}/a").exists()


def test_who_waits_for_a_mutex_that_is_removed_takes_the_new_one(tmp_path: Path) -> None:
    """A first build that fails removes the mutex; who waited for it must not hold a file that nobody else will open."""
    out = str(tmp_path / "out")
    with holder(lambda: exclusive(out, 0)):
        ready_read, ready_write = os.pipe()
        end_read, end_write = os.pipe()
        waiting = fork()
        if waiting == 0:
            with exclusive(out, 250):
                os.write(ready_write, b"1")
                os.read(end_read, 1)
            os._exit(0)
        assert select.select([ready_read], [], [], 0.2)[0] == []
    assert os.read(ready_read, 1) == b"1"
    with pytest.raises(Rejected, match="PGT535"), exclusive(out, 0):
        pass
    os.write(end_write, b"1")
    assert os.waitstatus_to_exitcode(os.waitpid(waiting, 0)[1]) == 0
    assert not os.path.exists(out)


# What it makes, and what it leaves


def test_a_build_that_fails_leaves_no_directory_behind(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), exclusive(str(tmp_path / "out"), 0):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_build_that_fails_leaves_an_empty_directory_empty(tmp_path: Path) -> None:
    (tmp_path / ".gitkeep").touch()
    with pytest.raises(ZeroDivisionError), exclusive(str(tmp_path), 0):
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == [".gitkeep"]


@pytest.mark.parametrize("umask", [0o000, 0o077], ids=oct)
def test_a_new_directory_is_open_to_read_and_to_its_owner_to_write(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with exclusive(str(tmp_path / "out"), 0):
            assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755
            assert (tmp_path / "out/.pgtls").stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)


def test_who_reads_makes_nothing(tmp_path: Path) -> None:
    with shared(str(tmp_path / "out"), 0):
        assert list(tmp_path.iterdir()) == []
    with shared(str(tmp_path), 0):
        assert list(tmp_path.iterdir()) == []


def test_a_link_in_place_of_the_private_directory_is_not_followed(tmp_path: Path) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    out.mkdir()
    outside.mkdir()
    (out / ".pgtls").symlink_to(outside)
    with pytest.raises(Rejected, match="PGT525"), exclusive(str(out), 0):
        pass
    with shared(str(out), 0):
        pass
    assert list(outside.iterdir()) == []


def test_a_file_in_place_of_the_private_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / ".pgtls").write_text("mine")
    with (
        pytest.raises(Rejected, match="PGT526: a file lies where the build needs"),
        exclusive(str(tmp_path), 0),
    ):
        pass
    assert (tmp_path / ".pgtls").read_text() == "mine"


@pytest.mark.skipif(not is_root(), reason="unavailable: only root can become somebody else")
def test_who_may_not_write_reads_without_and_is_told_when_building() -> None:
    directory = new_directory("mutex")
    site = Site(directory, directory / "pgtls.lock")
    with exclusive(str(site.out), 0):
        site.build(TREE, issued(1))

    def build_and_read() -> None:
        os.setgid(65534)
        os.setuid(65534)
        with shared(str(site.out), 0):
            pass
        with pytest.raises(Rejected) as raised, exclusive(str(site.out), 0):
            pass
        (found,) = raised.value.diagnostics
        assert found.message == f'cannot write to the out directory "{site.out}": Permission denied'
        with pytest.raises(Rejected, match="PGT523"), exclusive(str(site.directory / "other"), 0):
            pass

    assert in_child(build_and_read).status == 0


FLOCK = {"x86_64": 73, "aarch64": 32}
"""The number of the system call."""


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jump_true", ctypes.c_uint8),
        ("jump_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def refuse(system_call: int, error: int) -> None:
    """Make the kernel refuse a system call to this process, like a file system without support for it (seccomp(2))."""
    load, jump_if_equal, answer = 0x20, 0x15, 0x06
    allowed, failed = 0x7FFF0000, 0x00050000 | error
    instructions = (_Instruction * 4)(
        _Instruction(load, 0, 0, 0),
        _Instruction(jump_if_equal, 0, 1, system_call),
        _Instruction(answer, 0, 0, failed),
        _Instruction(answer, 0, 0, allowed),
    )
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    program = _Program(len(instructions), instructions)
    assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0, os.strerror(ctypes.get_errno())  # PR_SET_SECCOMP


@pytest.mark.skipif(platform.machine() not in FLOCK, reason="unavailable: the number of flock is not known here")
def test_a_file_system_without_flock_is_an_error(tmp_path: Path) -> None:
    def build() -> None:
        refuse(FLOCK[platform.machine()], errno.ENOLCK)
        with pytest.raises(Rejected) as raised, exclusive(str(tmp_path / "out"), 0):
            pass
        (found,) = raised.value.diagnostics
        assert found.code == "PGT536"
        assert found.message == f'the out directory "{tmp_path}/out" cannot be locked: No locks available'

    assert in_child(build).status == 0
