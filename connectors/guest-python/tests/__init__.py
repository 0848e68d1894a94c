import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import tape_testing

# It has made the contract's bindings importable.
assert tape_testing
