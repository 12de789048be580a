"""The role graph of the spec, and what two states of a spec agree on."""

from __future__ import annotations

from pgtls.fleet.membership import Memberships


def test_two_states_agree_on_all_but_what_they_say_differently() -> None:
    one = Memberships({"a": frozenset("xy"), "b": frozenset("x"), "c": frozenset("x")})
    other = Memberships({"a": frozenset("xz"), "b": frozenset("x")})
    for both in (one.agreed(other), other.agreed(one)):
        assert [both.member("a", group) for group in "wxyz"] == [False, True, None, None]
        assert [both.member("b", group) for group in "xy"] == [True, False]
        assert both.member("c", "x") is None, "only one of them says it"
        assert both.member("c", "c") is True
