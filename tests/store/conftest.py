"""A store for each test process, and a prefix for each test."""

from __future__ import annotations

import pytest

from support.stores import store


@pytest.fixture
def url() -> str:
    """Return the URL of an empty prefix."""
    return store().url()
