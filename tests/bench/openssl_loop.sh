#!/bin/sh
# What people run instead: a key, a request and a certificate for each user with the openssl program, as HOWTOs have it.
#   openssl_loop.sh DIRECTORY USERS
set -eu
mkdir "$1"
cd "$1"
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ca.key
openssl req -x509 -new -key ca.key -subj /CN=clients -days 365 -out ca.crt
printf 'extendedKeyUsage = clientAuth\n' > extensions
n=0
while [ "$n" -lt "$2" ]; do
    mkdir "u$n"
    (umask 077 && openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "u$n/postgresql.key")
    openssl req -new -key "u$n/postgresql.key" -subj "/CN=u$n" -out "u$n/csr"
    openssl x509 -req -in "u$n/csr" -CA ca.crt -CAkey ca.key -days 90 -extfile extensions -out "u$n/postgresql.crt"
    n=$((n + 1))
done
