"""Walks an agent tree and puts Tape around what decides and what acts: models and tools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.adk.agents.llm_agent import LlmAgent
from google.adk.tools.agent_tool import AgentTool

from tape.adk.model import TapeModel, durable
from tape.adk.tools import adapt


def wrap_tree(root: Any) -> None:
    """Wrap every model and adapt every function tool below `root`, in place. Doing it again changes nothing."""
    for agent in walk(root):
        if not isinstance(agent, LlmAgent):
            continue
        # An agent without a model of its own takes its parent's, which is wrapped there.
        if (agent.model or agent.parent_agent is None) and not isinstance(agent.model, TapeModel):
            agent.model = durable(agent.canonical_model)
        agent.tools = [adapt(tool) for tool in agent.tools]


def walk(root: Any) -> Iterator[Any]:
    """`root` and every agent that it can reach: sub-agents, agents that are tools, nodes of a workflow."""
    seen: set[int] = set()
    todo = [root]
    while todo:
        agent = todo.pop()
        if agent is None or id(agent) in seen:
            continue
        seen.add(id(agent))
        yield agent
        todo += getattr(agent, "sub_agents", None) or []
        todo += [tool.agent for tool in getattr(agent, "tools", None) or [] if isinstance(tool, AgentTool)]
        todo += getattr(getattr(agent, "graph", None), "nodes", None) or []
