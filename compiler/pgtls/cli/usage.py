"""Wrong usage: exit status 64."""

from __future__ import annotations

import typer


class UsageError(typer.BadParameter):
    """Options that contradict each other, or a command that does not exist. The message is complete in itself."""

    def format_message(self) -> str:
        """Return the message as it is, without the name of a parameter."""
        return self.message
