"""Tokens of SoftHSM2, each in a directory of its own: made, looked into, pulled out and inserted again."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from support.system import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pkcs11

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
"""Where Debian's libsofthsm2 has it; `make system` installs it."""
CONFIGURATION = "SOFTHSM2_CONF"
PIN = "correct horse"
LABEL = "CA keys"


@dataclass(frozen=True, slots=True)
class SoftHsm:
    """The configuration of SoftHSM in a directory, and its tokens below it."""

    directory: Path

    @property
    def configuration(self) -> Path:
        return self.directory / "softhsm2.conf"

    @property
    def tokens(self) -> Path:
        return self.directory / "tokens"

    @property
    def environment(self) -> dict[str, str]:
        return {**ENVIRONMENT, CONFIGURATION: str(self.configuration), "TOKEN_PIN": PIN}

    def run(self, *words: str) -> str:
        command = ("softhsm2-util", *words)
        done = subprocess.run(command, check=False, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
        return done.stdout

    def initialise(self, label: str = LABEL) -> None:
        """Make a token, beside those that are there."""
        self.run("--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "87654321")

    def put(self, key: Path, label: str, identifier: str) -> None:
        """Import a private key (PKCS#8, not encrypted) together with its public key."""
        words = ("--token", LABEL, "--pin", PIN, "--label", label, "--id", identifier)
        self.run("--import", str(key), *words)

    def pull_out(self) -> None:
        """Take every token out of its slot."""
        self._move(self.tokens, self._aside)

    def insert(self) -> None:
        self._move(self._aside, self.tokens)

    @property
    def _aside(self) -> Path:
        return self.directory / "pulled-out"

    def _move(self, here: Path, there: Path) -> None:
        there.mkdir(exist_ok=True)
        for token in here.iterdir():
            token.rename(there / token.name)

    @contextmanager
    def session(self, label: str = LABEL) -> Iterator[pkcs11.Session]:
        """Log in, beside pgtls, to look and to change."""
        import pkcs11

        library = pkcs11.lib(MODULE)
        try:
            with library.get_token(token_label=label).open(rw=True, user_pin=PIN) as session:
                yield session
        finally:
            library.finalize()


def make(directory: Path) -> SoftHsm:
    """Make one with a token."""
    hsm = SoftHsm(directory)
    hsm.tokens.mkdir(parents=True)
    lines = (f"directories.tokendir = {hsm.tokens}", "objectstore.backend = file", "log.level = ERROR")
    hsm.configuration.write_text("\n".join(lines) + "\n")
    hsm.initialise()
    return hsm


def key(label: str, *, token: str = LABEL, module: str = MODULE, pin: str = '{ env = "TOKEN_PIN" }') -> str:
    """Return the line of a spec for a key in a token."""
    uri = f"pkcs11:token={token.replace(' ', '%20')};object={label}"
    return f'key = {{ pkcs11 = "{uri}", module = "{module}", pin = {pin} }}'


def private_files(directory: Path) -> Iterator[Path]:
    """Yield every file below a directory, hidden ones too."""
    for place, _, names in os.walk(directory):
        yield from (Path(place) / name for name in names)
