"""TLS and access for PostgreSQL, compiled from one reviewed TOML spec.

The Python API is :mod:`pgtls.api`; its names are loaded when they are first used.
"""

TYPE_CHECKING = False  # of typing, which takes longer to import than all of this

if TYPE_CHECKING:
    from pgtls.access.comparisons import ProtectionChange as ProtectionChange
    from pgtls.access.diff import Change as Change
    from pgtls.access.explain import Explanation as Explanation
    from pgtls.access.matrix import Matrix as Matrix
    from pgtls.access.matrix import Row as Row
    from pgtls.api import Build as Build
    from pgtls.api import Check as Check
    from pgtls.api import Spec as Spec
    from pgtls.api import access as access
    from pgtls.api import build as build
    from pgtls.api import check as check
    from pgtls.api import confirm as confirm
    from pgtls.api import diff as diff
    from pgtls.api import explain as explain
    from pgtls.api import fetch as fetch
    from pgtls.api import load as load
    from pgtls.api import loads as loads
    from pgtls.api import plan as plan
    from pgtls.api import status as status
    from pgtls.certificates.asked import Asked as Asked
    from pgtls.certificates.spec_change import CertificateChange as CertificateChange
    from pgtls.diagnostics import Diagnostic as Diagnostic
    from pgtls.diagnostics import Place as Place
    from pgtls.diagnostics import Rejected as Rejected
    from pgtls.difference import Difference as Difference
    from pgtls.plan.model import Item as Item
    from pgtls.plan.model import Step as Step
    from pgtls.plan.status import Status as Status
    from pgtls.state.deployed import Evidence as Evidence
    from pgtls.store.fetch import Fetched as Fetched

__version__ = "0.1.0"

_HOMES = {
    "pgtls.api": (
        "Build",
        "Check",
        "Spec",
        "build",
        "check",
        "confirm",
        "diff",
        "explain",
        "fetch",
        "load",
        "loads",
        "status",
    ),
    "pgtls.access.diff": ("Change",),
    "pgtls.access.explain": ("Explanation",),
    "pgtls.access.matrix": ("Matrix", "Row"),
    "pgtls.access.comparisons": ("ProtectionChange",),
    "pgtls.certificates.asked": ("Asked",),
    "pgtls.certificates.spec_change": ("CertificateChange",),
    "pgtls.diagnostics": ("Diagnostic", "Place", "Rejected"),
    "pgtls.difference": ("Difference",),
    "pgtls.plan.model": ("Item", "Step"),
    "pgtls.plan.status": ("Status",),
    "pgtls.state.deployed": ("Evidence",),
    "pgtls.store.fetch": ("Fetched",),
}
# pgtls.access and pgtls.plan are packages that can be called.
_PACKAGES = ("access", "plan")

__all__ = ["__version__", *sorted((*_PACKAGES, *(name for names in _HOMES.values() for name in names)))]  # noqa: PLE0604


if not TYPE_CHECKING:  # to type checkers, a name that is not imported above does not exist

    def __getattr__(name):
        """Load a name of the API."""
        from importlib import import_module

        if name in _PACKAGES:
            return import_module(f"{__name__}.{name}")
        for home, names in _HOMES.items():
            if name in names:
                return getattr(import_module(home), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
