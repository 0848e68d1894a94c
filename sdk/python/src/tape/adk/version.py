"""Which versions of google-adk this package knows."""

from __future__ import annotations

import re

ADK_FLOOR = (2, 7, 1)
ADK_CEILING = (3, 0, 0)


def check_adk_version(version: str) -> None:
    """Raise RuntimeError unless Tape knows how this version of google-adk resumes, replays and ends."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if not ADK_FLOOR <= numbers < ADK_CEILING:
        raise RuntimeError(
            f"google-adk {version} is installed, and Tape needs >=2.7.1,<3: earlier and later versions resume runs and"
            " answer gates in other ways. Install it with: pip install 'google-adk>=2.7.1,<3'"
        )
