"""PGT5xx: problems of the lock, of the out directory, of a build, and of the way in which pgtls is run."""

from __future__ import annotations

from pgtls.diagnostics.rules import Rule

RULES: tuple[Rule, ...] = (
    Rule(
        "PGT500",
        "error",
        "the lock cannot be read",
        meaning="The lock is a directory, or this user cannot read it.",
        why="The lock is the record of every certificate ever issued. A build without it would not know what "
        "to revoke.",
        fix="Name the right file with `--lock`, or give this user permission to read it.",
    ),
    Rule(
        "PGT501",
        "error",
        "the lock holds a merge conflict",
        meaning="A merge left its conflict markers in the lock.",
        why="Every line of a lock is a certificate that exists, on either branch. Without the lines of one "
        "side, pgtls would forget its certificates.",
        fix="Keep the lines of both sides and delete the markers. `*.lock merge=union` in `.gitattributes` "
        "(`pgtls init` writes it) makes git do so by itself.",
    ),
    Rule(
        "PGT502",
        "error",
        "the lock is damaged",
        meaning="A line of the lock is not what pgtls writes: it ends early, is not JSON, lacks a field, or has a "
        "reason, a date or a serial number that no CRL can hold. Or the header is missing.",
        why="A line that cannot be read is a certificate that can no longer be revoked. pgtls neither skips "
        "nor repairs it.",
        fix="Restore the lock from version control, or copy the line from there. The order of lines does not "
        "matter, and equal lines count once.",
    ),
    Rule(
        "PGT503",
        "error",
        "the lock was written by a newer pgtls",
        meaning="The version in the header of the lock, or the event of a line, is not known to this version of pgtls.",
        why="The line could change what this build must issue or revoke.",
        fix="Use the version of pgtls that wrote the lock, or a newer one.",
    ),
    Rule(
        "PGT504",
        "error",
        "two lines of the lock contradict each other",
        meaning="Two lines of the lock name the same CA and serial number, but different certificates, entities "
        "or facts; or one certificate under two serial numbers.",
        why="A serial number is unique per CA (RFC 5280, 4.1.2.2). A CRL contains only serial numbers, so "
        "revoking one certificate would revoke the other. Serial numbers have 159 random bits: two equal "
        "ones are not an accident.",
        fix="Compare both lines with the lock's history in version control and with the certificates; remove "
        "the one that was altered or added.",
    ),
    Rule(
        "PGT505",
        "error",
        "two locks in one file",
        meaning="The lock has two headers with different ids: the locks of two specs, or of two first builds of "
        "one spec, were merged.",
        why="Each lock belongs to one tree. The CAs of the two have the same names and different keys.",
        fix="Keep the header whose id is in the `manifest.json` of your out directory, and the lines that "
        "came with it.",
    ),
    Rule(
        "PGT506",
        "error",
        "the evidence of deployments cannot be read",
        meaning="`pgtls.deployed`, next to the lock, is a directory or a symbolic link, or this user cannot read it.",
        why="Without it, a build does not know which servers and clients run which files.",
        fix="Restore the file from version control, or give this user permission to read it.",
    ),
    Rule(
        "PGT507",
        "error",
        "the evidence of deployments is damaged",
        meaning="A line of `pgtls.deployed` is not what pgtls writes, or a merge left its conflict markers.",
        why="A plan that relies on it could cut somebody off.",
        fix="Keep the lines of both sides of a merge; restore a damaged line from version control, or delete it. "
        "`*.deployed merge=union` in `.gitattributes` makes git merge the file by itself.",
    ),
    Rule(
        "PGT508",
        "error",
        "nothing was built here",
        meaning="`pgtls confirm` records what the last build made, and the out directory has no record of a build.",
        why="Evidence names a generation of files that a build made.",
        fix="Run it where the out directory is, after `pgtls build`; or name the directory with `--out`.",
    ),
    Rule(
        "PGT509",
        "error",
        "the last build made nothing of that name",
        meaning="`pgtls confirm` names an entity for which the last build made nothing that is deployed.",
        why="Evidence about an entity that does not exist would never be used.",
        fix="Name servers, poolers and users of the spec, as `server.NAME`, `pooler.NAME` and `user.NAME`.",
    ),
    Rule(
        "PGT510",
        "error",
        "the manifest is damaged",
        meaning="`manifest.json` in the out directory cannot be read, or is not what pgtls wrote.",
        why="The manifest lists the files of pgtls. Without it, a build could overwrite or delete the files of others.",
        fix="Restore the out directory from a backup. Its keys are still there: a new directory needs the files "
        "`ca/*/ca.key`.",
    ),
    Rule(
        "PGT511",
        "error",
        "the out directory was built by a newer pgtls",
        meaning="The version in the head of `manifest.json` is not known to this version of pgtls.",
        why="An older pgtls would lose what the newer one recorded.",
        fix="Use the version of pgtls that built the directory, or a newer one.",
    ),
    Rule(
        "PGT512",
        "error",
        "obstore is not installed",
        meaning="`--out` names a store, such as `s3://bucket/prefix`, and the library that talks to stores is missing.",
        why="It is an extra: a build into a local directory does not need it.",
        fix="Install it where pgtls is installed: `pip install obstore`, or `pipx inject pgtls obstore`. Or build into "
        "a local directory.",
    ),
    Rule(
        "PGT513",
        "error",
        "the store cannot be used",
        meaning="The store does not answer, denies what these credentials ask for, or has no such bucket; or the URL "
        "names no store, or holds credentials. The message has the reason.",
        why="A build reads the tree from the store and pushes what it changed. Until the pointer is swapped, the store "
        "has the old tree, complete.",
        fix="Check URL, network, bucket and credentials. Credentials come from the environment (`AWS_ACCESS_KEY_ID`, "
        "`AWS_PROFILE`, the role of the machine, …), never from the URL. Then run the command again.",
    ),
    Rule(
        "PGT514",
        "error",
        "the store does not know conditional writes",
        meaning="Before each build, pgtls writes a probe that the store must refuse: one whose condition fails. This "
        "store accepts it, or cannot do such writes at all.",
        why="Two builders would replace each other's tree, and the certificates of one would be in no lock.",
        fix="Use a store that obeys `If-Match` and `If-None-Match`, as S3, Google Cloud Storage and Azure do, or a "
        "local out directory on one machine.",
    ),
    Rule(
        "PGT515",
        "error",
        "an object of the store is damaged",
        meaning="An object of the tree that the pointer names is missing, or its content is not what a build pushed: "
        "the digest in its name is another one.",
        why="A tree with a damaged file is not the tree that was built. pgtls uses none of it.",
        fix="Restore the object from a version that the bucket keeps, or the whole prefix from a backup. pgtls deletes "
        "no object that a recent tree names: find out what did, such as a lifecycle rule of the bucket.",
    ),
    Rule(
        "PGT516",
        "error",
        "a newer pgtls wrote to the store",
        meaning="The pointer, a tree or the document of an entity has a version that this pgtls does not know.",
        why="An older pgtls would lose what the newer one recorded.",
        fix="Use the version of pgtls that wrote it, or a newer one, on every builder.",
    ),
    Rule(
        "PGT517",
        "error",
        "other builders were faster",
        meaning="At each attempt, another builder had swapped the pointer before this build was complete. The build "
        "began again from their tree until `--lock-timeout` was over.",
        why="Only one of several builds from the same tree can count. What the others staged is discarded.",
        fix="Run the build again, or give it more time with `--lock-timeout`.",
    ),
    Rule(
        "PGT518",
        "error",
        "no files of that entity can be fetched",
        meaning="`pgtls fetch` names a server or user for which the last build in the store made no files, or which "
        "has left the spec. Or a file in the out directory is not what the last build wrote. Or, with recipients, an "
        "encrypted file of the entity is no key, or a key that does not belong to the certificate beside it; "
        "`pgtls export` stops there, too.",
        why="A machine must not go on with files of an entity that is gone as if they were current. Everyone who can "
        "write to an encrypted tree can put the key of another entity in the place of a file that is opened.",
        fix="Name servers and users as `server.NAME` and `user.NAME`, and the store of the right spec. If the entity "
        "is gone on purpose, remove what was fetched. If a file is not what a build wrote, compare the tree with its "
        "history, and restore it.",
    ),
    Rule(
        "PGT519",
        "error",
        "the directory for copies is not private",
        meaning="With a store, a command works on a copy of the tree below `pgtls-UID` in the directory for temporary "
        "files. Somebody else owns that directory, or others can read it.",
        why="The copy holds private keys.",
        fix="Find out who created the directory and remove it, or let `TMPDIR` name a directory of your own.",
    ),
    Rule(
        "PGT520",
        "error",
        "the out directory was not built by pgtls",
        meaning="The out directory holds files, but no manifest of pgtls. A build accepts a new directory, an empty "
        "one, and one with only a `.gitignore` or a `.gitkeep`.",
        why="A build replaces and deletes files. In the wrong directory it would destroy the files of others.",
        fix="Name a new or an empty directory with `--out`. If you restored a backup, restore its "
        "`manifest.json` as well. If that is lost, move the directory away and build with `--new-out` "
        "and `--ca-key NAME=PATH` for each `ca/NAME/ca.key` in it.",
    ),
    Rule(
        "PGT521",
        "error",
        "the out directory is a symbolic link",
        meaning="The path of the out directory, or of the directory that `fetch` writes to, is a symbolic link, or "
        "leads through one that a commit can change: it lies in a work tree of git or below the current directory.",
        why="The directory holds keys. Whoever can change the link decides where the keys go.",
        fix="Name the directory itself with `--out`.",
    ),
    Rule(
        "PGT522",
        "error",
        "the out directory is not a directory",
        meaning="The path of the out directory, or a part of it, is a file.",
        why="A build needs a directory.",
        fix="Name another path with `--out`, or move the file away.",
    ),
    Rule(
        "PGT523",
        "error",
        "the out directory cannot be written",
        meaning="This user cannot write to the out directory or create it, or its file system is read-only.",
        why="A build locks the directory before it does anything else.",
        fix="Build as the user that owns the directory, or name another one with `--out`.",
    ),
    Rule(
        "PGT524",
        "error",
        "the out directory belongs to another lock",
        meaning="The manifest carries the id of the lock that the directory was built with, and this lock has "
        "another one, or is missing.",
        why="Another lock does not list the certificates of this directory: a build would issue all of them "
        "again, and could revoke none of them.",
        fix="Name the right pair with `--out` and `--lock`. Restore a missing lock from version control.",
    ),
    Rule(
        "PGT525",
        "error",
        "a symbolic link inside the out directory",
        meaning="A directory of the tree, its `manifest.json` or `.pgtls` was replaced by a symbolic link.",
        why="pgtls never writes through a link: keys and deletions would leave the tree.",
        fix="Replace the link with the file or directory that it points to. To have the files elsewhere, copy them "
        "there "
        "after the build.",
    ),
    Rule(
        "PGT526",
        "error",
        "something else is in the way",
        meaning="The build needs a directory where a file lies, or a file where a directory lies, and pgtls did not "
        "create it.",
        why="pgtls never deletes what it did not create.",
        fix="Move it away.",
    ),
    Rule(
        "PGT527",
        "error",
        "the out directory cannot be read",
        meaning="This user cannot read the out directory or a file in it.",
        why="pgtls cannot compare the files with the spec.",
        fix="Run pgtls as the user that owns the directory.",
    ),
    Rule(
        "PGT528",
        "warning",
        "files in the out directory that pgtls did not make",
        meaning="The out directory holds files that its manifest does not list. pgtls leaves them alone.",
        why="A copy of the directory or of a bundle includes them, and pgtls does not watch certificates that "
        "it did not write.",
        fix="Keep them elsewhere.",
    ),
    Rule(
        "PGT529",
        "error",
        "a store with an older version than before",
        meaning="`pgtls fetch` would replace the files of a server or client by those of an earlier build.",
        why="Rules and CRLs of an earlier build let in whom a later one keeps out. Whoever can write to the store, or "
        "answer in its place, could bring them back.",
        fix="Find out who did it. If the store was restored from a backup, fetch into a new directory.",
    ),
    Rule(
        "PGT530",
        "error",
        "the build cannot be written",
        meaning="Writing a file failed: the disk is full, a quota or limit is reached, or a permission is missing.",
        why="A build writes all files next to the tree before it moves the first one into it, so nothing has "
        "changed: no file, and not the lock.",
        fix="Fix the cause that the message names and run the build again.",
    ),
    Rule(
        "PGT531",
        "error",
        "the lock changed while the build ran",
        meaning="Another process wrote the lock after the build had read it.",
        why="Overwriting the lock would lose the lines of another build or of a merge. Nothing has changed.",
        fix="Run the build again. Build two out directories that share a lock one after the other.",
    ),
    Rule(
        "PGT532",
        "error",
        "the record of an interrupted build is damaged",
        meaning="`.pgtls/commit.json` in the out directory, the record of an interrupted build, cannot be read.",
        why="The tree may be partly new and partly old. pgtls does not guess which.",
        fix="Restore the out directory and the lock from one backup. If a newer pgtls wrote the record, build "
        "with that version.",
    ),
    Rule(
        "PGT533",
        "error",
        "a decided build could not be carried out",
        meaning="All files are written and the build is recorded as decided, but one of them could not be put in "
        "its place.",
        why="A recorded build can only be completed. Until then every command but `build` refuses to read the tree.",
        fix="Fix the cause that the message names and run `pgtls build`: it carries out the rest.",
    ),
    Rule(
        "PGT534",
        "error",
        "an interrupted build",
        meaning="A build was decided and then interrupted while it was carried out: by a crash, a signal, or an error.",
        why="The tree is partly new and partly old: the answer of a command would be wrong for both.",
        fix="Run `pgtls build`: it first completes what was decided.",
    ),
    Rule(
        "PGT535",
        "error",
        "another pgtls works in the out directory",
        meaning="Other commands used the out directory for longer than `--lock-timeout` seconds.",
        why="Only one build runs at a time, and commands that read the directory wait until it is done.",
        fix="Wait for it, or wait longer with `--lock-timeout`.",
    ),
    Rule(
        "PGT536",
        "error",
        "the out directory cannot be locked",
        meaning="The file system of the out directory refuses `flock`.",
        why="Without it two builds could write at the same time.",
        fix="Use a directory on a local file system and copy the tree from there.",
    ),
    Rule(
        "PGT537",
        "error",
        "the lock is in the wrong place",
        meaning="`--lock` names the spec itself, or something that a build writes into the out directory.",
        why="One of the two would overwrite the other, and the lock is the record of every certificate.",
        fix="Omit `--lock`, so that the lock lies next to the spec, or name a file that you commit.",
    ),
    Rule(
        "PGT538",
        "error",
        "a commit record that no build of this directory wrote",
        meaning="`.pgtls/commit.json` in the out directory lists what an interrupted build decided, and the last "
        "build into this directory did not write it: its authentication code is wrong, the key that authenticates it "
        "is missing or has another mode, it starts from another manifest, or it touches files that its build did not "
        "write.",
        why="A build carries out a record before it looks at anything else. A record from a pull request or "
        "from another directory could move the key of a CA, open it to others, or delete keys.",
        fix="If you or a restore changed the mode of `.pgtls/key`, and not git, give it 0400 again and run "
        "`pgtls build`. Otherwise find out who created the file, and restore the out directory and the lock from one "
        "backup. Without one, move the file and `.pgtls/staging` away, and keep them: they may hold the only copy of "
        "new keys.",
    ),
    Rule(
        "PGT539",
        "error",
        "the lock is a symbolic link",
        meaning="The path of the lock is a symbolic link.",
        why="A commit can add a link. A build would write the file that it points to.",
        fix="Replace the link with the file that it points to, or name that file with `--lock`.",
    ),
    Rule(
        "PGT540",
        "error",
        "the out directory belongs to another user",
        meaning="The user who runs the build does not own the out directory, or a directory that `export --to` writes "
        "to.",
        why="The owner of a directory can rename and replace all files in it, also those of other users: keys "
        "and `pg_hba.conf` alike.",
        fix="Run pgtls as the user who owns the directory, or name a directory of your own with `--out` or `--to`.",
    ),
    Rule(
        "PGT541",
        "error",
        "git tracks files in the out directory",
        meaning="The index of the repository lists files in the out directory: more than a `.gitignore` or "
        "`.gitkeep` in its top directory, and the lock. A repository whose work tree is the out directory itself may "
        "have it if its keys are encrypted for `recipients`, but not `.pgtls`.",
        why="The out directory holds keys and the state of builds. Everyone who can commit to it decides "
        "what a build finds there, and git overwrites ignored files without asking.",
        fix="Find out who committed the files. Remove them from the repository with `git rm -r --cached`, and "
        "replace every key that was committed.",
    ),
    Rule(
        "PGT542",
        "error",
        "added lines of the lock would revoke certificates",
        meaning="The lock has lines that no build into this out directory wrote, and a build would revoke "
        "certificates because of them.",
        why="The lock is committed: a pull request can add lines to it. A revocation cannot be taken back, "
        "and locks its holder out.",
        fix="Find out from the lock's history who added the lines. If the revocations are intended, or you restored "
        "the out directory from an older backup, pass `--allow-revoke`, which accepts these lines.",
    ),
    Rule(
        "PGT543",
        "error",
        "a line of the lock was altered",
        meaning="A line of the lock differs in entity, name, date or key from the line that the last build into this "
        "out directory left for this serial number, or names a known certificate with another serial number or CA.",
        why="pgtls decides about renewal and revocation by the lock. It adds lines to it, and never changes one.",
        fix="Restore the line from version control.",
    ),
    Rule(
        "PGT550",
        "error",
        "the key of a known CA is missing",
        meaning="The lock lists certificates of this CA, and its private key is missing, unreadable, or belongs "
        "to another certificate.",
        why="A new key would be a new CA that no peer trusts: every server and client would need new files at "
        "the same time.",
        fix="Restore `ca/NAME/ca.key` from a backup. If the key is stored elsewhere on purpose, set `offline "
        "= true`. `--new-ca NAME` replaces the CA.",
    ),
    Rule(
        "PGT551",
        "error",
        "a CA changes in place",
        meaning="The subject or key algorithm of a CA that already exists was changed in the spec.",
        why="Peers that trust the old certificate do not trust the new one: every connection that verifies it "
        "would fail.",
        fix="Add a second CA, let all servers and clients trust both, then move to the new one. `--replace ca.NAME` "
        "does it "
        "at once, with an outage.",
    ),
    Rule(
        "PGT552",
        "error",
        "a foreign certificate that does not fit the spec",
        meaning="The tree holds a certificate or key that pgtls did not write, and it differs from what the spec says.",
        why="pgtls adopts what fits. It overwrites the rest only if you ask for it, because it may be the only copy.",
        fix="Move it away, change the spec, or let pgtls replace it with `--replace ENTITY`.",
    ),
    Rule(
        "PGT553",
        "error",
        "mass revocation",
        meaning="The build would revoke the certificates, or delete the keys, of more than three entities at "
        "once: they left the spec, or the spec says that their keys are elsewhere. Users whose `until` has come do "
        "not count.",
        why="A lost include, an emptied file or the wrong spec looks exactly like this, and a revocation "
        "cannot be taken back.",
        fix="Look at `pgtls plan`. If the revocations are intended, pass `--allow-revoke`.",
    ),
    Rule(
        "PGT554",
        "error",
        "the lock does not list a certificate in the out directory",
        meaning="The manifest lists a certificate that pgtls wrote, and the lock has no line for it: the lock is "
        "older than the tree.",
        why="pgtls cannot revoke a certificate that the lock does not list, and the next build from this lock would "
        "issue it again.",
        fix="Pull the lock, or restore the newest one.",
    ),
    Rule(
        "PGT555",
        "warning",
        "there is no out directory",
        meaning="The lock lists certificates, and the out directory is not here: pgtls assumes that these "
        "certificates exist.",
        why="In a review there are no keys, and the lock alone shows what would change. Anywhere "
        "else the directory holds every private key that pgtls made: if it was deleted, no CA can sign, "
        "renew or revoke. pgtls treats a run as a review if the variable `CI` is set, and with `plan "
        "--no-secrets`; elsewhere it says which keys are not here, and `--detailed-exitcode` exits 2.",
        fix="In a review, this is expected. On the machine that builds, restore the directory from a backup, or name "
        "it with `--out`. `--new-out` builds a new one: with `--ca-key NAME=PATH` for every CA whose key "
        "is kept elsewhere, and `--new-ca NAME` for every other.",
    ),
    Rule(
        "PGT556",
        "error",
        "an option that names the wrong thing",
        meaning="`--renew`, `--replace` or `--new-ca` names something that has no certificate in this spec; or "
        "`--new-ca` names a CA whose key is not lost.",
        why="A build that silently did nothing would leave you believing that the certificate was issued "
        "again. And a new key for a CA that does not need one is an outage.",
        fix="Name entities as `ca.NAME`, `server.NAME`, `pooler.NAME` or `user.NAME`, and CAs of `--new-ca` by their "
        "NAME. `--replace ca.NAME` gives a CA a new key on purpose.",
    ),
    Rule(
        "PGT557",
        "error",
        "a private key that is needed cannot be read",
        meaning="A certificate or CRL must be signed, and the key for it cannot be read although its file has not "
        "changed; or the key of an existing CSR is damaged.",
        why="pgtls cannot sign without the key, and replaces a key only if you ask for it.",
        fix="Run pgtls as the user that owns the out directory; restore the key from a backup if it is damaged.",
    ),
    Rule(
        "PGT558",
        "warning",
        "the out directory is older than the lock",
        meaning="The lock lists later certificates for some entities than the out directory has: a backup was "
        "restored, another out directory was used, or somebody added lines to the lock.",
        why="pgtls keeps the certificates that are here, and issues those that are missing. But servers and "
        "clients may have the later certificates, whose keys are not here.",
        fix="Restore a newer backup if there is one. Otherwise issue those certificates again with `--renew`, "
        "and deploy them.",
    ),
    Rule(
        "PGT559",
        "warning",
        "private keys that others could read",
        meaning="A private key in the out directory is readable by its group or by everybody.",
        why="Everyone who has read a key can pose as its server, user or CA, unnoticed. Often a copy did not keep "
        "the file modes.",
        fix="Run a build: it restores the modes. If others may have read a key, set `revoke_before` for "
        "servers and users, and roll over CAs.",
    ),
    Rule(
        "PGT560",
        "error",
        "a secret cannot be read",
        meaning="The build needs a passphrase or a secret option. Its environment variable is not set, its file "
        "cannot be read, its command failed, or the value is empty, has several lines, or is not text.",
        why="pgtls cannot write what depends on the secret. It never shows the value, nor the output of a command.",
        fix="Set the variable, correct the path (it is relative to the file of the spec that names it), or "
        "run the command by hand.",
    ),
    Rule(
        "PGT561",
        "error",
        "a key that does not open",
        meaning="A private key is encrypted, and the passphrase of the spec does not open it, or the spec has no "
        "passphrase for it. It is a warning if the build changes files of the same server or user and "
        "does not need the key.",
        why="The key may be the only copy: pgtls neither guesses nor replaces it.",
        fix="Set the passphrase that the key was encrypted with. To change the passphrase, encrypt the key "
        "again with `openssl pkcs8 -topk8`; to remove it, decrypt the key with `openssl pkcs8`. "
        "`--replace ENTITY` makes a new key instead.",
    ),
    Rule(
        "PGT562",
        "warning",
        "something waits for a signature",
        meaning="A certificate or CRL is due, and its signer is not available: the key of an offline CA, an "
        "outside signer, or a CA that itself waits. Or the program or the ACME server of `sign` failed, did not answer "
        "in time, or returned a certificate that does not fit the spec; the message says which.",
        why="The rest of the build continues, and the old certificate stays valid until it expires. The plan "
        "lists the entity as `wait`.",
        fix="Lend the key with `--ca-key NAME=PATH`; or let the CA sign the `*.csr` in the out directory, and "
        "name the certificate in `cert_file`. The next build asks the program or the ACME server of `sign` again.",
    ),
    Rule(
        "PGT563",
        "error",
        "no valid certificate is left",
        meaning="A certificate is needed that cannot be signed now, and no valid one is left.",
        why="The compiled files could not connect to anything.",
        fix="Lend the key with `--ca-key NAME=PATH`, or name a new certificate in `cert_file`, or correct what "
        "keeps the program or the ACME server of `sign` from signing.",
    ),
    Rule(
        "PGT564",
        "error",
        "a file that the spec names cannot be used",
        meaning="What `cert_file`, `key_file`, `csr_file` or `crl_file` names cannot be read, holds something "
        "else, or its signature is not right; or `crl_file` lacks the CRL of a CA in `cert_file`, or has "
        "one of another CA, or one that servers do not apply: a delta, one for some reasons alone, an indirect one, "
        "one with an unknown critical extension, one with entries of other issuers, one that is not for the "
        "certificates of that CA or names another certificate of it. Or an older CRL ends later than a newer one for "
        "some of the same certificates: servers would take the older one again.",
        why="A build would copy it into the tree, and it would fail on the server or client.",
        fix="Correct the path (it is relative to the file of the spec that names it), or the file. All of "
        "them are PEM, but a single CRL may be DER.",
    ),
    Rule(
        "PGT565",
        "error",
        "a certificate of yours that does not fit the spec",
        meaning="The certificate of `cert_file` differs from what the spec asks for: its key, names, usages, path "
        "length, issuer or dates. The issuer is also wrong if another CA is between the certificate and a CA whose key "
        "is here, or if the file of a CA without `issuer` leads to another CA of the spec. Or OpenSSL refuses a CA "
        "above it in its file: its dates, path length, usages, extensions or key, or a certificate that names another "
        "one of its CA (authority key identifier). Or no CRL of `crl_file` covers the "
        "certificate, and a peer checks it. Or it is the certificate of another entity, or has the serial number of "
        "one, or one that no CRL of its CA could list.",
        why="pgtls uses a foreign certificate as it is, or not at all. Peers would reject it, or give it more "
        "rights than intended. Every CA between certifies clients, too.",
        fix="Have it signed again as the CSR asks, or change the spec to what it says. Give a CA between a table of "
        "its own, with `cert_file` and `issuer`.",
    ),
    Rule(
        "PGT566",
        "error",
        "a lent key that does not fit",
        meaning="`--ca-key NAME=PATH` names a CA that the spec does not have, a file that cannot be read, a "
        "key that is not that CA's, or a file for a CA whose key is in a token.",
        why="No peer would trust what it signs.",
        fix="Write `--ca-key NAME=PATH` with the NAME of the CA's table and the PATH of its private key in PEM. "
        "For an offline CA whose key is in a token, write `--ca-key NAME=token`.",
    ),
    Rule(
        "PGT567",
        "warning",
        "a server's certificate that may log in",
        meaning="The certificate of a server in `cert_file` has `clientAuth` in its extended key usage, or no extended "
        "key usage, and a server trusts its CA for clients, or another CA below the same root.",
        why="With the server's key one can log in as every role that its common name, or a map, opens; at a pooler, "
        "also as that of a host name.",
        fix="Have it signed again with `serverAuth` alone, or give clients a root of their own. The build that takes "
        "the new certificate revokes the old one.",
    ),
    Rule(
        "PGT568",
        "warning",
        "a certificate with more than was asked for",
        meaning="A certificate that another party signed has usages that its CSR does not ask for. Of a certificate "
        "from the program of `sign`, also names that are not in `hosts`, or a life that is longer than `validity` by "
        "more than a day.",
        why="A stolen key can do all that its certificate allows: with `clientAuth`, the key of a server also logs in "
        "where its CA is trusted; with another name, it also serves under that name.",
        fix="Configure the signer so that it follows the CSR, then get a new certificate with `--renew ENTITY`.",
    ),
    Rule(
        "PGT569",
        "warning",
        "a revocation that no server sees",
        meaning="The spec or the lock revokes certificates of a CA whose key is not here, and the CRL in `crl_file` "
        "that its key signed does not list them, whatever its table is called today. If a CA has several CRLs, the "
        "newest counts of those that apply to such certificates, whichever file has it.",
        why="pgtls cannot sign the CRL of this CA. Until that CRL lists these certificates, servers and clients "
        "accept them, and nobody else can have their names (`PGT254`).",
        fix="Revoke the serial numbers where the CA signs, and bring its new CRL in `crl_file`.",
    ),
    Rule(
        "PGT570",
        "error",
        "`revoke_before` in the future",
        meaning="`revoke_before` is in the future.",
        why="A certificate issued today is issued before that instant: every build until then would revoke "
        "the certificate of the build before.",
        fix="Write the instant at which the key was last known to be safe, or the current time.",
    ),
    Rule(
        "PGT571",
        "error",
        "not a serial number",
        meaning="`revoked` of a CA lists a number that no certificate has: zero, or one of more than 159 bits "
        "(RFC 5280, 4.1.2.2).",
        why="pgtls cannot write a CRL with it, and the certificate that you meant would stay valid.",
        fix="Copy the number from `openssl x509 -noout -serial -in FILE`.",
    ),
    Rule(
        "PGT572",
        "error",
        "a revocation without a CRL",
        meaning="`revoked` or `revoke_before` revokes certificates of a CA that publishes no CRL here.",
        why="A revocation works through the CRL. Without a CRL the stolen key stays usable.",
        fix="Set `crl = true` for the CA. If the key of the CA is elsewhere, make the CRL there and name it "
        "in `crl_file`.",
    ),
    Rule(
        "PGT573",
        "error",
        "a bundle with CRLs and a CA without one",
        meaning="A user has `crl = true`, and a CA above one of its servers has no CRL.",
        why="As soon as a client has one CRL, it checks the CRL of every CA in the chain, and rejects the "
        "server if one is missing.",
        fix="Let the CA publish its CRL, or set `crl = false` for this user.",
    ),
    Rule(
        "PGT574",
        "error",
        "a key that is revoked and cannot be replaced here",
        meaning="`revoke_before`, or `revoked` of its CA, revokes the certificate of an entity, but pgtls does not "
        "hold its key, and there is no other key yet. Or a key comes back whose certificate `revoke_before` revoked in "
        "an earlier build. Or the certificate of a CA whose key is here is revoked.",
        why="A new certificate for the same key would be as usable to a thief as the revoked one.",
        fix="Make a new key where the old one was made, and name its new request or certificate. Replace a CA whose "
        "key is here with `--replace`; `--renew` says that nobody else can have the key.",
    ),
    Rule(
        "PGT575",
        "warning",
        "a revocation that revokes nothing",
        meaning="`revoke_before` is earlier than every certificate that was issued for the entity. A date alone is "
        "its first instant, 00:00 UTC. Or, as an error, it is earlier than a certificate that has the key of one that "
        "it revokes: renewals keep the key of a `csr_file`, and of `rotate_key = false`. `revoked` may leave such a "
        "certificate, too.",
        why="It looks as if a stolen key were revoked, and it still works.",
        fix="Write an instant after the issue of the certificate, which the message names, and build.",
    ),
    Rule(
        "PGT576",
        "error",
        "the key of an ACME account is missing",
        meaning="A build made the key of the account with the ACME server of a CA, and the file is gone.",
        why="A new key is another account: records in the DNS (CAA with `accounturi`), limits and bindings of the old "
        "one do not hold for it. Whoever has the old key can still act for the account.",
        fix="Restore `ca/NAME/account.key` in the out directory from a backup. If it is lost, `--replace ca.NAME` "
        "makes a new key; the next certificate that is due registers the account.",
    ),
    Rule(
        "PGT577",
        "error",
        "an older CRL",
        meaning="The `crl_file` of all tables together have an older CRL of a CA (`thisUpdate`) than an earlier build "
        "had.",
        why="Only the newer CRL lists what was revoked between the two: with the older one, these certificates would "
        "be accepted again. Whoever can replay an old download or revert the file could undo a revocation.",
        fix="Bring the newest CRL of the CA.",
    ),
    Rule(
        "PGT578",
        "warning",
        "a stolen machine and the key with which it logs in",
        meaning="A pooler or standby has `revoke_before`, and the user as whom it logs in has none, or an earlier one.",
        why="The field revokes the certificate that the machine shows its clients. Who took the files of the machine "
        "also has the key of that user (`login/` or `replication/`), and logs in with it.",
        fix="Set `revoke_before` in the table of the user, too. If only the other key is stolen, ignore this code.",
    ),
    Rule(
        "PGT580",
        "warning",
        "the clock is behind",
        meaning="The lock lists certificates that were issued more than a day after now.",
        why="A clock was wrong: this one, or the one of the build that issued them. A certificate issued now might "
        "already have expired, so this is an error if the build would issue any.",
        fix="Set the clock. If it is right and the clock of an earlier build was ahead, peers reject those "
        "certificates until they become valid: restore the out directory and the lock from before that "
        "build. A build still writes CRLs, and they end no earlier than the present ones.",
    ),
    Rule(
        "PGT581",
        "error",
        "an outage",
        meaning="A server and the bundles of clients reject each other in whichever order they are deployed: the old "
        "bundles fail with the new server, and the new bundles with the old server.",
        why="You never deploy servers and clients in the same instant.",
        fix="Make the change in two builds, so that each side accepts the other in between: the hint says what "
        "to keep. `--accept-outage` makes it at once.",
    ),
    Rule(
        "PGT582",
        "warning",
        "a root that can be retired",
        meaning="`trust` or `client_ca` names a CA, and nothing that may be in use has a certificate "
        "under it any more.",
        why="The CA is no longer needed, but peers would still accept everything that its key signs.",
        fix="Remove the CA from the field, build and deploy. Then delete its table: pgtls keeps its key and its CRL in "
        "`ca/.retired`.",
    ),
    Rule(
        "PGT583",
        "error",
        "an earlier build is not known to be deployed",
        meaning="This build is safe if the last build is deployed, and nothing says that it is. Files of an older "
        "build would be cut off.",
        why="A build only writes files. What runs is what was deployed: `pgtls verify` sees it on the wire, and "
        "`pgtls confirm` records what you know.",
        fix="Deploy what the message names, then run `pgtls verify` or `pgtls confirm`. `--accept-outage` builds "
        "without evidence.",
    ),
    Rule(
        "PGT584",
        "error",
        "the key of another CA",
        meaning="`key_file` names a file in the out directory, or the key of an entity is that of another CA: by "
        "`key_file` and its certificate, by `--ca-key`, or because somebody copied it into the out directory.",
        why="A build would hand the key out: the files of a server, for instance, would contain the key of a CA. "
        "The public key of a CA is no secret, so anyone can make a certificate for it. Two CAs with one key would sign "
        "each other's CRLs: what one of them has revoked would be accepted again.",
        fix="Find out who changed `key_file`, or who copied the key. Create a key for this entity alone. To rename a "
        "CA, make a new one beside it, and roll over.",
    ),
    Rule(
        "PGT585",
        "error",
        "others can write to the out directory",
        meaning="The out directory, or a directory of pgtls in it, has a mode that lets every user write, or a group "
        "with other members. A private group of one member may write. The directory of `export --to` and those in it "
        "are judged in the same way.",
        why="Another user of the machine can replace the files of servers and bundles before you deploy them.",
        fix="Compare the directory with a backup, and close it: `chmod -R go-w`.",
    ),
    Rule(
        "PGT586",
        "error",
        "it cannot be told whether git tracks a directory",
        meaning="A repository around the out directory, or one that `GIT_DIR`, `GIT_WORK_TREE` or `GIT_INDEX_FILE` "
        "names, has an index that this account cannot read, or that pgtls does not know. Or its `.git` is a file that "
        "names no repository, or a link to a file.",
        why="A commit could bring files into the out directory, and a build would take them for its own (`PGT541`). "
        "Where an export writes, git would commit secrets into a file that it tracks.",
        fix="Make the repository readable for the account that builds, unset a variable that names another repository, "
        "turn a sparse index off (`git sparse-checkout reapply --no-sparse-index`), or name an out directory "
        "outside of the repository with `--out`.",
    ),
    Rule(
        "PGT587",
        "error",
        "the last build into this directory did not write the manifest",
        meaning="The authentication code of `manifest.json` is missing, or not from the key in `.pgtls` of the out "
        "directory. `fetch`, `verify` and `confirm` then trust no file in it. In a git work tree, every command that "
        "reads the directory stops. So it does everywhere if the manifest is that of an earlier build: `.pgtls/memory` "
        "names the last one.",
        why="The manifest says which files a build wrote. With another one, `fetch` would deliver what somebody else "
        "put there: rules, and programs that root runs. With that of an earlier build, it would deliver CRLs from "
        "before a revocation. Git overwrites and deletes ignored files without asking: to "
        "check out a branch for a moment is enough to take the key together with what pgtls remembers of revocations.",
        fix="Outside of a work tree, run `pgtls build`: it reads every file, rewrites what the spec does not say, and "
        "writes the manifest again. In a work tree, or with the manifest of an earlier build, restore the directory "
        "from a backup. Without one, compare the lock with its history in version control, and with the CRLs that are "
        "deployed. Then run `pgtls build --new-out`, "
        "and deploy all that it wrote before the next change. If you copy an out directory, copy `.pgtls` too, with "
        "its modes.",
    ),
    Rule(
        "PGT588",
        "error",
        "no build wrote what pgtls remembers",
        meaning="`.pgtls/lock`, `.pgtls/generations` or `.pgtls/memory`, which tells whether they are whole, is "
        "missing in the out directory, or not as the last build on this machine left it. Or the CRLs in `ca/.retired` "
        "are, which `crl_file` ever brought.",
        why="By the copy of the lock, a build tells lines that others added from its own; by the CRLs, an older "
        "`crl_file` from a newer one. Git overwrites ignored files without asking: to check out a branch for a moment "
        "is enough to replace them or to delete them.",
        fix="Restore these files from a backup. Without one, compare the lock with its history in version control, and "
        "with the CRLs that are deployed. Then run `pgtls build --new-out`: it starts from the lock and reads every "
        "file. Deploy all that it wrote before the next change: what is deployed now is not known any more.",
    ),
    Rule(
        "PGT590",
        "error",
        "wrong usage",
        meaning="The command line cannot be understood: an option or a value that does not exist, or one that is "
        "missing. Exit status 64.",
        why="A command that guesses could do the wrong thing.",
        fix="`pgtls COMMAND --help` shows the usage.",
    ),
    Rule(
        "PGT591",
        "error",
        "a file cannot be read or written",
        meaning="A file that the command line names, or standard output, cannot be read or written; the message "
        "is the operating system's own.",
        why="pgtls cannot report the result. If the command, such as a build, took effect anyway, the hint says so.",
        fix="Look at the path, its permissions, and the space that is left.",
    ),
    Rule(
        "PGT592",
        "error",
        "interrupted",
        meaning="The command was interrupted (Ctrl-C, SIGINT). Exit status 130.",
        why="An interrupted build has either changed nothing or is finished by the next one.",
        fix="Run it again.",
    ),
    Rule(
        "PGT595",
        "error",
        "psycopg is missing",
        meaning="`pgtls verify --user` logs in with psycopg, which is not installed.",
        why="Without it, `verify` looks at the wire alone.",
        fix="Install it where pgtls is installed: `pip install psycopg`, or `pipx inject pgtls psycopg`. Or leave "
        "`--user` out.",
    ),
    Rule(
        "PGT596",
        "error",
        "no bundle to log in with",
        meaning="The user that `--user` names has no bundle for this server, or cannot log in with it.",
        why="SQL needs a login, and `verify` uses a bundle of the out directory.",
        fix="Name a user whom a policy admits to the server over TCP.",
    ),
    Rule(
        "PGT597",
        "error",
        "files of a server that no build wrote",
        meaning="The out directory holds no files of the server, they cannot be read, or they were changed after "
        "the build.",
        why="`verify` compares a running server with what was compiled for it.",
        fix="Run `pgtls build`, which restores the files, or name the directory with `--out`.",
    ),
    Rule(
        "PGT599",
        "error",
        "a bug in pgtls",
        meaning="pgtls failed in a way that its authors did not foresee. The traceback is on standard error.",
        why="The result is unknown. A build that fails changes nothing.",
        fix="Please report it with the traceback and, if you can, a spec that shows it.",
    ),
)
