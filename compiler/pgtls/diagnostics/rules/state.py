"""PGT5xx: problems of the lock, of the out directory, of a build, and of the way in which pgtls is run."""

from __future__ import annotations

from pgtls.diagnostics.rules import Rule

RULES: tuple[Rule, ...] = (
    Rule(
        "PGT500",
        "error",
        "the lock cannot be read",
        meaning="The lock is there but is a directory, or this user may not read it.",
        why="The lock is the record of every certificate ever issued. A build without it would not know what "
        "to revoke.",
        fix="Name the right file with `--lock`, or give this user permission to read it.",
    ),
    Rule(
        "PGT501",
        "error",
        "the lock holds a merge conflict",
        meaning="A merge left its conflict markers in the lock.",
        why="Every line of a lock is a certificate that exists, whichever branch it comes from; dropping one "
        "side would forget its certificates.",
        fix="Keep the lines of both sides and delete the markers. `*.lock merge=union` in `.gitattributes` "
        "(`pgtls init` writes it) makes git do so by itself.",
    ),
    Rule(
        "PGT502",
        "error",
        "the lock is damaged",
        meaning="A line of the lock is not what pgtls writes: it ends early, is no JSON, lacks a field, or the "
        "header is missing.",
        why="A line that cannot be read is a certificate that can no longer be revoked. pgtls neither skips "
        "nor repairs it.",
        fix="Restore the lock from version control, or mend the line from there. The order of lines does not "
        "matter, and equal lines count once.",
    ),
    Rule(
        "PGT503",
        "error",
        "the lock was written by a newer pgtls",
        meaning="The version in the header of the lock, or the event of a line, is not known to this version of pgtls.",
        why="What the line means could change what has to be issued or revoked.",
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
        fix="Keep the header whose id stands in the `manifest.json` of your out directory, and the lines that "
        "came with it.",
    ),
    Rule(
        "PGT510",
        "error",
        "the manifest is damaged",
        meaning="`manifest.json` in the out directory cannot be read, or is not what pgtls wrote.",
        why="The manifest says which files are ours. Without it a build could overwrite or delete what "
        "somebody else put there.",
        fix="Restore the out directory from a backup. Its keys are still there: `ca/*/ca.key` is what a new "
        "directory needs.",
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
        "PGT520",
        "error",
        "the out directory is not ours",
        meaning="The out directory holds files and has no manifest of pgtls. It may be new, empty, or hold only a "
        "`.gitignore` or a `.gitkeep`.",
        why="A build replaces and deletes files; in the wrong directory it would do so to somebody else's.",
        fix="Name a new or an empty directory with `--out`. If a backup was restored, restore its "
        "`manifest.json` as well. Where that is lost, move the directory away and build with `--new-out` "
        "and `--ca-key NAME=PATH` for each `ca/NAME/ca.key` in it.",
    ),
    Rule(
        "PGT521",
        "error",
        "the out directory is a symbolic link",
        meaning="The path of the out directory is a symbolic link, wherever it points.",
        why="Keys are written there. Whoever can change the link decides where they go.",
        fix="Name the directory itself with `--out`.",
    ),
    Rule(
        "PGT522",
        "error",
        "the out directory is not a directory",
        meaning="Something else lies at the path of the out directory, or a part of the path is a file.",
        why="Nothing can be built into it.",
        fix="Name another path with `--out`, or move away what lies there.",
    ),
    Rule(
        "PGT523",
        "error",
        "the out directory cannot be written",
        meaning="This user may not write to the out directory or make it, or its file system is read-only.",
        why="A build takes a mutex in the directory before it looks at anything, so this is found before "
        "anything else.",
        fix="Build as the user that owns the directory, or name another one with `--out`.",
    ),
    Rule(
        "PGT524",
        "error",
        "the out directory belongs to another lock",
        meaning="The manifest carries the id of the lock that the directory was built with, and this lock has "
        "another one, or is missing.",
        why="To another lock every certificate in there is unknown: it would issue all of them again, and "
        "could revoke none of them.",
        fix="Name the right pair with `--out` and `--lock`. A lock that is missing is restored from version control.",
    ),
    Rule(
        "PGT525",
        "error",
        "a symbolic link inside the out directory",
        meaning="A directory of the tree, its `manifest.json` or `.pgtls` was replaced by a symbolic link.",
        why="pgtls never writes through a link: keys and deletions would leave the tree.",
        fix="Replace the link by what it points to. To have the files elsewhere, copy them there after the build.",
    ),
    Rule(
        "PGT526",
        "error",
        "something else is in the way",
        meaning="The build needs a directory where a file lies, or the other way round, and pgtls did not make "
        "what lies there.",
        why="What pgtls did not make is never deleted.",
        fix="Move it away.",
    ),
    Rule(
        "PGT527",
        "error",
        "the out directory cannot be read",
        meaning="This user may not read the out directory or a file in it.",
        why="What is there cannot be compared with what is wanted.",
        fix="Run pgtls as the user that owns the directory.",
    ),
    Rule(
        "PGT528",
        "warning",
        "files in the out directory that pgtls did not make",
        meaning="The out directory holds files that its manifest does not list. They are left alone.",
        why="Whoever deploys the directory, or hands out a bundle, takes them along; and a certificate that "
        "was put there by hand is watched by nobody.",
        fix="Keep them elsewhere.",
    ),
    Rule(
        "PGT530",
        "error",
        "the build cannot be written",
        meaning="Writing a file failed: the disk is full, a quota or limit is used up, a right is missing.",
        why="All files are written beside the tree before the first one is put into it, so nothing has "
        "changed: no file, and not the lock.",
        fix="Mend what the message says and build again.",
    ),
    Rule(
        "PGT531",
        "error",
        "the lock changed while the build ran",
        meaning="When the build was about to write the lock, it was no longer the one that it had read.",
        why="Another build or a merge wrote it; to write over it would lose its lines. Nothing has changed.",
        fix="Build again. Two out directories that share a lock are better built one after the other.",
    ),
    Rule(
        "PGT532",
        "error",
        "the record of an interrupted build is damaged",
        meaning="`.pgtls/commit.json` in the out directory lists what an interrupted build had decided, and "
        "cannot be read.",
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
        why="From the record on, a build is only ever completed. Until then every command but `build` refuses "
        "to read the tree.",
        fix="Mend what the message says and run `pgtls build`: it carries out the rest.",
    ),
    Rule(
        "PGT534",
        "error",
        "an interrupted build",
        meaning="A build was decided and then interrupted while it was carried out: by a crash, a signal, or an error.",
        why="The tree is partly new and partly old. What a command would say about it would be true of neither.",
        fix="Run `pgtls build`: it first completes what was decided.",
    ),
    Rule(
        "PGT535",
        "error",
        "another pgtls works in the out directory",
        meaning="Another build held the out directory, or others read it, for longer than `--lock-timeout` seconds.",
        why="One build at a time; those that read wait until it is done.",
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
        fix="Leave `--lock` out, so that it lies beside the spec, or name a file that is committed.",
    ),
    Rule(
        "PGT538",
        "error",
        "a commit record that does not count",
        meaning="`.pgtls/commit.json` in the out directory lists what an interrupted build decided, and the last "
        "build into this directory did not write it: its authentication code is wrong, it starts from "
        "another manifest, or it touches files that its build did not write.",
        why="A build carries out a record before it looks at anything else. A record from a pull request or "
        "from another directory could move the key of a CA, open it to others, or delete keys.",
        fix="Find out who put the file there. Delete it together with `.pgtls/staging`, or restore the out "
        "directory and the lock from one backup.",
    ),
    Rule(
        "PGT539",
        "error",
        "the lock is a symbolic link",
        meaning="The path of the lock is a symbolic link, wherever it leads.",
        why="A commit can bring a link. A build would write the file that it names.",
        fix="Replace the link with the file that it names, or name that file with `--lock`.",
    ),
    Rule(
        "PGT540",
        "error",
        "the out directory belongs to another user",
        meaning="The user who runs the build does not own the out directory.",
        why="The owner of a directory can rename and replace everything in it, whoever owns the files: keys "
        "and `pg_hba.conf` alike.",
        fix="Build as the user who owns the directory, or name a directory of your own with `--out`.",
    ),
    Rule(
        "PGT541",
        "error",
        "git tracks files in the out directory",
        meaning="The index of the repository lists files in the out directory: more than a `.gitignore` or "
        "`.gitkeep` in its top directory, and the lock.",
        why="The out directory holds keys and the state of builds. Whoever can commit to it decides what a "
        "build finds there, and git overwrites ignored files without asking.",
        fix="Look at who committed the files. Remove them from the repository with `git rm -r --cached`, and "
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
        fix="Read in the lock's history who added the lines. If the revocations are meant, or the out "
        "directory was restored from an older backup, say `--allow-revoke`.",
    ),
    Rule(
        "PGT543",
        "error",
        "a line of the lock was altered",
        meaning="A line of the lock tells another entity, name, date or key of a certificate than the build into "
        "this out directory that issued it.",
        why="Decisions about renewal and revocation rest on the lock. Lines of it are added and never changed.",
        fix="Restore the line from version control.",
    ),
    Rule(
        "PGT550",
        "error",
        "the key of a known CA is missing",
        meaning="The lock lists certificates of this CA, and its private key is missing, unreadable, or belongs "
        "to another certificate.",
        why="A new key would be a new CA that nobody trusts: every server and client would need new files at "
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
        fix="Add a second CA, let everybody trust both, then move to the new one. `--replace ca.NAME` does it "
        "at once, with an outage.",
    ),
    Rule(
        "PGT552",
        "error",
        "a foreign certificate that does not fit the spec",
        meaning="The tree holds a certificate or key that pgtls did not write, and it differs from what the spec says.",
        why="pgtls adopts what fits. It never overwrites the rest without being asked, because it may be the "
        "only copy.",
        fix="Move it away, change the spec, or let pgtls replace it with `--replace ENTITY`.",
    ),
    Rule(
        "PGT553",
        "error",
        "mass revocation",
        meaning="The build would revoke the certificates, or delete the keys, of more than three entities at "
        "once. Users whose `until` has come do not count.",
        why="A lost include, an emptied file or the wrong spec looks exactly like this, and a revocation "
        "cannot be taken back.",
        fix="Look at `pgtls plan`. If it is meant, say `--allow-revoke`.",
    ),
    Rule(
        "PGT554",
        "error",
        "the lock does not know a certificate of ours",
        meaning="The manifest lists a certificate that pgtls wrote, and the lock has no line for it: the lock is "
        "older than the tree.",
        why="What the lock does not know cannot be revoked, and the next one who builds from it would issue it again.",
        fix="Pull the lock, or restore the newest one.",
    ),
    Rule(
        "PGT555",
        "warning",
        "there is no out directory",
        meaning="The lock lists certificates, and the out directory is not here: what the lock lists is taken as "
        "present.",
        why="In a review there are no keys, and what would change can still be told from the lock. Anywhere "
        "else the directory holds every private key that pgtls made: if it was deleted, no CA can sign, "
        "renew or revoke. pgtls takes a run for a review where the variable `CI` is set, and with `plan "
        "--no-secrets`; elsewhere it says which keys are not here, and `--detailed-exitcode` exits 2.",
        fix="Nothing, in a review. On the machine that builds, restore the directory from a backup, or name "
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
        fix="Name entities as `ca.NAME`, `server.NAME` or `user.NAME`, and CAs of `--new-ca` by their NAME. "
        "`--replace ca.NAME` gives a CA a new key on purpose.",
    ),
    Rule(
        "PGT557",
        "error",
        "a private key that is needed cannot be read",
        meaning="A certificate or CRL must be signed, and the key for it cannot be read although its file has not "
        "changed; or a CSR has been made, and its key is damaged.",
        why="pgtls cannot sign without the key, and does not replace a key unless it is told to.",
        fix="Run pgtls as the user that owns the out directory; restore the key from a backup if it is damaged.",
    ),
    Rule(
        "PGT558",
        "warning",
        "the out directory is older than the lock",
        meaning="The lock lists later certificates for some entities than the out directory has: a backup was "
        "restored, or another out directory was used.",
        why="pgtls keeps the certificates that are here, and issues the missing ones again. But servers and "
        "clients may have the later certificates, whose keys are no longer here.",
        fix="Restore a newer backup if there is one. Otherwise issue those certificates again with `--renew`, "
        "and deploy them.",
    ),
    Rule(
        "PGT559",
        "warning",
        "private keys that others could read",
        meaning="A private key in the out directory is readable by its group or by everybody.",
        why="Anybody who has read a key can pose as its server, user or CA, and nobody would notice. Often a "
        "copy did not keep the file modes.",
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
        "outside signer, or a CA that itself waits.",
        why="The rest of the build continues, and the old certificate stays valid until it expires. The plan "
        "lists the entity as `wait`.",
        fix="Lend the key with `--ca-key NAME=PATH`; or let the CA sign the `*.csr` in the out directory, and "
        "name the certificate in `cert_file`.",
    ),
    Rule(
        "PGT563",
        "error",
        "no valid certificate is left",
        meaning="A certificate is needed that cannot be signed now, and no valid one is left.",
        why="The compiled files could not connect to anything.",
        fix="Lend the key with `--ca-key NAME=PATH`, or name a new certificate in `cert_file`.",
    ),
    Rule(
        "PGT564",
        "error",
        "a file that was brought along cannot be used",
        meaning="What `cert_file`, `key_file`, `csr_file` or `crl_file` names cannot be read, holds something "
        "else, or its signature is not right; or `crl_file` lacks the CRL of a CA in `cert_file`, or has "
        "one of another CA.",
        why="It would be copied into the tree, and fail on the server or client.",
        fix="Correct the path (it is relative to the file of the spec that names it), or the file. All of "
        "them are PEM, but a single CRL may be DER.",
    ),
    Rule(
        "PGT565",
        "error",
        "a certificate of yours that does not fit the spec",
        meaning="The certificate of `cert_file` differs from what the spec asks for: its key, names, usages, path "
        "length, issuer or dates.",
        why="pgtls uses a foreign certificate as it is, or not at all. Peers would reject it, or give it more "
        "rights than intended.",
        fix="Have it signed again as the CSR asks, or change the spec to what it says.",
    ),
    Rule(
        "PGT566",
        "error",
        "a lent key that does not fit",
        meaning="`--ca-key NAME=PATH` names a CA that the spec does not have, a file that cannot be read, or a "
        "key that is not that CA's.",
        why="Nobody would trust what it signs.",
        fix="Write `--ca-key NAME=PATH` with the NAME of the CA's table and the PATH of its private key in PEM.",
    ),
    Rule(
        "PGT567",
        "warning",
        "a server's certificate that may log in",
        meaning="A certificate of `cert_file` has `clientAuth` in its extended key usage beside `serverAuth`, and "
        "a server trusts its CA for clients.",
        why="Whoever has the server's key can log in with it, as every role that its common name, or a map, opens.",
        fix="Have it signed again with `serverAuth` alone, or give clients a root of their own.",
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
        "a revocation that nobody sees",
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
        meaning="`revoke_before` revokes the certificate of an entity, but pgtls does not hold its key, and there "
        "is no other key yet.",
        why="A new certificate for the same key would be as usable to a thief as the revoked one.",
        fix="Make a new key where the old one was made, and name its new request or certificate.",
    ),
    Rule(
        "PGT580",
        "warning",
        "the clock is behind",
        meaning="The lock lists certificates that were issued more than a day after now.",
        why="Somebody's clock was wrong: this one, or the one of the build that issued them. What would be "
        "issued now might have ended already, so a build that would issue anything stops here: then it is "
        "an error.",
        fix="Set the clock. If it is right and an earlier build ran ahead of it, nobody takes those "
        "certificates before their time: restore the out directory and the lock from before that build. "
        "CRLs are written all the same, and end no earlier than those that are there.",
    ),
    Rule(
        "PGT581",
        "error",
        "a step that locks somebody out",
        meaning="A certificate would move to another root. A peer that verifies it does not trust that root yet, "
        "or would stop trusting the old root before the new certificate is deployed.",
        why="Servers and clients are never deployed in the same instant: the first one would reject the others.",
        fix="First let everybody trust both roots (`trust` of a server for its clients, `client_ca` for "
        "users), build and deploy; then move, build and deploy; then take the old root out. "
        "`--accept-outage` does it at once.",
    ),
    Rule(
        "PGT582",
        "warning",
        "a root that can be retired",
        meaning="`trust` or `client_ca` still names a CA, and no certificate of the spec is under that CA any more.",
        why="Once the last build is deployed everywhere, nobody needs the CA, but peers would still accept "
        "whatever its key signs.",
        fix="When everything is deployed, take it out, build and deploy. Then delete its table: pgtls keeps "
        "its key and its CRL in `ca/.retired`.",
    ),
    Rule(
        "PGT583",
        "warning",
        "who is deployed first",
        meaning="A user or a server moves to another CA, and the certificate that it had is revoked by the same build.",
        why="Whoever gets the CRL refuses that certificate at once: a server every client that still has its "
        "old bundle; a client with `crl = true` a server that still has its old files.",
        fix="Deploy who moves, and then who is told of it: bundles before servers where users move, servers "
        "before bundles where a server moves. Where both are said of the same two, move them in two "
        "builds.",
    ),
    Rule(
        "PGT584",
        "error",
        "a key that belongs to another is named as key_file",
        meaning="`key_file` names a file in the out directory, or the certificate that goes with it has the key "
        "of another CA.",
        why="A build would hand the key out: to a server, for instance, in whose files everybody who deploys "
        "it finds the key of a CA. The public key of a CA is known to all, so a certificate for it is "
        "easily made.",
        fix="Find out who wrote this. Make a key for this entity alone.",
    ),
    Rule(
        "PGT590",
        "error",
        "wrong usage",
        meaning="The command line cannot be understood: an option or a value that does not exist, or one that is "
        "missing. Exit status 64.",
        why="A command that guesses could do something else. And a typo must not be taken for a result.",
        fix="`pgtls COMMAND --help` shows the usage.",
    ),
    Rule(
        "PGT591",
        "error",
        "a file cannot be read or written",
        meaning="A file that the command line names, or standard output, cannot be read or written; the message "
        "is the operating system's own.",
        why="pgtls cannot report the result. If something was done anyway, above all a build, the hint says so.",
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
        "PGT599",
        "error",
        "a bug in pgtls",
        meaning="Something happened in pgtls that its authors did not foresee. The traceback is on standard error.",
        why="Nothing is known about the result. A build that fails changes nothing.",
        fix="Please report it with the traceback and, if you can, a spec that shows it.",
    ),
)
