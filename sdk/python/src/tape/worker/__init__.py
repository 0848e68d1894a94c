"""The process in which an app's runs are driven: attaches to the server and does what it is asked.

await tape.worker.serve(runner_factory, app_name="treasury")        in a program of your own
python -m tape.worker                                                with a tape.yaml
"""

from tape.worker.serve import Worker, serve

__all__ = ["Worker", "serve"]
