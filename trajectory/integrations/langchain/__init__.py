"""Records the runs of LangChain and LangGraph as trajectories (extra `langchain`)."""

from trajectory.integrations.langchain.everywhere import Attachment, attach
from trajectory.integrations.langchain.handler import TrajectoryCallbackHandler
from trajectory.integrations.langchain.runs import OPEN_RUNS

__all__ = ["OPEN_RUNS", "Attachment", "TrajectoryCallbackHandler", "attach"]
