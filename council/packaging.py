"""What the MLflow UI shows of a council: a signature, and a description that a person can read."""

from __future__ import annotations

import shutil
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from council.bundle import load_bundle
from council.manifest import Manifest


def package(bundle: Path, target: Path, place: str) -> Path:
    """Lay out the folder of a version.

    Where the full MLflow is installed the folder is a pyfunc model from code (:mod:`council.served`) with a signature;
    with mlflow-skinny it is the bundle alone, at the same place.

    Parameters
    ----------
    bundle
        The bundle.
    target
        Folder to make.
    place
        Where in ``target`` the bundle goes.
    """
    inside = target / place
    if find_spec("pandas") is None:
        shutil.copytree(bundle, inside)
        return target
    with warnings.catch_warnings():
        # MLflow warns people of type hints in its own modules when it is imported, and of those in served.py.
        warnings.simplefilter("ignore", UserWarning)
        _save_pyfunc(bundle, target, inside.name)
    return target


def _save_pyfunc(bundle: Path, target: Path, key: str) -> None:
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types import ColSpec, DataType, Schema

    # An artifact keeps the name of its folder, so the bundle is given under the name that it shall have.
    copy = shutil.copytree(bundle, target.with_name("scratch") / key)
    inputs = Schema([ColSpec(DataType.double, name) for name in load_bundle(bundle).engine_features])
    outputs = Schema([ColSpec(DataType.long, "side"), ColSpec(DataType.double, "confidence")])
    save_model(
        path=str(target),
        python_model=str(Path(__file__).with_name("served.py")),
        artifacts={key: copy.as_uri()},
        signature=ModelSignature(inputs=inputs, outputs=outputs),
        # Named, or MLflow would import the model in a process of its own to find out.
        pip_requirements=["purplesky"],
    )


def describe(manifest: Manifest) -> str:
    """A version's description: the verdict first, then the gate's figures, as Markdown."""
    gate = dict(manifest.gate)
    reasons = gate.pop("reasons", [])
    verdict = "passed" if gate.pop("passed") else "failed"
    figures = gate.pop("figures", {})
    rows = {**gate, **(figures if isinstance(figures, dict) else {})}
    lines = [
        f"**Gate {verdict}**: {manifest.symbol} {manifest.timeframe}, {manifest.levels} levels",
        "",
        *(f"- {reason}" for reason in reasons),
        "",
        "| figure | value |",
        "|---|---|",
        *(f"| {name} | {_shown(value)} |" for name, value in rows.items()),
    ]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else "unknown" if value is None else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
