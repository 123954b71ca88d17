"""The council as MLflow's pyfunc, for people who look at a version in the MLflow UI or ask it in a notebook.

This file is copied beside the bundle and named by its ``MLmodel`` ("models from code": nothing is pickled). The
executor never runs it: it reads the bundle itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from council.bundle import load_bundle


class CouncilModel(PythonModel):  # type: ignore[misc]
    """Votes on a table of feature vectors."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the bundle that lies beside this file."""
        self.council = load_bundle(Path(context.artifacts["council"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Vote.

        Parameters
        ----------
        context
            Of MLflow.
        model_input
            With a column per feature of the engine.
        params
            None are known.

        Returns
        -------
        DataFrame
            ``side`` (-1, 0, +1) and ``confidence`` per row.
        """
        rows = model_input[list(self.council.engine_features)].to_numpy(dtype=float)
        decisions = self.council.vote_many(rows)
        return pd.DataFrame({"side": decisions.side.astype("int64"), "confidence": decisions.confidence})


set_model(CouncilModel())
