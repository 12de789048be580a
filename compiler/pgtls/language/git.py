"""The files of a spec at a git revision, read from git's objects, whatever attributes and the work tree say."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import tempfile
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.diagnostics.text import visible
from pgtls.language.files import LONGEST, Mapped, OutsideError, goes_up, repositories, repository
from pgtls.language.matching import matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_FILE, _LINK, _SUBMODULE = "100", "120", "160"
"""How the modes of a tree begin."""

# The configuration of the repository must not run a program, replace an object or fetch a missing one.
_SAFE = (
    "--no-optional-locks",
    "--literal-pathspecs",
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.warnAmbiguousRefs=true"),
    *("-c", "protocol.allow=never"),
    *("-c", "safe.bareRepository=explicit"),
)
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_PAGER": "cat",
}
_ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX")
"""Variables that lead git to another repository than the one around the spec: a hook sets them."""

_ALTERING = ("working-tree-encoding", "filter", "ident")
"""Attributes with which a checkout, which is what a build reads, has other bytes than the object."""


class _Entry(NamedTuple):
    """One file of a tree: its kind, and its object."""

    kind: str
    object: str


class Revision(Mapped):
    """The files of one revision, by their path from the root of the repository."""

    def __init__(self, root: str, revision: str, identifier: str, tree: Mapping[str, _Entry]) -> None:
        super().__init__({})
        self.label = f"git:{revision}:"
        self.root = root
        self._entries = tree
        self._blobs: dict[str, bytes] = {}
        self._identifier = identifier

    def names(self) -> Iterable[str]:
        """List the paths of all files."""
        return self._entries

    def glob(self, directory: str, pattern: str) -> Iterable[str]:
        """Match as on the disk. Links, submodules and paths outside match too; reading them is then an error."""
        if pattern.startswith("/"):
            inside = repositories(pattern).get(self.root)
            pattern = pattern if inside is None else os.path.relpath(inside, directory or ".")
        found = matches(directory, pattern, self)
        entries = (self._entries.get(os.path.normpath(os.path.join(directory, name))) for name in found)
        self._fetch(entry for entry in entries if entry and entry.kind.startswith(_FILE))
        return found

    def listing(self, path: str) -> Mapping[str, bool]:
        """Let ``**`` descend into submodules, which a checkout has as directories."""
        found = super().listing(path)
        entries = {name: self._entries.get(os.path.normpath(os.path.join(path, name))) for name in found}
        return {name: entry is None or entry.kind.startswith(_SUBMODULE) for name, entry in entries.items()}

    def leads_away(self, path: str) -> bool:
        """Return whether a path is a link, a submodule or outside of the repository."""
        entry = self._entries.get(os.path.normpath(path))
        return os.path.isabs(path) or goes_up(path) or bool(entry and not entry.kind.startswith(_FILE))

    def link(self, path: str) -> str:
        """Return where a link leads, or nothing."""
        entry = self._entries.get(path)
        return os.fsdecode(self._blob(entry)) if entry and entry.kind.startswith(_LINK) else ""

    def submodule(self, path: str) -> str:
        """Return the commit of a submodule, or nothing."""
        entry = self._entries.get(path)
        return entry.object if entry and entry.kind.startswith(_SUBMODULE) else ""

    def read(self, path: str, longest: int = LONGEST, *, pipes: bool = False) -> bytes:
        """Read a file. Raise OSError for one to which a link or a submodule leads, or OutsideError."""
        return super().read(self.place(path), longest, pipes=pipes)

    def place(self, path: str) -> str:
        """Return the path of a file from the root. Raise OSError if a build may find it elsewhere."""
        inside: str | None = path
        if os.path.isabs(path) or goes_up(path):
            inside = repositories(os.path.join(self.root, path)).get(self.root)
        if inside is None:
            raise OutsideError(errno.EXDEV, "it is outside of the repository", path)
        here = "."
        for part in inside.split("/"):
            here = os.path.normpath(os.path.join(here, part))
            if (entry := self._entries.get(here)) and not entry.kind.startswith(_FILE):
                what = "a symbolic link" if entry.kind.startswith(_LINK) else "a submodule"
                which = "it" if here == os.path.normpath(inside) else f'"{here}"'
                raise OSError(errno.ELOOP, f"{which} is {what}, and git:REV follows none", path)
        return here

    def _read(self, path: str, longest: int, *, pipes: bool) -> bytes:
        entry = self._entries.get(path)
        if entry is None:
            return super()._read(path, longest, pipes=pipes)
        if path in self._altered:
            raise Rejected(_would_change(path, self.label, self._altered[path]))
        return self._blob(entry)

    @cached_property
    def _altered(self) -> Mapping[str, str]:
        """The files of which a checkout has other bytes, by path, with the attribute."""
        attributes = [entry for path, entry in self._entries.items() if os.path.basename(path) == ".gitattributes"]
        if not attributes:
            return {}
        self._fetch(attributes)  # git would take one that a partial clone lacks for empty
        return _altering(self.root, self._identifier, self._entries)

    def _blob(self, entry: _Entry) -> bytes:
        self._fetch((entry,))
        return self._blobs[entry.object]

    def _fetch(self, entries: Iterable[_Entry]) -> None:
        """Read objects, many at once; of one that is too long, only that it is."""
        missing = list(dict.fromkeys(entry.object for entry in entries if entry.object not in self._blobs))
        sizes = self._batch("--batch-check=%(objectsize)", missing).decode().split("\n")
        wanted = {one: int(size) for one, size in zip(missing, sizes, strict=False) if size.isdigit()}
        if len(wanted) < len(missing):
            raise Rejected(_no_object(self.label))
        self._blobs |= {one: bytes(LONGEST + 1) for one, size in wanted.items() if size > LONGEST}
        wanted = {one: size for one, size in wanted.items() if size <= LONGEST}
        content, end = self._batch("--batch", list(wanted)), 0
        for one, size in wanted.items():
            start = content.index(b"\n", end) + 1
            end = start + size + 1
            self._blobs[one] = content[start : end - 1]

    def _batch(self, how: str, objects: Sequence[str]) -> bytes:
        names = "".join(f"{one}\n" for one in objects).encode()
        return _git(self.root, "cat-file", how, stdin=names) if objects else b""


def _altering(root: str, tree: str, paths: Iterable[str]) -> dict[str, str]:
    """Return the files of a tree that a checkout changes, with the attribute that says so. No program is run for it.

    git before 2.40 takes attributes from an index and not from a tree, so the tree is read into an index of its own.
    """
    names = b"".join(os.fsencode(path) + b"\0" for path in paths)
    with tempfile.TemporaryDirectory(prefix="pgtls-") as directory:
        index = os.path.join(directory, "index")
        _git(root, "read-tree", tree, index=index)
        said = _git(root, "check-attr", "--cached", "--stdin", "-z", *_ALTERING, stdin=names, index=index)
    fields = iter(os.fsdecode(said).split("\0")[:-1])
    return {
        path: name if value == "set" else f"{name}={value}"
        for path, name, value in zip(fields, fields, fields, strict=True)
        if value not in ("unspecified", "unset")
    }


def revision(name: str, spec: str) -> tuple[Revision, str]:
    """Open a revision of the repository around ``spec``; return its files, and the path of the spec among them.

    Raise :class:`Rejected` (PGT292) where there is no such revision.
    """
    if name.startswith("-"):
        raise Rejected(_no_revision(name, spec, "a revision does not begin with a dash"))
    try:
        root, inside = _repository(spec)
        tree = _tree(root, name, spec)
        listed = _git(root, "ls-tree", "-r", "-z", "--full-tree", tree)
    except FileNotFoundError:
        raise Rejected(_no_revision(name, spec, "git is not installed")) from None
    except subprocess.CalledProcessError as error:
        raise Rejected(_no_revision(name, spec, *_fault(error.stderr.decode(errors="replace")))) from None
    files = Revision(root, name, tree, dict(map(_entry, os.fsdecode(listed).split("\0")[:-1])))
    try:
        files.place(inside)
    except OSError as error:
        raise Rejected(_no_revision(name, spec, str(error.strerror), _HINT_LINK)) from None
    if not files.has(inside):
        raise Rejected(_no_revision(name, spec, "that revision has no such file"))
    return files, inside


def _tree(root: str, name: str, spec: str) -> str:
    """Return the tree of a revision. Raise Rejected (PGT292) if its name means several: git would choose one."""
    found = _run(root, "rev-parse", "--verify", "--end-of-options", f"{name}^{{tree}}")
    tree = found.stdout.decode().strip()
    named = {*_AMBIGUOUS.findall(found.stderr.decode(errors="replace")), *_unwarned(root, name)}
    for one in named - _HEADS:
        refs = _refs(root, one)
        is_object = len(one) == len(tree) and _HEXADECIMAL.issuperset(one)
        if not is_object and one not in refs:  # git takes an object, and a ref in full, before all others
            raise Rejected(_ambiguous(name, spec, refs))
    return tree


_AMBIGUOUS = re.compile("^warning: refname '(.*)' is ambiguous", re.MULTILINE)
_OPERATOR = re.compile(r"[~^]|@\{")
_DESCRIBED = re.compile("-g([0-9a-f]{4,})$")
_HEXADECIMAL = frozenset("0123456789abcdef")
_HEADS = frozenset(("HEAD", "@", ""))
"""What git calls HEAD. Nothing comes before it."""


def _unwarned(root: str, name: str) -> Iterator[str]:
    """Yield a name of several meanings for which git takes a ref without a warning.

    It may also be a branch of a remote, if the ref is a tag, or what ``git describe`` prints of another commit.
    """
    base = _OPERATOR.split(name)[0]
    refs, described = _refs(root, base), _DESCRIBED.search(base)
    if refs[1:] and refs[0] == f"refs/tags/{base}":
        yield base
    elif refs and described:
        commit = _git(root, "rev-parse", "--verify", "--end-of-options", f"{refs[0]}^{{commit}}").decode()
        others = _git(root, "rev-parse", f"--disambiguate={described[1]}")
        if others and not commit.startswith(described[1]):
            yield base


def _refs(root: str, name: str) -> list[str]:
    """Return the refs that a name may mean: those of gitrevisions(7), and instead of a tag a branch of a remote."""
    meant = [rule.format(name) for rule in _RULES]
    found = sorted({*meant}.intersection(_existing(root, *meant)))
    return found + _existing(root, f"refs/remotes/*/{name}") if found == [f"refs/tags/{name}"] else found


_RULES = ("{}", "refs/{}", "refs/tags/{}", "refs/heads/{}", "refs/remotes/{}", "refs/remotes/{}/HEAD")


def _existing(root: str, *patterns: str) -> list[str]:
    return _git(root, "for-each-ref", "--format=%(refname)", *patterns).decode(errors="replace").splitlines()


def submodules(root: str) -> dict[str, str] | None:
    """Return the submodules of a checkout by path, each with its commit. Return None if git cannot tell."""
    try:
        listed = _git(root, "ls-files", "--stage", "-z")
    except (OSError, subprocess.CalledProcessError):
        return None
    entries = (line.partition("\t") for line in os.fsdecode(listed).split("\0"))
    return {path: fields.split(" ")[1] for fields, _, path in entries if fields.startswith(_SUBMODULE)}


def refuse_links(spec: str) -> None:
    """Raise Rejected (PGT292) if a link or a submodule leads to a spec in the checkout: git:REV would follow none."""
    real = os.path.realpath(spec)
    root, inside = _repository(spec)
    if real != os.path.join(root, inside) or repository(os.path.dirname(real)) != root:
        message = f'a symbolic link or a submodule in the repository leads to "{spec}", and git:REV follows none'
        raise Rejected(Diagnostic("PGT292", message, hint=_HINT_LINK))


_HINT_LINK = "name the path of the file itself; for a submodule, run pgtls in the directory of the submodule"


def _repository(spec: str) -> tuple[str, str]:
    """Return the root of the repository that a spec belongs to, and the path of the spec from there, as it is written.

    It is the repository of the working directory if the spec is in it. Otherwise, of several repositories around the
    spec, it is the outermost that tracks what the path leads through: a commit that adds a link or a submodule must not
    choose the repository.
    """
    around = {root: os.path.normpath(inside) for root, inside in repositories(spec).items()}
    here, innermost = repository(os.getcwd()), next(reversed(around), os.sep)
    order = sorted(around, key=lambda root: root != here) if here != innermost else ()
    otherwise = here if here in around else innermost
    root = next((root for root in order if _tracks(root, around[root])), otherwise)
    return root, around.get(root, spec)


def _tracks(root: str, path: str) -> bool:
    """Return whether the index of a checkout has a file, or a link or submodule that leads to it."""
    names = set(os.fsdecode(_git(root, "ls-files", "-z")).split("\0"))
    while path and path not in names:
        path = os.path.dirname(path)
    return bool(path)


def _entry(line: str) -> tuple[str, _Entry]:
    fields, _, path = line.partition("\t")
    mode, _, one = fields.split(" ")
    return path, _Entry(mode, one)


def _git(folder: str, *words: str, stdin: bytes = b"", index: str | None = None) -> bytes:
    return _run(folder, *words, stdin=stdin, index=index).stdout


def _run(folder: str, *words: str, stdin: bytes = b"", index: str | None = None) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE} | _ENVIRONMENT
    environment |= {"GIT_INDEX_FILE": index} if index else {}
    command = ("git", *_SAFE, "-C", folder, *words)
    return subprocess.run(command, check=True, capture_output=True, input=stdin, env=environment)  # noqa: S603


def _fault(said: str) -> tuple[str, str]:
    """Return the fault that git reports and the command that it advises; of an unknown revision git says nothing."""
    lines = [visible(line.strip()) for line in said.splitlines() if line.strip()]
    faults = [text for kind, _, text in (line.partition(": ") for line in lines) if kind in ("error", "fatal")]
    fatal = next((text for text in faults if text != _NOT_ONE), "git knows no such revision")
    advice = next((line for line in lines if line.startswith("git ")), "")
    return fatal, advice


_NOT_ONE = "Needed a single revision"


def _ambiguous(name: str, spec: str, refs: Sequence[str]) -> Diagnostic:
    has_object = len(refs) == 1
    meant = " or ".join((*refs, *["a commit by its id"] * has_object)) or "a branch or a tag"
    full = (
        " or ".join(f"git:{ref}" for ref in refs or ("refs/heads/BRANCH",)) + ", or all digits of the id" * has_object
    )
    message = f'revision "{name}" of "{spec}" is ambiguous: it may be {meant}'
    return Diagnostic("PGT292", message, hint=f"write it in full: {full}")


def _no_revision(name: str, spec: str, reason: str, advice: str = "") -> Diagnostic:
    message = f'there is no "{spec}" at revision "{name}": {reason}'
    hint = advice or "name a revision and a path that git knows: git:REV or git:REV:PATH"
    return Diagnostic("PGT292", message, hint=hint)


def _would_change(path: str, label: str, attribute: str) -> Diagnostic:
    message = f'git changes "{path}" when it checks "{label}" out ({visible(attribute)}): a build reads other bytes'
    return Diagnostic("PGT292", message, hint="delete this attribute of the file from .gitattributes")


def _no_object(label: str) -> Diagnostic:
    hint = 'this clone is partial: "git fetch --refetch" completes it'
    return Diagnostic("PGT292", f'an object of "{label}" is not in the repository', hint=hint)
