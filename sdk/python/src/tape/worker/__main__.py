"""`python -m tape.worker [--config tape.yaml]`: one JSON event per line on stdout, logs on stderr."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from tape import report
from tape.worker.config import import_factory, load
from tape.worker.serve import serve


def main() -> int:
    """Serve the app of the project in the current directory. Ends on SIGTERM and SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m tape.worker", description="Drive the runs of this project's app.")
    parser.add_argument("--config", type=Path, default=Path("tape.yaml"))
    parser.add_argument("--max-concurrent-runs", type=int, default=16)
    arguments = parser.parse_args()
    level = os.environ.get("TAPE_LOG", "INFO").upper()
    logging.basicConfig(level="WARNING", stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("tape").setLevel(level)
    report.enable()
    try:
        config = load(arguments.config)
        if config.url:
            os.environ["TAPE_URL"] = config.url
        sys.path.insert(0, str(arguments.config.resolve().parent))
        factory = import_factory(config.runner_factory)
    except (OSError, ValueError, ImportError, AttributeError) as error:
        sys.stderr.write(f"tape worker: {error}\n")
        return 2
    asyncio.run(
        serve(
            factory,
            app_name=config.app_name,
            url=config.url or None,
            max_concurrent_runs=arguments.max_concurrent_runs,
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
