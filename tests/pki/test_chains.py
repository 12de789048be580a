"""What is sent in a handshake, and what is trusted."""

from __future__ import annotations

from pgtls.pki import chains, facts
from pgtls.pki.model import Unreadable
from pki.trees import DAY, NOW, above, authority, leaf, presented


def test_what_is_sent_is_leaf_first_then_upward_and_never_the_root() -> None:
    root = authority("root")
    upper = authority("upper", root)
    lower = authority("lower", upper)
    certificate = leaf(lower)
    assert presented(certificate, lower) == certificate.pem + lower.pem + upper.pem
    assert presented(leaf(root), root).count(b"BEGIN") == 1


def test_an_intermediate_with_the_name_of_its_issuer_is_no_root() -> None:
    root = authority("root")
    namesake = authority("namesake", root, subject=(("common_name", "root"),))
    assert namesake.issued.facts.subject == namesake.issued.facts.issuer
    assert not chains.is_root(namesake.issued.facts)
    assert chains.is_root(root.issued.facts)
    assert namesake.pem in chains.served(leaf(namesake).pem, above(namesake))


def test_a_self_signed_server_sends_itself_alone() -> None:
    server = leaf(None, "server")
    assert chains.served(server.pem, []) == server.pem
    assert chains.is_root(server.facts)


def test_a_file_has_each_certificate_once_in_the_order_given() -> None:
    one, two, three = (authority(name).pem for name in ("one", "two", "three"))
    assert chains.file_of([two, one], [three, two], [one]) == two + one + three
    assert chains.file_of() == b""


def test_a_root_that_was_renewed_stands_beside_the_old_one() -> None:
    old, new = authority("root"), authority("root", now=NOW + 100 * DAY)
    assert chains.file_of([old.pem, new.pem]) == old.pem + new.pem


def test_a_file_of_others_is_taken_apart_and_written_anew() -> None:
    one, two = authority("one").pem, authority("two").pem
    folded = b"\n".join(line[:40] + b"\r\n" + line[40:] if len(line) == 64 else line for line in two.splitlines())
    text = (
        b"# CN=one\n" + one.replace(b"\n", b"\r\n") + b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    )
    text += folded.replace(b"CERTIFICATE", b"X509 CERTIFICATE")
    assert chains.split(text) == (one, two)
    assert chains.file_of(chains.split(one + two)) == one + two


def test_what_is_no_base64_is_left_out_where_reading_says_why() -> None:
    broken = b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n"
    assert chains.split(broken) == ()
    assert isinstance(facts.read(broken), Unreadable)
