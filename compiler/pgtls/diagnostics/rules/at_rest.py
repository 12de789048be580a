"""PGT65x: keys in an out directory that are encrypted for recipients."""

from __future__ import annotations

from pgtls.diagnostics.rules import Rule

RULES = (
    Rule(
        "PGT650",
        "error",
        "pyrage is missing",
        meaning="The build must encrypt or open a private key in the out directory, and pyrage is not installed.",
        why="pgtls encrypts for the `recipients` of `[state]` through this library. Builds that neither write nor open "
        "a key work without it.",
        fix="Install it where pgtls is installed: `pip install pyrage`, or `pipx inject pgtls pyrage`.",
    ),
    Rule(
        "PGT651",
        "error",
        "not a recipient",
        meaning="An item of `recipients` looks like a public key of age or SSH, and is none: a character is wrong, or "
        "some are missing.",
        why="Nobody could open what is encrypted for it. Nothing was changed.",
        fix="Copy the public key again: `age-keygen -y FILE` prints that of an age identity, `ssh-keygen -y -f FILE` "
        "that of an SSH key.",
    ),
    Rule(
        "PGT652",
        "error",
        "a key in the out directory does not open",
        meaning="The command needs a private key that is encrypted for recipients. Either the spec names no "
        "`identity`, or the identity is no private key, or it is not that of a recipient, or the file is damaged.",
        why="The key of a CA signs certificates and CRLs, and other recipients need every key encrypted again. Nothing "
        "was changed.",
        fix="Let `identity` in `[state]` name a private key of one of the recipients; `age -d -i IDENTITY FILE` tries "
        "one by hand. To stop encrypting keys, delete `recipients`, and keep `identity` until the next build.",
    ),
    Rule(
        "PGT653",
        "warning",
        "a secret next to encrypted keys",
        meaning="`recipients` encrypts the private keys in the out directory, and an option of a policy is a secret.",
        why="PostgreSQL reads such an option from `pg_hba.conf`, as text. Whoever reads a copy of the out directory "
        "reads the secret.",
        fix="Keep the out directory where only builders read it, or use a method without a secret: for LDAP a simple "
        "bind (`ldapprefix`, `ldapsuffix`) instead of a search.",
    ),
)
