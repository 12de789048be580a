"""Wait for a call that may never return."""

from __future__ import annotations

from concurrent.futures import Future
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def within(seconds: float, act: Callable[[], T]) -> T:
    """Call ``act`` in a thread of its own; return or raise what it does. Raise TimeoutError if it takes longer.

    The thread then goes on, and delays neither the caller nor the end of the program.
    """
    outcome: Future[T] = Future()

    def work() -> None:
        try:
            outcome.set_result(act())
        except BaseException as error:  # noqa: BLE001  (the caller gets it)
            outcome.set_exception(error)

    Thread(target=work, daemon=True).start()
    return outcome.result(max(seconds, 0))
