import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "vendor/python")]

import tape_testing  # noqa: E402

# It has made the contract's bindings importable.
assert tape_testing
