"""Run the programs of bundles, one a line on standard input: ``{"program", "environment"}``; answer in JSON.

The answer has ``printed`` where the program ran to its end, and ``failed`` where it did not.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import warnings

warnings.simplefilter("ignore")


def answer(case: dict[str, object]) -> dict[str, str]:
    printed = io.StringIO()
    os.environ.pop("PGPASSWORD", None)
    os.environ.update(case["environment"])  # type: ignore[call-overload]
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(str(case["program"]), "program", "exec"), {"__name__": "__main__"})  # noqa: S102
    except Exception as error:  # noqa: BLE001
        return {"failed": f"{type(error).__name__}: {error}"}
    return {"printed": printed.getvalue().strip()}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
