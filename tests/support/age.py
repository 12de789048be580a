"""Identities of age and SSH, and the programs age and age-keygen, which judge what pgtls encrypts."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgtls.pki.age import Identities

if TYPE_CHECKING:
    from pathlib import Path

ARMOR = b"-----BEGIN AGE ENCRYPTED FILE-----\n"


@dataclass(frozen=True, slots=True)
class Identity:
    """A private key in a file, and its public key."""

    file: Path
    recipient: str

    def age(self, content: bytes) -> bytes | None:
        """Decrypt with the program age. Return None if this identity does not open it."""
        run = subprocess.run(("age", "-d", "-i", self.file), input=content, capture_output=True, check=False)
        return run.stdout if run.returncode == 0 else None

    def quickly(self, content: bytes) -> bytes:
        """Decrypt in this process, for tests with hundreds of files."""
        return Identities(self.file.read_text()).decrypt(content) if content.startswith(ARMOR) else content


def keygen(file: Path) -> Identity:
    """Make an identity of age."""
    subprocess.run(("age-keygen", "-o", file), check=True, capture_output=True)
    shown = subprocess.run(("age-keygen", "-y", file), check=True, capture_output=True, text=True)
    return Identity(file, shown.stdout.strip())


def ssh_keygen(file: Path, kind: str, passphrase: str = "") -> Identity:
    """Make a key of SSH."""
    words = ("ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "somebody@example.com", "-f", file)
    subprocess.run(words, check=True, capture_output=True)
    return Identity(file, file.with_name(f"{file.name}.pub").read_text().strip())


def encrypt(content: bytes, *recipients: str, armor: bool = True) -> bytes:
    """Encrypt with the program age."""
    words = [word for one in recipients for word in ("-r", one)]
    run = subprocess.run(("age", *(("-a",) if armor else ()), *words), input=content, check=True, capture_output=True)
    return run.stdout
