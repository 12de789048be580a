"""Compile policies to rules: order them, write identity maps, and prove the result.

List where each bundle may connect.
"""

from pgtls.callable import make_callable

make_callable(__name__)
