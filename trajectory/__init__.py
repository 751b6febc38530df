"""Record every turn that a user and an AI agent take, while the agent runs.

async with TrajectoryLogger("trajectories.db") as logger:
    async with logger.trajectory(spec_id="S-1", agent_name="a", run_id="r-1") as run:
        await run.log_turn("Implement OAuth", "Which provider?")
"""

from trajectory.backend import Atomicity, Batch, Capabilities, StorageBackend, Survives
from trajectory.backends import open_backend
from trajectory.carrying import carry, child_environment, inherited
from trajectory.counts import StoreStatistics
from trajectory.dead_letters import DeadLetterError
from trajectory.draft import ToolCallDraft, TurnDraft
from trajectory.errors import (
    BackendError,
    BackendUnavailableError,
    BatchRejectedError,
    BufferFullError,
    ConfigurationError,
    ConflictError,
    InvalidQueryError,
    InvalidTurnError,
    LoggerClosedError,
    MissingDependencyError,
    PartialWriteError,
    SchemaError,
    TrajectoryError,
    WriteFailedError,
)
from trajectory.journal import JournalError
from trajectory.logger import TrajectoryLogger
from trajectory.models import (
    EffortLevel,
    Fact,
    Message,
    Question,
    Role,
    Severity,
    ToolCall,
    Trajectory,
    TrajectoryEnd,
    TrajectoryStatus,
    Turn,
    Violation,
)
from trajectory.open_turn import OpenTurn
from trajectory.query import (
    MetadataEquals,
    TrajectoryCursor,
    TrajectoryQuery,
    TurnCursor,
    TurnQuery,
)
from trajectory.report import Accepted, Dropped, FlushReport, Statistics
from trajectory.retention import Pruned
from trajectory.run import Run, current, current_turn
from trajectory.scoring import Counts, PPPWeights, Score, score_turns
from trajectory.settings import Durability, LoggerSettings, OnFailure, Overflow
from trajectory.store import TrajectoryScore, TrajectoryStore
from trajectory.sync import SyncTrajectoryLogger
from trajectory.sync_run import SyncRun

__version__ = "0.1.0"

__all__ = [
    "Accepted",
    "Atomicity",
    "BackendError",
    "BackendUnavailableError",
    "Batch",
    "BatchRejectedError",
    "BufferFullError",
    "Capabilities",
    "ConfigurationError",
    "ConflictError",
    "Counts",
    "DeadLetterError",
    "Dropped",
    "Durability",
    "EffortLevel",
    "Fact",
    "FlushReport",
    "InvalidQueryError",
    "InvalidTurnError",
    "JournalError",
    "LoggerClosedError",
    "LoggerSettings",
    "Message",
    "MetadataEquals",
    "MissingDependencyError",
    "OnFailure",
    "OpenTurn",
    "Overflow",
    "PPPWeights",
    "PartialWriteError",
    "Pruned",
    "Question",
    "Role",
    "Run",
    "SchemaError",
    "Score",
    "Severity",
    "Statistics",
    "StorageBackend",
    "StoreStatistics",
    "Survives",
    "SyncRun",
    "SyncTrajectoryLogger",
    "ToolCall",
    "ToolCallDraft",
    "Trajectory",
    "TrajectoryCursor",
    "TrajectoryEnd",
    "TrajectoryError",
    "TrajectoryLogger",
    "TrajectoryQuery",
    "TrajectoryScore",
    "TrajectoryStatus",
    "TrajectoryStore",
    "Turn",
    "TurnCursor",
    "TurnDraft",
    "TurnQuery",
    "Violation",
    "WriteFailedError",
    "__version__",
    "carry",
    "child_environment",
    "current",
    "current_turn",
    "inherited",
    "open_backend",
    "score_turns",
]
