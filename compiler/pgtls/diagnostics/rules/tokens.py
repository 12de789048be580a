"""PGT63x and PGT64x: keys of CAs in PKCS#11 tokens."""

from __future__ import annotations

from pgtls.diagnostics.rules import Rule

RULES = (
    Rule(
        "PGT630",
        "error",
        "an algorithm that pgtls does not use in a token",
        meaning='A CA has its key in a token and `key_algorithm = "ed25519"`.',
        why="Few tokens have Ed25519, and those that have it disagree about its form. pgtls makes ECDSA and RSA keys "
        "there.",
        fix='Set `key_algorithm` to `"ecdsa-p256"`, `"ecdsa-p384"`, or one of RSA.',
    ),
    Rule(
        "PGT631",
        "error",
        "two CAs with one key",
        meaning="The `key` of two CAs names the same object of the same token.",
        why="What the key of one CA signs would be valid under the other one, too.",
        fix="Name another object for one of them. A build makes it if the token does not have it.",
    ),
    Rule(
        "PGT632",
        "error",
        "python-pkcs11 is missing",
        meaning="The build needs the key of a CA that is in a token, and python-pkcs11 is not installed.",
        why="pgtls talks to tokens through this library. Builds that sign nothing with such a key work without it.",
        fix="Install it where pgtls is installed: `pip install python-pkcs11`, or `pipx inject pgtls python-pkcs11`.",
    ),
    Rule(
        "PGT633",
        "error",
        "not a PKCS#11 library",
        meaning="`module` names a file that does not exist, that cannot be loaded, or that is no PKCS#11 library.",
        why="Every token comes with a library of its own, and pgtls reaches the token through it.",
        fix="Name the library of your token: `libsofthsm2.so`, `opensc-pkcs11.so`, `libykcs11.so`, or the one of your "
        "HSM. A relative path is relative to the file of the spec that names it.",
    ),
    Rule(
        "PGT634",
        "error",
        "no such token",
        meaning="The module sees no token with the attributes of the URI, or several.",
        why="The key of the CA is in the token, and the build must sign with it. Nothing was changed.",
        fix="Insert the token, or correct the URI. `pkcs11-tool --module MODULE --list-slots` shows every token with "
        "its label and serial number.",
    ),
    Rule(
        "PGT635",
        "error",
        "the token refuses the PIN",
        meaning="The token refuses the PIN that the source in `pin` gives, it is locked, or the next wrong PIN would "
        "lock it. pgtls tries a PIN once in a build.",
        why="A token locks after a few wrong PINs, and then only its administrator can open it. So a build that runs "
        "every hour must not try the last one.",
        fix="Correct the source of the PIN. If the token says that only one try is left, log in once with the token's "
        "own program: this resets its counter.",
    ),
    Rule(
        "PGT636",
        "error",
        "the key of a CA is not in its token",
        meaning="The token has no private key with the attributes of the URI although the CA already has a "
        "certificate for one, or it has several.",
        why="A new key would make another CA, which no peer trusts. A build makes a key only for a CA without one.",
        fix="Use the token that holds the key, or a copy of it. If the key is lost, `--new-ca NAME` makes a new one.",
    ),
    Rule(
        "PGT637",
        "error",
        "a key with which pgtls does not issue",
        meaning="The object of the URI is neither an RSA nor an ECDSA key, it may not sign, its public key is not "
        "next to it, or it has another algorithm than `key_algorithm`.",
        why="A certificate needs the public key, and every certificate and CRL a signature without a person at the "
        "token.",
        fix="Make a key that may sign (`CKA_SIGN`), together with its public key, or let the build make one: name an "
        "object that does not exist yet.",
    ),
    Rule(
        "PGT638",
        "error",
        "another key than the one of the CA",
        meaning="The public key of the object differs from the one in the CA's certificate; or a CA is to get a new "
        "key, and the object has already been the key of a certificate.",
        why="No peer would trust what the other key signs. A build deletes no key in a token, so a new key needs a "
        "new object.",
        fix="Correct the URI. For a new key, name an object that does not exist yet, e.g. `object=root-2027`.",
    ),
    Rule(
        "PGT639",
        "error",
        "the token failed",
        meaning="The token or its module reported an error while it was opened, searched, or signed; the message has "
        "its name in PKCS#11. The token may have been pulled out.",
        why="The build stops, and neither the out directory nor the lock changes. A key that it made in the token "
        "stays there, and the next build takes it.",
        fix="Insert the token again, and build again. `pkcs11-tool --module MODULE --test --login` tests a token.",
    ),
    Rule(
        "PGT640",
        "error",
        "the out directory has a key that its CA no longer uses",
        meaning="The spec says that the key of a CA is in a token, that it is not here (`cert_file` without "
        "`key_file`), or that it is another one (`key_file`), and the out directory has a `ca.key` of this CA.",
        why="Whoever reads the file signs as the CA. pgtls deletes no key of a CA: the file may be the only copy.",
        fix="Move the file to a safe place. For a token, first import the key into it, and compare both. Or take back "
        "the change of the table, and the CA uses the file.",
    ),
)
