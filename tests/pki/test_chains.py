"""What a build puts into the files of several certificates: what is sent in a handshake, and what is trusted."""

from __future__ import annotations

from pki.trees import authority, leaf, presented, trust


def test_what_is_sent_is_leaf_first_then_upward_and_never_the_root() -> None:
    root = authority("root")
    upper = authority("upper", root)
    lower = authority("lower", upper)
    certificate = leaf(lower)
    assert presented(certificate, lower) == certificate.pem + lower.pem + upper.pem
    assert presented(leaf(root), root).count(b"BEGIN") == 1


def test_an_intermediate_with_the_name_of_its_issuer_is_sent_all_the_same() -> None:
    root = authority("root")
    namesake = authority("namesake", root, subject=(("common_name", "root"),))
    assert namesake.issued.facts.subject == namesake.issued.facts.issuer
    assert namesake.pem in presented(leaf(namesake), namesake)


def test_what_is_trusted_has_each_ca_once_with_all_above_it() -> None:
    root, other = authority("root"), authority("other")
    one, two = authority("one", root), authority("two", root)
    assert trust(one, two, other, one) == one.pem + root.pem + two.pem + other.pem
    assert trust() == b""
