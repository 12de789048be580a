"""Packages that can be called: ``pgtls.access`` and ``pgtls.plan`` are functions of the API as well as packages."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class CallablePackage(ModuleType):
    """A package that is called as the function of its name in :mod:`pgtls.api`."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Call the function."""
        package, _, name = self.__name__.rpartition(".")
        return getattr(import_module(f"{package}.api"), name)(*arguments, **options)


def make_callable(name: str) -> None:
    """Make a package that is being imported callable."""
    sys.modules[name].__class__ = CallablePackage
