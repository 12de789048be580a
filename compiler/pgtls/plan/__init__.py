"""Steps and costs, what is due, status and timeline."""

from pgtls.callable import make_callable

make_callable(__name__)
