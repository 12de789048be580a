"""What goes into the pipeline, and what comes out of each of its prefixes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Diagnostic, Rejected, errors
from pgtls.fleet.files import kept_outside, named_files
from pgtls.state.names import LOCK_TIMEOUT
from pgtls.state.up_to_date import contents_digest, input_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from pgtls.access.model import Entry, Rules
    from pgtls.certificates.issue import Material
    from pgtls.certificates.model import Decisions, Existing
    from pgtls.certificates.secrets import Secrets
    from pgtls.fleet.model import Fleet
    from pgtls.language.files import Files
    from pgtls.language.source import Source
    from pgtls.pki.model import Entity, Profile
    from pgtls.plan.plan import Plan
    from pgtls.rollout.verdict import Verdict
    from pgtls.state.lock import Lock
    from pgtls.state.manifest import Entry as ManifestEntry
    from pgtls.state.tree import Tree

Progress: TypeAlias = "Callable[[str, int], Callable[[int], None]]"
"""Gets the name of a stage and how much it has to do; returns what gets how much more is done."""


def no_progress(stage: str, total: int) -> Callable[[int], None]:
    """Tell nobody how a build is getting on."""
    return lambda more: None


OPTIONS = ""
"""The options that what is compiled depends on, for the digest of the inputs: none so far."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a command works on. ``out`` and ``lock`` are paths as the user named them."""

    spec: Path
    out: str
    lock: str
    now: datetime
    asked: Asked = Asked()  # noqa: RUF009  (frozen)
    new_out: bool = False
    lock_timeout: int = LOCK_TIMEOUT
    jobs: int = 0
    """Processes and threads for keys; 0: as many as there are cores."""
    files: Files | None = None
    """Where the spec, its includes and the files that it names come from, if not from the disk."""
    sealed: bool = False
    """Open no key and fetch no secret: for a plan of a stranger's spec."""
    review: bool = False
    """This is a review in a checkout, where no out directory is expected."""


@dataclass(frozen=True)  # without slots: what follows from it is computed once
class Checked:
    """A spec with everything that is wrong with it; ``fleet`` is None where that is too much to compile anything."""

    source: Source
    fleet: Fleet | None
    rules: Mapping[str, Rules]
    """By server."""
    lock: Lock
    diagnostics: tuple[Diagnostic, ...]
    waived: tuple[Diagnostic, ...] = ()
    """What waivers accept, and ``[lint] ignore``."""

    @classmethod
    def of(
        cls, source: Source, fleet: Fleet | None, rules: Mapping[str, Rules], lock: Lock, found: Sequence[Diagnostic]
    ) -> Checked:
        """Make one of all findings, waived or not."""
        waived = tuple(diagnostic for diagnostic in found if diagnostic.accepted)
        standing = tuple(diagnostic for diagnostic in found if not diagnostic.accepted)
        return cls(source, fleet, rules, lock, standing, waived)

    @property
    def files(self) -> tuple[str, ...]:
        """The files that the spec names, relative to its directory."""
        return named_files(self.fleet) if self.fleet else ()

    def usable(self) -> Fleet:
        """Return the fleet. Raise :class:`Rejected` where the spec or the lock has errors."""
        if self.fleet is None or errors(self.diagnostics):
            raise Rejected(*self.diagnostics)
        return self.fleet

    @cached_property
    def entries(self) -> Mapping[str, tuple[Entry, ...]]:
        """What each user may connect to, by NAME; nothing without a fleet."""
        from pgtls.access.bundles import index

        return index(self.fleet) if self.fleet else {}

    @property
    def digest(self) -> str:
        """The digest of the very bytes that were compiled: see :func:`pgtls.state.up_to_date.contents_digest`."""
        return contents_digest(self.source.contents(self.files), OPTIONS)


@dataclass(frozen=True, slots=True)
class Decided:
    """What is there, and what is to happen to every certificate and CRL; errors are among the diagnostics."""

    checked: Checked
    fleet: Fleet
    profiles: Mapping[Entity, Profile]
    """The certificates that the spec requires, as supplied material and its lack change them."""
    secrets: Secrets
    existing: Existing
    decisions: Decisions
    verdict: Verdict
    diagnostics: tuple[Diagnostic, ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with all that it follows from."""

    checked: Checked
    fleet: Fleet
    profiles: Mapping[Entity, Profile]
    existing: Existing
    decisions: Decisions
    verdict: Verdict
    secrets: Secrets
    texts: Tree
    """The files that hold no certificate that is issued now."""
    follows: Mapping[Entity, str]
    """By user: the digest of what the texts of its bundle follow from."""
    material: Material
    """What is issued, as far as it is known before."""
    tree: Tree
    """The out directory after the build, as far as it is known before."""
    plan: Plan
    diagnostics: tuple[Diagnostic, ...]


def manifest(
    request: Request,
    planned: Planned,
    lock_id: str,
    lock: bytes,
    added: frozenset[str],
    files: Mapping[str, ManifestEntry],
) -> Iterator[bytes]:
    """Return the manifest of a build, in parts; ``lock`` is that file after it.

    ``added`` are the digests of its lines that are those of others. Without a digest of the inputs, the next build has
    something to do.
    """
    import os

    from pgtls import __version__
    from pgtls.certificates.at_rest import remembered
    from pgtls.certificates.renewals import recorded
    from pgtls.plan.due import next_due
    from pgtls.state.manifest import Inputs, Manifest

    checked, decisions = planned.checked, planned.decisions
    again = decisions.waiting or planned.verdict.retirable or kept_outside(planned.fleet)
    renewals = recorded(planned.fleet, decisions, planned.existing)
    due = [next_due(planned.fleet, decisions), *(info.again for info in renewals.values())]
    digest = "" if again else input_digest(checked.digest, lock, planned.existing.deployed.digest)
    return Manifest(
        version=__version__,
        lock_id=lock_id,
        spec=os.path.basename(request.spec),
        inputs=Inputs(digest, checked.source.patterns, checked.files),
        built=request.now,
        next_due=min((moment for moment in due if moment), default=None),
        files=files,
        texts=planned.follows,
        at_rest=remembered(planned.fleet, planned.existing),
        renewals=renewals,
        added=added,
    ).parts()
