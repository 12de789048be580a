"""What is installed can be tried only where there is a wheel: `.ci/run` builds one, and says where it is."""

import os

collect_ignore = [] if "PGTLS_TEST_WHEEL" in os.environ else ["test_install.py"]
