"""PKCS#11 URIs as RFC 7512 has them: its examples, what the language refuses, and the normal form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgtls.pki.pkcs11_uri import BadUri, KeyUri, parse

READ = {
    # RFC 7512, section 3, as far as they name one private key.
    "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;"
    "object=my-certificate;type=private;id=%69%95%3E%5C%F4%BD%EC%91;serial=": None,
    "pkcs11:object=my-pubkey;type=private;token=Card": KeyUri(token="Card", object="my-pubkey"),
    "pkcs11:token=My%20token%25%20created%20by%20Joe;object=k": KeyUri(token="My token% created by Joe", object="k"),
    "PKCS11:token=x;object=y": KeyUri(token="x", object="y"),
    "pkcs11:serial=DECC0401648;id=%00%ff": KeyUri(serial="DECC0401648", id=b"\0\xff"),
    "pkcs11:token=a&b=c:[d]@!$'()*+,;object=x%3By": KeyUri(token="a&b=c:[d]@!$'()*+,", object="x;y"),
    "pkcs11:token=%E2%82%AC;object=k": KeyUri(token="€", object="k"),
}


@pytest.mark.parametrize(("text", "uri"), READ.items())
def test_what_is_read(text: str, uri: KeyUri | None) -> None:
    if uri is None:
        with pytest.raises(BadUri, match="serial is empty"):
            parse(text)
    else:
        assert parse(text) == uri


REFUSED = {
    "token=x;object=y": "begins with pkcs11:",
    "pkcs11:": "selects no token",
    "pkcs11:object=y": "selects no token",
    "pkcs11:token=x": "selects no key",
    "pkcs11:token=x;object=y;object=z": "object appears twice",
    "pkcs11:token=x;object=y;": "knows the attributes",
    "pkcs11:token=x;object=y;slot-id=1": "knows the attributes",
    "pkcs11:token=x;object=y;x-vendor=1": "knows the attributes",
    "pkcs11:token=CA keys;object=y": "a blank is %20",
    "pkcs11:token=a/b;object=y": "a slash %2F",
    "pkcs11:token=x;object=": "object is empty",
    "pkcs11:token=x;object=%": "character to be quoted",
    "pkcs11:token=x;object=%zz": "character to be quoted",
    "pkcs11:token=x;object=%ff": "is not UTF-8",
    "pkcs11:token=x;object=a%0Ab": "control character",
    "pkcs11:token=x;object=y;type=cert": "must name a private key",
    "pkcs11:token=x;object=y?pin-value=1234": "must not hold a PIN",
    "pkcs11:token=x;object=y?pin-source=file:/etc/pin": "comes from in `pin`",
    "pkcs11:token=x;object=y?module-path=/lib/x.so": "library in `module`",
    "pkcs11:token=x;object=y?vendor=1": "after \\? selects no key",
}


@pytest.mark.parametrize(("text", "why"), REFUSED.items())
def test_what_is_refused_and_why(text: str, why: str) -> None:
    with pytest.raises(BadUri, match=why) as refused:
        parse(text)
    assert "1234" not in str(refused.value)


PRINTABLE = st.text(st.characters(exclude_categories=("C", "Z")) | st.just(" "), min_size=1)
URIS = st.builds(
    KeyUri,
    token=PRINTABLE,
    serial=st.none() | PRINTABLE,
    manufacturer=st.none() | PRINTABLE,
    model=st.none() | PRINTABLE,
    object=PRINTABLE,
    id=st.none() | st.binary(min_size=1),
)


@given(URIS)
def test_the_normal_form_is_read_as_what_it_was_written_from(uri: KeyUri) -> None:
    text = str(uri)
    assert parse(text) == uri
    assert str(parse(text)) == text
    assert text.isascii()
    assert not {" ", "\n", '"', ";;", "?"} & set(text.removeprefix("pkcs11:"))
