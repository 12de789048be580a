"""Files of access that pgtls did not write: those of initdb, Debian, the Docker image, operators and people."""

from __future__ import annotations

from typing import NamedTuple


class Case(NamedTuple):
    """Files, and what the import changes: the number of the line, what it asks before and what is asked now."""

    hba: str
    ident: str = ""
    changed: frozenset[tuple[int | None, str, str]] = frozenset()
    left_out: frozenset[int] = frozenset()
    """Lines that a spec cannot say."""
    since: int = 13
    until: int = 19


_LOCAL = """\
local   all             {role}                             {local}
host    all             all             127.0.0.1/32            {host}
host    all             all             ::1/128                 {host}
local   replication     all                                     {local}
host    replication     all             127.0.0.1/32            {host}
host    replication     all             ::1/128                 {host}
"""

DEBIAN = "local all postgres peer\n" + _LOCAL.format(role="all", local="peer", host="scram-sha-256")
DOCKER = _LOCAL.format(role="all", local="trust", host="trust") + "\nhost all all all scram-sha-256\n"

CLOUDNATIVEPG = Case(
    """\
# Grant local access ('local' user map)
local all all peer map=local

# Require client certificate authentication for the streaming_replica user
hostssl postgres streaming_replica all cert map=cnpg_streaming_replica
hostssl replication streaming_replica all cert map=cnpg_streaming_replica
hostssl all cnpg_pooler_pgbouncer all cert map=cnpg_pooler_pgbouncer

host app app 10.244.0.0/16 scram-sha-256

# Otherwise use the default authentication method
host all all all scram-sha-256
""",
    """\
local postgres postgres
cnpg_streaming_replica streaming_replica streaming_replica
cnpg_pooler_pgbouncer cnpg_pooler_pgbouncer cnpg_pooler_pgbouncer
""",
    # A policy that requires TLS also refuses cleartext, which fell through to the last line.
    frozenset({(12, "scram-sha-256", "refused")}),
)

PATRONI = """\
local all all peer
host all all 127.0.0.1/32 md5
hostssl replication replicator 10.0.0.1/32 scram-sha-256
hostssl replication replicator 10.0.0.2/32 scram-sha-256
hostssl replication replicator 10.0.0.3/32 scram-sha-256
hostnossl all all 0.0.0.0/0 reject
hostssl all all 0.0.0.0/0 scram-sha-256
"""

SPILO = Case(
    """\
local   all             all                                   trust
hostssl all             +zalandos    127.0.0.1/32       pam
host    all             all                127.0.0.1/32       md5
hostssl all             +zalandos    ::1/128            pam
host    all             all                ::1/128            md5
local   replication     standby                    trust
hostssl replication     standby all                md5
hostnossl all           all                all                reject
hostssl all             +zalandos    all                pam
hostssl all             all                all                md5
""",
    changed=frozenset({(3, "md5", "refused"), (5, "md5", "refused")}),
)

GITLAB_STYLE = """\
local all all peer map=admins
host  app app  samenet  scram-sha-256
host  app app  .internal.example.com  scram-sha-256
host  all backup 10.1.2.3/32 reject
host  all all  10.0.0.0/8 scram-sha-256
"""

EQUAL = {
    "what Debian's package writes": Case(DEBIAN),
    "what the Docker image writes": Case(DOCKER),
    "what Patroni is given": Case(PATRONI),
    "accounts that may be several roles": Case(GITLAB_STYLE, "admins root postgres\nadmins git app\nadmins app app\n"),
    "a refusal before a wider admission": Case(
        "local all all peer\nhost all bad 0.0.0.0/0 reject\nhost shop all 10.0.0.0/8 md5\n"
        "host all all 10.1.0.0/16 trust\n"
    ),
    "TLS and cleartext of one scope as two lines": Case(
        "local all all peer\nhostnossl all all 10.0.0.0/8 md5\nhostssl all all 10.0.0.0/8 md5\n"
    ),
    "what pgtls writes itself": Case(
        "local all postgres peer\nhostssl shop app 10.0.0.0/8 cert\nhostnossl shop app 10.0.0.0/8 reject\n"
        "host all all 0.0.0.0/0 scram-sha-256\n"
    ),
    "cleartext refused at the top": Case(
        "local all all peer\nhostnossl all all all reject\nhost all all 10.0.0.0/8 md5\n"
        "host all all all scram-sha-256\n"
    ),
    "a last line that refuses everybody": Case("local all all peer\nhost all all all reject\n"),
    "order that only the line number says": Case(
        "local all all peer\nhost all app,web 10.0.0.0/8 md5\nhost shop,all app 10.0.0.0/7 trust\n"
        "host all all 10.0.0.0/6 password\n"
    ),
    "names that are keywords, and worse": Case(
        'local all all peer\nhost "all","sameuser","My Shop" "all","App User","+x","con","ö" 10.0.0.0/8 scram-sha-256\n'
    ),
    "certificates of several names for one role": Case(
        "local all all peer\nhostssl all standby 10.0.0.0/8 cert map=m\n",
        "m one.example standby\nm two.example standby\n",
    ),
    "certificates of everybody": Case("local all all peer\nhostssl all all 10.0.0.0/8 cert\n"),
    "certificates by a regular expression": Case(
        "local all all peer\nhostssl all all 10.0.0.0/8 cert map=m\n", "m /^(.*)\\.example\\.com$ \\1\nm /^(.*)$ \\1\n"
    ),
    "a password and a certificate": Case(
        "local all all peer\nhostssl all app,web 10.0.0.0/8 scram-sha-256 clientcert=verify-full\n"
        "hostssl all all 10.0.0.0/8 scram-sha-256 clientcert=verify-ca\n"
    ),
    "Kerberos with a map": Case(
        "local all all peer\nhost all all 10.0.0.0/8 gss include_realm=1 krb_realm=EXAMPLE.COM map=k\n",
        "k /^(.*)@EXAMPLE\\.COM$ \\1\n",
    ),
    "a directory with a secret": Case(
        "local all all peer\n"
        'hostssl all all 10.0.0.0/8 ldap ldapserver=l ldapbasedn="dc=x, dc=y" ldapbindpasswd=geheim ldaptls=1\n'
    ),
    "the URL of a directory, and parts of it that it replaces": Case(
        "local all all peer\n"
        "hostssl all all 10.0.0.0/8 ldap ldapscheme=ldaps ldapserver=b ldapport=1 ldapsearchattribute=mail "
        'ldapurl="ldap://a/dc=x"\n'
    ),
    "a map without a name": Case('local all all peer map=""\nhostssl all app,web 10.0.0.0/8 cert map=""\n'),
    "samegroup, and a group of roles": Case(
        "local samerole all scram-sha-256\nlocal all +regress_regression_group md5\n"
    ),
    "databases by a regular expression": Case("local /^.*nomatch.*$,baddb,/^regex_t.*b$ all password\n", since=16),
    "a map for one account": Case("local all all peer map=mypeermap\n", "mypeermap someone testmapuser\n"),
    "a map of regular expressions for one role": Case("local all testmapuser peer map=m\n", "m /^.*xyz$ testmapuser\n"),
    "a map that accepts nobody": Case("local all all peer map=nothing\nhost all all ::/0 md5\n"),
    "who is somebody else below, wherever the line above applies": Case(
        "local all postgres peer\nlocal all all peer map=ops\n", "ops root postgres\n"
    ),
    "who is somebody else below, in more databases": Case(
        "local shop postgres peer\nlocal all postgres peer map=ops\n", "ops root postgres\n"
    ),
    "who is only somebody else above, and everybody below": Case(
        "local all postgres peer map=ops\nlocal all all peer\n", "ops root postgres\n"
    ),
    "certificates of a group in a network, and of a host name": Case(
        "local all postgres peer\nhostssl all +dba 10.20.0.0/16 cert map=m\nhostssl all etl .nordwind.example cert\n",
        'm "Anna X" anna\nm /^(.*)@x$ \\1\n',
    ),
    "certificates in networks of the server and in named ones, three times": Case(
        "local all postgres peer\nhostssl all +dba 10.20.0.0/16 cert\nhostssl all etl .nordwind.example cert\n"
        "hostssl all +dba samenet cert\n"
    ),
    "every certificate, and another name for a role": Case(
        "local all postgres peer\nhostssl shop all 10.0.0.0/8 cert\nhostssl all app 10.0.0.0/8 cert map=m\n",
        "m alice app\n",
    ),
    "a map for each database": Case(
        "local all postgres peer\nhostssl shop app 10.0.0.0/8 cert map=shop\n"
        "hostssl books app 10.0.0.0/8 cert map=books\n"
        "hostssl all app,web 10.0.0.0/8 cert map=all\n",
        "shop s.example app\nbooks b.example app\nall a.example app\nall a.example web\n",
    ),
    "a common name with a blank": Case(
        "local all postgres peer\nhostssl all bob 10.0.0.0/8 cert map=m\n", 'm "Bob Builder" bob\n'
    ),
    "a common name with a blank and no quotes": Case(
        "local all postgres peer\nhostssl all bob,Builder 10.0.0.0/8 cert map=m\n", "m Bob Builder bob\n"
    ),
    "a common name with a blank, and the role's own elsewhere": Case(
        "local all postgres peer\nhostssl shop bob 10.0.0.0/8 cert map=m\nhostssl books all 10.0.0.0/8 cert\n",
        'm "Bob Builder" bob\n',
    ),
    "a wide line with TLS above narrower ones without": Case(
        "local all all trust\nhostssl all all 0.0.0.0/0 md5\nhost all all 10.0.0.0/8 md5\n"
        "host all all 172.16.0.0/12 md5\n"
    ),
    "a line with TLS above one without that it only touches": Case(
        "local all all peer\nhostssl shop all 0.0.0.0/0 md5\nhost all all 10.0.0.0/8 md5\nhost all bad all reject\n"
    ),
    "a line with TLS above a wider one without": Case(
        "local all all peer\nhostssl sameuser all 10.0.0.0/8 scram-sha-256\nhost all all all scram-sha-256\n"
    ),
    "a map whose role looks like a group": Case(
        'local all postgres peer\nhostssl all "+x","all" 10.0.0.0/8 cert map=m\n',
        'm a "+x"\nm b "all"\n',
        since=16,
    ),
    "certificates by their whole subject": Case(
        "local all postgres peer\nhostssl all app,web 10.0.0.0/8 cert clientname=DN map=m\n",
        'm "CN=app,OU=it,O=Example" app\nm "/^CN=web,.*O=Example$" web\n',
        since=14,
    ),
    "certificates by their subject above others by their name": Case(
        "local all postgres peer\nhostssl shop app 10.0.0.0/8 cert clientname=DN map=m\n"
        "hostssl all app 10.0.0.0/8 cert\n",
        'm "CN=app,O=Example" app\n',
        since=14,
    ),
    "a line that never decides": Case("local all all peer\nhost all all all md5\nhostssl shop app 10.0.0.0/8 cert\n"),
}

DIFFERENT = {
    "what CloudNativePG writes": CLOUDNATIVEPG,
    "what Spilo gives Patroni": SPILO,
    "cleartext alone": Case(
        "local all all peer\nhostnossl all all 10.0.0.0/8 md5\n",
        changed=frozenset({(2, "md5", "refused")}),
        left_out=frozenset({2}),
    ),
    "parts of a directory's URL that are replaced": Case(
        'local all all peer\nhostssl all all 10.0.0.0/8 ldap ldapurl="ldap://a/dc=x" ldapscheme=ldaps ldapserver=b\n',
        changed=frozenset({(2, "ldap ldapscheme=ldaps ldapserver=b ldapurl=ldap://a/dc=x??sub", "refused")}),
        left_out=frozenset({2}),
    ),
    "a refusal of TLS alone": Case(
        "local all all peer\nhostssl all app all reject\nhost all all all md5\n",
        changed=frozenset({(2, "refused", "md5")}),
        left_out=frozenset({2}),
    ),
    "roles by a regular expression": Case(
        "local all /^scr.*$ password\nlocal all all peer\n",
        changed=frozenset({(1, "password", "peer")}),
        left_out=frozenset({1}),
        since=16,
    ),
    "a mask that is no prefix length": Case(
        "local all all peer\nhost all all 10.0.0.0 255.0.255.0 md5\n",
        changed=frozenset({(2, "md5", "refused")}),
        left_out=frozenset({2}),
    ),
    "GSS encryption": Case(
        "local all all peer\nhostgssenc all all 10.0.0.0/8 gss\n",
        changed=frozenset({(2, "gss", "refused")}),
        left_out=frozenset({2}),
    ),
    "names that are too long, beside others": Case(
        f"local all all peer\nhost all app,{'r' * 64} 10.0.0.0/8 md5\nhost {'d' * 64} app 11.0.0.0/8 md5\n"
        f"host shop app 12.0.0.0/8 md5\n",
        changed=frozenset({(2, "md5", "refused"), (3, "md5", "refused")}),
        left_out=frozenset({2, 3}),
    ),
    "a map of groups": Case(
        "local all all peer map=m\n",
        "m root all\n",
        changed=frozenset({(1, "peer by a pattern", "peer by the role itself, a pattern")}),
        since=16,
    ),
}
