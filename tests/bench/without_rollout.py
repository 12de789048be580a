"""Run pgtls without the rollout model: it neither reads what earlier builds made nor judges an order of deployment."""

from __future__ import annotations

from pgtls import cli
from pgtls.rollout import verdict
from pgtls.state import generations

if __name__ == "__main__":
    setattr(verdict, "verdict", lambda *_, **__: verdict.Verdict())  # noqa: B010  (not for a type checker)
    setattr(generations, "read", lambda _: None)  # noqa: B010
    cli.main()
