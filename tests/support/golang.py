"""Programs that Go builds, once per session: their modules come by the Go module proxy.

``python -m support.golang`` builds all of them, so that the tests find them in Go's own cache.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

from support.servers import PATIENCE
from support.system import locked, scratch

PROGRAMS = {
    "drivers": ".",
    "etcd": ".",
    "actionlint": "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12",
    # With --offline it signs by step-ca's own code, and needs no server. Later releases cannot be had by `go install`.
    "pebble": "github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.3",
    "pebble-challtestsrv": "github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv@v2.10.3",
    "step": "github.com/smallstep/cli/cmd/step@v0.21.0",
    "step-ca": "github.com/smallstep/certificates/cmd/step-ca@v0.30.2",
    "terraform-provider-external": "github.com/terraform-providers/terraform-provider-external",
}
"""The package of each; one without a version is of a module here, whose go.mod pins it."""
_PINNED = {
    "drivers": Path(__file__).with_name("drivers") / "go",
    "etcd": Path(__file__).with_name("etcd"),
}
_WITHOUT_C = ("pebble", "pebble-challtestsrv", "step-ca")
"""Programs that need no C library then: with one, step-ca wants that of smart cards."""
MOVED_CLOCK = "PGTLS_TEST_CLOCK"
"""Names the file with the seconds by which pebble's clock is fast. libfaketime moves none of Go's."""
_EXTERNAL = Path(__file__).with_name("external")
_ATTEMPTS = 3
"""A proxy may hang up; what was downloaded by then is kept."""


@cache
def go_program(name: str) -> Path:
    """Return a program of :data:`PROGRAMS`. Skips where there is no Go, or where the proxy refuses a module."""
    if shutil.which("go") is None:
        pytest.skip("unavailable: Go is not on this machine, and Debian's is too old")
    binary = scratch() / "go" / name
    with locked(binary):
        if not binary.exists():
            failure = _build(name, binary)
            if "Forbidden" in failure:
                pytest.skip(f"unavailable: the Go module proxy does not give {PROGRAMS[name]}")
            assert not failure, f"go cannot build {PROGRAMS[name]}\n{failure}"
    return binary


def _build(name: str, binary: Path) -> str:
    """Build a program; give what Go says if it cannot."""
    said = ""
    for _ in range(_ATTEMPTS):
        if not (said := _attempt(name, binary)) or "Forbidden" in said:
            break
    return said


def _attempt(name: str, binary: Path) -> str:
    package = PROGRAMS[name]
    where = binary.parent if "@" in package else _PINNED.get(name, _EXTERNAL)
    surroundings = {"GOBIN": str(binary.parent), "GOFLAGS": "-buildvcs=false"}
    surroundings |= {"CGO_ENABLED": "0"} if name in _WITHOUT_C else {}
    options: tuple[str, ...] = ()
    if name == "pebble":
        options = ("-trimpath", *_with_moved_clock(where))
        module, command, version = re.split("/(cmd/.*)(?=@)", package)
        given = _go(where, {}, "mod", "download", "-json", module + version)
        if given.returncode:
            return given.stdout + given.stderr
        where, package = _that_asks_again(Path(json.loads(given.stdout)["Dir"]), where), f"./{command}"
    run = _go(where, surroundings, "install", *options, package)
    return "" if run.returncode == 0 else run.stderr or "it ended without a word"


def _go(where: Path, surroundings: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ("go", *words), cwd=where, env=os.environ | surroundings, check=False,
        capture_output=True, text=True, timeout=5 * PATIENCE,
    )  # fmt: skip


def _that_asks_again(module: Path, directory: Path) -> Path:
    """Return a copy of pebble's source that proves a name in each order.

    Told to reuse 0 % of the authorizations (PEBBLE_AUTHZREUSE), pebble reuses one in a hundred: it draws from 0 to 99,
    and asks whether that is more than 0. Go replaces no file of a downloaded module (-overlay), so this is a copy.
    """
    copy = directory / "pebble-source"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(module, copy, copy_function=shutil.copyfile)
    for path in (copy, *copy.rglob("*/")):
        path.chmod(0o755)
    file, drawn = copy / "wfe/wfe.go", "rand.Intn(100) > wfe.authzReusePercent"
    text = file.read_text(encoding="utf-8")
    assert text.count(drawn) == 1, "pebble draws in another way than this one knows"
    file.write_text(text.replace(drawn, drawn.replace(">", ">=")), encoding="utf-8")
    return copy


def _with_moved_clock(directory: Path) -> tuple[str, ...]:
    """Return the options that build a program with another ``time.Now``: it adds the seconds of :data:`MOVED_CLOCK`."""
    root = subprocess.run(("go", "env", "GOROOT"), check=True, capture_output=True, text=True).stdout.strip()
    original = Path(root) / "src/time/time.go"
    source = original.read_text(encoding="utf-8").replace("import (\n", 'import (\n\t"syscall"\n', 1)
    source, found = re.subn(r"^\tsec, nsec, mono := \w+\(\)\n", r"\g<0>\tsec += moved()\n", source, flags=re.MULTILINE)
    assert found == 1, "Go's time.Now is another than this one knows"
    (directory / "time.go").write_text(source + _MOVED.replace("NAME", MOVED_CLOCK), encoding="utf-8")
    overlay = directory / "overlay.json"
    overlay.write_text(json.dumps({"Replace": {str(original): str(directory / "time.go")}}))
    return ("-overlay", str(overlay))


_MOVED = """
func moved() (seconds int64) {
	name, found := syscall.Getenv("NAME")
	if !found {
		return 0
	}
	text, err := readFile(name)
	if err != nil {
		return 0
	}
	for _, digit := range text {
		seconds = 10*seconds + int64(digit-'0')
	}
	return seconds
}
"""


def main() -> None:
    """Build every program and keep none: what counts is what Go has cached."""
    with tempfile.TemporaryDirectory() as directory:
        for name in PROGRAMS:
            failure = _build(name, Path(directory) / name)
            print(f"{name}: {failure or 'built'}")


if __name__ == "__main__":
    main()
