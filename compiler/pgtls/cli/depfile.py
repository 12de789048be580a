"""``pgtls build --depfile FILE``: the one file that a build writes for make."""

from __future__ import annotations

import json
import os
import tempfile

from pgtls.exports.depfile import inputs, rule
from pgtls.state.names import MANIFEST


def refuse(path: str, spec: str, out: str, lock: str) -> str | None:
    """Return why the rule cannot be written there, or would replace something else; None if it can be written."""
    where, inside = os.path.realpath(path), os.path.realpath(out)
    if where in (os.path.realpath(spec), os.path.realpath(lock)) or f"{where}/".startswith(f"{inside}/"):
        return "it would take the place of the spec, the lock or a file of the out directory"
    if not os.path.isdir(os.path.dirname(where)):
        return "there is no such directory"
    target = rule(os.path.join(out, MANIFEST), ()).partition(":")[0]
    if os.path.lexists(path) and not (_read(path) or target).startswith(target):
        return "a file is there that is no such rule"
    return None


def write(path: str, spec: str, out: str, lock: str) -> None:
    """Write the rule for the manifest of ``out``, unless the file already holds it. Raise OSError if that fails."""
    manifest = os.path.join(out, MANIFEST)
    with open(manifest, "rb") as file:
        known = json.load(file)["inputs"]
    text = rule(manifest, inputs(spec, known["include"], known["files"], lock))
    if _read(path) != text:
        _replace(path, text)
    # The lock, and directories that a build writes to, are among the inputs: the target has to be newer than they are.
    os.utime(manifest, follow_symlinks=False)


def _replace(path: str, text: str) -> None:
    """Give a file a new content, whole, through no link that lies in the way."""
    descriptor, staged = tempfile.mkstemp(prefix=f"{os.path.basename(path)}.", dir=os.path.dirname(path) or ".")
    try:
        with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        os.chmod(staged, 0o644)
        os.replace(staged, path)
    except BaseException:
        os.unlink(staged)
        raise


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return None
