"""Makes the messages of `contract.proto`, by the ordinary tool, unless they are there already."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
STUBS = HERE / ".generated"


def make() -> Path:
    """The folder with `contract_pb2`."""
    made, contract = STUBS / "contract_pb2.py", HERE / "contract.proto"
    if not made.exists() or made.stat().st_mtime <= contract.stat().st_mtime:
        STUBS.mkdir(exist_ok=True)
        tool = [sys.executable, "-m", "grpc_tools.protoc", f"-I{HERE}", f"--python_out={STUBS}", f"--pyi_out={STUBS}"]
        subprocess.run([*tool, contract.name], check=True)
    return STUBS


if __name__ == "__main__":
    make()
