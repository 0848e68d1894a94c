"""The agent. `tape dev` calls `runner_factory`; everything else here is plain ADK."""

from google.adk.agents import LlmAgent
from tape.adk import DurableRunner, durable_app

from app.scripted_model import ScriptedModel
from app.tools import get_balance, open_case, wire_money

root_agent = LlmAgent(
    name="treasurer",
    model=ScriptedModel(),  # a real one: model="gemini-2.5-flash"
    instruction="Pay what you are asked to pay. Look at the balance first, open a case, then wire the money once.",
    tools=[get_balance, open_case, wire_money],
)


def runner_factory() -> DurableRunner:
    """The runner that drives this app's runs. The name is `agent.app_name` of tape.yaml."""
    _app, runner = durable_app("treasury", root_agent)
    return runner
