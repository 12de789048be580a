"""Clusters as installers, operators, images and people write them, each with its version."""

from __future__ import annotations

from typing import NamedTuple


class Cluster(NamedTuple):
    """The files of one cluster. ``differs`` are the numbers of the lines whose connections a spec cannot keep."""

    hba: str
    ident: str = ""
    conf: str = ""
    version: int = 17
    differs: frozenset[int] = frozenset()
    beside: tuple[tuple[str, str], ...] = ()
    """Further files, by path relative to pg_hba.conf."""


DEBIAN = """\
# PostgreSQL Client Authentication Configuration File
# ===================================================
#
# DO NOT DISABLE!
# If you change this first entry you will need to make sure that the
# database superuser can access the database using some other method.
# Noninteractive access to all databases is required during automatic
# maintenance (custom daily cronjobs, replication, and similar tasks).
#
# Database administrative login by Unix domain socket
local   all             postgres                                peer

# TYPE  DATABASE        USER            ADDRESS                 METHOD

# "local" is for Unix domain socket connections only
local   all             all                                     peer
# IPv4 local connections:
host    all             all             127.0.0.1/32            scram-sha-256
# IPv6 local connections:
host    all             all             ::1/128                 scram-sha-256
# Allow replication connections from localhost, by a user with the
# replication privilege.
local   replication     all                                     peer
host    replication     all             127.0.0.1/32            scram-sha-256
host    replication     all             ::1/128                 scram-sha-256
"""
CLUSTERS = {
    "Debian's package": Cluster(
        DEBIAN,
        conf="data_directory = '/var/lib/postgresql/17/main'\nhba_file = '/etc/postgresql/17/main/pg_hba.conf'\n"
        "ident_file = '/etc/postgresql/17/main/pg_ident.conf'\nexternal_pid_file = '/var/run/postgresql/17-main.pid'\n"
        "port = 5432\nmax_connections = 100\nunix_socket_directories = '/var/run/postgresql'\nssl = on\n"
        "ssl_cert_file = '/etc/ssl/certs/none-snakeoil.pem'\nssl_key_file = '/etc/ssl/private/none-snakeoil.key'\n"
        "log_line_prefix = '%m [%p] %q%u@%d '\ncluster_name = '17/main'\nlc_messages = 'en_US.UTF-8'\n"
        "include_dir = 'conf.d'\n",
        beside=(("conf.d/10-local.conf", "listen_addresses = '*'\npassword_encryption = 'scram-sha-256'\n"),),
    ),
    "the Docker image": Cluster(
        "local   all             all                                     trust\n"
        "host    all             all             127.0.0.1/32            trust\n"
        "host    all             all             ::1/128                 trust\n"
        "local   replication     all                                     trust\n"
        "host    replication     all             127.0.0.1/32            trust\n"
        "host    replication     all             ::1/128                 trust\n\nhost all all all scram-sha-256\n",
        conf="listen_addresses = '*'\nmax_connections = 100\nshared_buffers = 128MB\n",
    ),
    "Patroni's documentation": Cluster(
        "local all all peer\nhost replication replicator 127.0.0.1/32 md5\n"
        "host replication replicator 192.168.56.0/24 md5\n"
        "host all all 0.0.0.0/0 md5\n"
    ),
    "Patroni with certificates": Cluster(
        "local all all peer\nhostssl replication replicator 10.0.0.0/24 cert clientcert=verify-full\n"
        "hostssl all rewind_user 10.0.0.0/24 cert map=patroni\nhostssl all all 10.0.0.0/8 scram-sha-256\n"
        "hostnossl all all 0.0.0.0/0 reject\n",
        "patroni patroni-node rewind_user\n",
    ),
    "CloudNativePG": Cluster(
        "local all all peer map=local\n\nhostssl postgres streaming_replica all cert map=cnpg_streaming_replica\n"
        "hostssl replication streaming_replica all cert map=cnpg_streaming_replica\n"
        "hostssl all cnpg_pooler_pgbouncer all cert map=cnpg_pooler_pgbouncer\n\nhost all all all scram-sha-256\n",
        "local postgres postgres\ncnpg_streaming_replica streaming_replica streaming_replica\n"
        "cnpg_pooler_pgbouncer cnpg_pooler_pgbouncer cnpg_pooler_pgbouncer\n",
        differs=frozenset({7}),
    ),
    "a hosted service": Cluster(
        "local all rdsadmin peer\nhostssl all rdsadmin samehost scram-sha-256\nhostnossl all rdsadmin all reject\n"
        "hostssl rdsadmin all all reject\nhostnossl rdsadmin all all reject\nhostssl all all all md5\n"
        "hostnossl all all all reject\n"
    ),
    "Crunchy's operator": Cluster(
        'local all "postgres" peer\nhostssl replication "_crunchyrepl" all cert\n'
        'hostssl "postgres" "_crunchyrepl" all cert\n'
        'host all "_crunchyrepl" all reject\nhostssl all "_crunchypgbouncer" all scram-sha-256\n'
        'host all "_crunchypgbouncer" all reject\nhostssl all all all md5\n'
    ),
    "Zalando's operator": Cluster(
        "local   all             all                                   trust\n"
        "hostssl all             +zalandos    127.0.0.1/32       pam\n"
        "host    all             all                127.0.0.1/32       md5\n"
        "hostssl all             +zalandos    ::1/128            pam\n"
        "host    all             all                ::1/128            md5\n"
        "local   replication     standby                    trust\n"
        "hostssl replication     standby all                md5\n"
        "hostnossl all           all                all                reject\n"
        "hostssl all             +zalandos    all                pam\n"
        "hostssl all             all                all                md5\n",
        differs=frozenset({3, 5}),
    ),
    "pigsty": Cluster(
        "local   all     all   ident\nlocal   replication     all   ident\n"
        "host    replication     all   127.0.0.1/32    md5\n"
        "host    all     postgres   127.0.0.1/32    reject\nhost    all     +dbrole_readonly   10.0.0.0/8   md5\n"
        "hostssl all     +dbrole_admin   0.0.0.0/0    scram-sha-256\n"
        "host    all    all   192.168.0.0/16    scram-sha-256\n",
    ),
    "an EnterpriseDB installer": Cluster(
        "# TYPE  DATABASE        USER            ADDRESS                 METHOD\r\n\r\n"
        '# "local" is for Unix domain socket connections only\r\n'
        "local   all             all                                     scram-sha-256\r\n"
        "# IPv4 local connections:\r\nhost    all             all             127.0.0.1/32            scram-sha-256\r\n"
        "# IPv6 local connections:\r\nhost    all             all             ::1/128                 scram-sha-256\r\n"
        "local   replication     all                                     scram-sha-256\r\n"
        "host    replication     all             127.0.0.1/32            scram-sha-256\r\n"
        "host    replication     all             ::1/128                 scram-sha-256\r\n",
        conf="listen_addresses = '*'\r\nport = 5432\r\nmax_connections = 100\r\nlog_destination = 'stderr'\r\n",
    ),
    "pgAdmin's documentation": Cluster(
        "local all all peer\nhostssl all all 0.0.0.0/0 cert\nhostssl all all ::/0 cert\n"
    ),
    "streaming replication": Cluster(
        "local all postgres peer\nlocal replication postgres peer\nhost replication rep 192.168.1.10/32 md5\n"
        "host replication rep 192.168.1.11/32 md5\nhost replication rep 192.168.1.12 255.255.255.255 md5\n"
        "host all all samenet md5\n"
    ),
    "LDAP by search": Cluster(
        "local all postgres peer\nhost all all 10.0.0.0/8 ldap ldapserver=ldap.example.com ldaptls=1 "
        'ldapbasedn="ou=people,dc=example,dc=com" ldapbinddn="cn=reader,dc=example,dc=com" ldapbindpasswd=geheim '
        "ldapsearchattribute=uid\n"
    ),
    "LDAP by prefix, and by URL": Cluster(
        "local all postgres peer\n"
        'hostssl all +staff 10.0.0.0/8 ldap ldapserver=a ldapprefix="uid=" ldapsuffix=", ou=people, dc=x"\n'
        'hostssl all all 10.0.0.0/8 ldap ldapurl="ldap://ldap.example.com/dc=example,dc=com?uid?sub"\n'
    ),
    "RADIUS": Cluster(
        "local all postgres peer\n"
        'hostssl all all 10.0.0.0/8 radius radiusservers="10.0.0.1,10.0.0.2" radiussecrets="geheim,x" radiusports=1\n'
    ),
    "Kerberos": Cluster(
        "local all postgres peer\nhost all all 0.0.0.0/0 gss include_realm=0 krb_realm=EXAMPLE.COM\n"
        "host all backup 10.0.0.0/8 gss map=backup\n",
        "backup /^backup-(.*)@EXAMPLE\\.COM$ backup\n",
    ),
    "Kerberos with encryption asked for": Cluster(
        "local all postgres peer\nhostgssenc all all 0.0.0.0/0 gss include_realm=0\nhost all all 10.0.0.0/8 md5\n",
        differs=frozenset({2}),
    ),
    "OAuth": Cluster(
        "local all postgres peer\n"
        'hostssl all all 10.0.0.0/8 oauth issuer="https://id.example.com" scope="openid pg" map=o\n',
        "o /^(.*)@example\\.com$ \\1\n",
        version=18,
        conf="oauth_validator_libraries = 'my_validator'\n",
    ),
    "PAM": Cluster(
        "local all postgres peer\nhostssl all all 10.0.0.0/8 pam pamservice=postgresql-x pam_use_hostname=1\n"
    ),
    "includes and lists in files": Cluster(
        "local all postgres peer\ninclude_dir hba.d\nhost all @admins 10.0.0.0/8 scram-sha-256\n"
        "include_if_exists none.conf\n",
        beside=(
            ("admins", "alice\nbob, carol\n"),
            ("hba.d/10-app.conf", "hostssl app app 10.1.0.0/16 scram-sha-256\n"),
            ("hba.d/20-reject.conf", "host all all 10.9.0.0/16 reject\n"),
        ),
    ),
    "continued lines": Cluster(
        'local all postgres peer\nhost all \\\n  app,web \\\n  10.0.0.0/8 \\\n  scram-sha-256 # the "app"\n'
        "host all all ::1/128 md5\n"
    ),
    "expressions of PostgreSQL 16": Cluster(
        "local all postgres peer\nhost /^tenant_[0-9]+$ app 10.0.0.0/8 scram-sha-256\nhost all /^ro_ 10.0.0.0/8 md5\n",
        differs=frozenset({3}),
    ),
    "9.x syntax with its old words": Cluster(
        "local   all         all                               ident\nlocal   samegroup   all    md5\n"
        "host    all         all         127.0.0.1/32          md5\n"
        "hostssl all         app         10.0.0.0/8   md5  clientcert=1\n"
        "hostssl all         web         10.0.0.0/8   cert clientcert=1\nhost all all 10.0.0.0 255.0.0.0 password\n",
        version=13,
        differs=frozenset({6}),
    ),
    "a spec of pgtls, compiled": Cluster(
        "# Written by pgtls from server.primary: do not edit, change the spec and build again.\n"
        'local    all       "postgres"           peer\n'
        'hostssl  "shop"    "app"       10.0.0.0/8  cert map=app\nhostnossl "shop"   "app"       10.0.0.0/8  reject\n'
        'host     "postgres" "metrics"  127.0.0.1/32  scram-sha-256\n',
        '"app" "app" "app"\n',
    ),
    "HOWTO: names from elsewhere": Cluster(
        "hostnossl all all 0.0.0.0/0 reject\nhostssl all all 0.0.0.0/0 cert map=ssl\n",
        "ssl /^(.*)\\.mydomain\\.org$ \\1\n",
    ),
    "HOWTO: mixed rules": Cluster(
        "local all all peer\nhost all all 127.0.0.1/32 trust\nhostssl all all 0.0.0.0/0 cert\n"
        "hostnossl all all 0.0.0.0/0 reject\n"
    ),
    "puppetlabs-postgresql's defaults": Cluster(
        "local   all             postgres                                ident\n"
        "local   all             all                                     ident\n"
        "host    all             postgres        127.0.0.1/32            md5\n"
        "host    all             postgres        0.0.0.0/0               reject\n"
        "host    all             all             127.0.0.1/32            md5\n"
        "host    all             all             ::1/128                 md5\n"
        "hostssl sameuser        all             0.0.0.0/0               md5\n"
    ),
    "GitLab's packages": Cluster(
        "local   all         all                               peer map=gitlab\n"
        "host    all         all         127.0.0.1/32          trust\n"
        "hostssl replication gitlab_replicator 10.6.0.0/24 md5\n"
        "host  all  gitlab-consul  10.6.0.0/24 trust\nhost all pgbouncer 10.6.0.0/24 trust\n"
        "host gitlabhq_production gitlab 10.6.0.0/24 md5\n",
        "gitlab  git  gitlab\ngitlab  mattermost  gitlab_mattermost\ngitlab  gitlab-psql  gitlab-psql\n"
        "# Default to a 1-1 mapping between system usernames and Postgres usernames\ngitlab  /^(.*)$  \\1\n",
    ),
    "one line that lets all in": Cluster("host all all 0.0.0.0/0 trust\n"),
}
