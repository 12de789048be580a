"""Cipher lists, suites and groups: what every OpenSSL of this machine makes of a string, pgtls says of it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from pgtls.postgres import ciphers, groups
from pgtls.postgres.openssl import Refused, version
from support.openssl import OpenSSL, installed

if TYPE_CHECKING:
    from collections.abc import Callable

SUITE_B = ["SUITEB128", "SUITEB192", "SUITEB128:HIGH"]
LISTS = [
    "ALL",
    "COMPLEMENTOFALL",
    "DEFAULT",
    "HIGH",
    "MEDIUM",
    "eNULL",
    "aNULL",
    "kRSA",
    "ECDHE",
    "ECDHE+AESGCM",
    "ECDHE+nonsense",
    "ECDHE+",
    "HIGH+",
    "high",
    "nonsense",
    "HIGH:nonsense",
    "HIGH:!",
    "HIGH:*",
    "HIGH:+",
    "HIGH:@STRENGTH",
    "HIGH:@SECLEVEL=0",
    "HIGH:@SECLEVEL=6",
    "HIGH:@SECLEVEL=x",
    "HIGH:@FOO",
    "HIGH:DEFAULT",
    "DEFAULT:!AES",
    "!HIGH:HIGH",
    "HIGH:!HIGH:HIGH",
    "-HIGH",
    "+HIGH",
    "HIGH::!aNULL",
    "HIGH:!aNULL:",
    "HIGH;MEDIUM",
    "HIGH,!aNULL",
    ":",
    "@STRENGTH",
    "@SECLEVEL=0:ALL",
    "HIGH:-aNULL:aNULL",
    "TLS_AES_256_GCM_SHA384",
    "TLS_AES_256_GCM_SHA384:HIGH",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ecdhe-rsa-aes256-gcm-sha384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "HIGH:!aNULL:!eNULL:!EXP:!SSLv2:!RC4:!3DES",
    "HIGH:MEDIUM:+3DES:!aNULL",
    "PROFILE=SYSTEM",
    "3DES",
    "RC4",
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:DHE-RSA-AES128-GCM-SHA256",
    "EECDH+AESGCM:EDH+AESGCM",
    "AES256+EECDH:AES256+EDH",
    "ARIAGCM",
    "CAMELLIA+kRSA",
    "PSK",
    "SRP",
    "SHA384",
    "TLSv1.2",
    "TLSv1",
    "TLSv1.3",
    "SSLv3",
    "SUITEB192",
]
TLS13 = [
    "TLS_AES_256_GCM_SHA384",
    "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_CCM_8_SHA256",
    "TLS_SHA256_SHA256",
    "nonsense",
    "tls_aes_256_gcm_sha384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_AES_256_GCM_SHA384,TLS_AES_128_GCM_SHA256",
    "::",
]
GROUPS = [
    "X25519",
    "X448",
    "P-256",
    "prime256v1",
    "secp256r1",
    "x25519",
    "p-256",
    "PRIME256V1",
    "X25519:prime256v1",
    "X25519:",
    "X25519::P-256",
    "X25519,P-256",
    "nonsense",
    "X25519:nonsense",
    "?nonsense:X25519",
    "*X25519:P-256",
    "X25519/P-256",
    "DEFAULT",
    "X25519MLKEM768",
    "x25519mlkem768",
    "X25519MLKEM768:X25519",
    "MLKEM768",
    "SecP256r1MLKEM768",
    "ffdhe2048",
    "brainpoolP256r1",
    "brainpoolP256r1tls13",
    "secp256k1",
    "P-192",
    "prime192v1",
    "secp192r1",
    "sect163k1",
    "P-224",
    "secp224r1",
    "P-384",
    "P-521",
    "secp521r1",
    "secp384r1",
    "K-163",
    "B-233",
    "X25519:X25519",
    "P-256:prime256v1",
    "-X25519",
    "DEFAULT:-X25519",
    "SM2",
    "c2pnb163v1",
    "ED25519",
    "X25519:?",
    "?X25519MLKEM768:*X25519",
    "P-256K",
    "?X25519",
]


@pytest.fixture(params=installed(), ids=lambda one: f"openssl-{one.version}")
def openssl(request: pytest.FixtureRequest) -> OpenSSL:
    one: OpenSSL = request.param
    return one


def takes(judge: Callable[..., object], *arguments: object) -> bool:
    try:
        judge(*arguments)
    except Refused:
        return False
    return True


@pytest.mark.parametrize(
    ("function", "judge", "texts"),
    [("ciphersuites", ciphers.tls13_suites, TLS13), ("groups", groups.groups, GROUPS)],
    ids=["suites of TLS 1.3", "groups"],
)
def test_a_list_is_taken_by_openssl_as_pgtls_says(
    openssl: OpenSSL, function: str, judge: Callable[..., object], texts: list[str]
) -> None:
    answers = openssl.ask(**{function: texts})[function]
    assert {text: takes(judge, text, version(openssl.version)) for text in texts} == answers


def test_a_cipher_list_selects_the_suites_that_openssl_selects(openssl: OpenSSL) -> None:
    answers = openssl.ask(ciphers=LISTS)["ciphers"]
    assert differences(openssl, answers) == {}


WORDS = [
    "ALL",
    "HIGH",
    "aNULL",
    "eNULL",
    "ECDHE",
    "DHE",
    "kRSA",
    "aRSA",
    "aECDSA",
    "AES128",
    "AES256",
    "AESGCM",
    "CHACHA20",
    "CAMELLIA",
    "SHA256",
    "SHA384",
    "SHA",
    "TLSv1.2",
    "PSK",
    "nonsense",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "AES128-SHA",
    "TLS_AES_256_GCM_SHA384",
]


def random_list(draw: random.Random) -> str:
    entries = [
        draw.choice(["", "", "", "!", "-", "+"]) + "+".join(draw.choices(WORDS, k=draw.choice([1, 1, 2])))
        for _ in range(5)
    ]
    return ":".join(entries[: draw.randint(1, 5)])


def test_random_cipher_lists_select_what_openssl_selects(openssl: OpenSSL) -> None:
    draw = random.Random(18)  # noqa: S311
    texts = [random_list(draw) for _ in range(1000)]
    assert differences(openssl, openssl.ask(ciphers=texts)["ciphers"]) == {}


def differences(openssl: OpenSSL, answers: dict[str, list[list[str]] | None]) -> dict[str, object]:
    """Return the lists of which OpenSSL selects something else than pgtls says.

    Suites that this build lacks do not count.
    """
    built = {name for name, _ in openssl.ask(ciphers=["ALL:COMPLEMENTOFALL"])["ciphers"]["ALL:COMPLEMENTOFALL"]}
    found: dict[str, object] = {}
    for text, answer in answers.items():
        try:
            said = ciphers.cipher_list(text, version(openssl.version)).suites & built
        except Refused:
            said = frozenset()
        selected = {name for name, _ in answer or ()}
        if said != selected and not all("SEED" in name for name in said | selected):
            found[text] = sorted(said ^ selected)
    return found


def test_the_hybrid_comes_first_where_openssl_has_it() -> None:
    assert groups.default_groups("3.5") == "X25519MLKEM768:X25519:prime256v1"
    assert groups.default_groups("4.0") == groups.default_groups("3.5")
    assert groups.default_groups("3.4") is None
    assert groups.default_groups(None) is None
