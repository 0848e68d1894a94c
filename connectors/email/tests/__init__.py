import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / "guest-python")]

import tape_testing  # noqa: E402

# It has made the contract's bindings importable.
assert tape_testing
