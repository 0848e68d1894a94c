"""Build hook: makes `src/tape/v1` from the .proto files, for wheels, sdists and editable installs alike."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


class CustomBuildHook(BuildHookInterface):
    """Generates the wire types; an sdist carries the protos, because it is built away from the repository."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Run before anything is collected."""
        import protogen

        protos = protogen.proto_root(HERE)
        if self.target_name == "sdist":
            for proto in sorted(protos.rglob("*.proto")):
                build_data["force_include"][str(proto)] = f"proto/{proto.relative_to(protos)}"
            return
        protogen.generate(protos, HERE / "src")
