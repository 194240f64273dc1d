"""The format of a recorded run: every table, every column, and the facts in ``run.json``.

A run is a folder. ``run.json`` holds one `Meta`; each rank has a folder ``rank00000/`` with the
tables below as Parquet segments ``TABLE-000000.parquet``, which plain pandas or DuckDB can open;
while the training runs they are ``TABLE-000000.rows`` (`plain_rows`).
"""

from gradaudit.schema.base import Column, Facts, Table, UserError
from gradaudit.schema.facts import (
    BY_HAND,
    FORMAT_VERSION,
    DataFacts,
    DisabledFacts,
    LossFacts,
    Meta,
    ModuleFacts,
    OptimizerFacts,
    PrivateFacts,
    TensorFacts,
)
from gradaudit.schema.graph import (
    AttentionFacts,
    ConstantFacts,
    ConstantSourceFacts,
    EmbeddingFacts,
    EmbeddingLookFacts,
    FactorFacts,
    GraphFacts,
    GraphLookFacts,
    OperationFacts,
    OutsideFacts,
    SoftmaxFacts,
    TermFacts,
    ViewFacts,
)
from gradaudit.schema.loaders import LoaderFacts
from gradaudit.schema.model_state import ActiveFacts, CopyFacts, LoadFacts, ModeFacts, ModelStateFacts, NormFacts
from gradaudit.schema.operations import OPERATIONS
from gradaudit.schema.outputs import OutputFacts
from gradaudit.schema.schedules import (
    GraphsKept,
    MemorySample,
    OptimizerLives,
    ReplacedFacts,
    ScalingFacts,
    ScheduleFacts,
    SchedulerFacts,
    UnregisteredFacts,
)
from gradaudit.schema.tables import (
    EVALUATIONS,
    EVENTS,
    HISTOGRAMS,
    MODULES,
    ROWS,
    STEPS,
    TABLES,
    TENSORS,
    arrow_schema,
)

__all__ = [
    "BY_HAND",
    "EVALUATIONS",
    "EVENTS",
    "FORMAT_VERSION",
    "HISTOGRAMS",
    "MODULES",
    "OPERATIONS",
    "ROWS",
    "STEPS",
    "TABLES",
    "TENSORS",
    "ActiveFacts",
    "AttentionFacts",
    "Column",
    "ConstantFacts",
    "ConstantSourceFacts",
    "CopyFacts",
    "DataFacts",
    "DisabledFacts",
    "EmbeddingFacts",
    "EmbeddingLookFacts",
    "FactorFacts",
    "Facts",
    "GraphFacts",
    "GraphLookFacts",
    "GraphsKept",
    "LoadFacts",
    "LoaderFacts",
    "LossFacts",
    "MemorySample",
    "Meta",
    "ModeFacts",
    "ModelStateFacts",
    "ModuleFacts",
    "NormFacts",
    "OperationFacts",
    "OptimizerFacts",
    "OptimizerLives",
    "OutputFacts",
    "OutsideFacts",
    "PrivateFacts",
    "ReplacedFacts",
    "ScalingFacts",
    "ScheduleFacts",
    "SchedulerFacts",
    "SoftmaxFacts",
    "Table",
    "TensorFacts",
    "TermFacts",
    "UnregisteredFacts",
    "UserError",
    "ViewFacts",
    "arrow_schema",
]
