from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Findings:
    def __init__(self, **kw: Any) -> None:
        self.__dict__.update(kw)


def write_report(path: Path, findings: Findings) -> Path:
    path.write_text("")
    return path


def describe(findings: Findings) -> str:
    return ""
