"""The reference pages, made from the code: ``python -m tests.docs.reference --write`` writes ``docs/reference/``."""

from __future__ import annotations

import argparse
import ast
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import click
import yaml  # type: ignore[import-untyped, unused-ignore]
from pydantic.fields import FieldInfo

import purplesky
import settings
from executor import notify, telemetry
from market import errors, metrics
from tests.docs import formats, wording
from tests.docs.source import ROOMS, ROOT, calls, modules, plain, table, written
from tests.docs.wording import intro

FOLDER = ROOT / "docs" / "reference"
_NOTE = "<!-- Made from the code by `python -m tests.docs.reference --write`; do not edit. -->\n\n"


# --- the command line ------------------------------------------------------------------------------------------------


def cli() -> str:
    """Every command with its arguments and options."""
    context = click.Context(purplesky.cli, info_name="purplesky", max_content_width=110)
    parts = [
        "# Command line\n",
        intro("cli"),
        _options(purplesky.cli),
    ]
    for name in sorted(purplesky.cli.commands):
        parts += list(_command(purplesky.cli.commands[name], context, name))
    return "\n".join(parts)


def _command(command: click.Command, parent: click.Context, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    yield f"## {name}\n" if parent.parent is None else f"### {context.command_path.removeprefix('purplesky ')}\n"
    yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```\n"
    yield plain((command.help or "").replace("\b", "")) + "\n"
    if any(isinstance(one, click.Option) for one in command.params):
        yield _options(command)
    if isinstance(command, click.Group):
        for sub in sorted(command.commands):
            yield from _command(command.commands[sub], context, sub)


def _options(command: click.Command) -> str:
    rows = []
    for option in command.params:
        if not isinstance(option, click.Option) or option.hidden:
            continue
        metavar = "" if option.is_flag else " " + option.make_metavar(click.Context(command))
        text = plain(option.help or wording.OPTIONS[f"{command.name}.{option.name}"])
        given = option.default
        if option.show_default and isinstance(given, (int, float, str)) and not isinstance(given, bool):
            text += f" [default: {given}]"
        names = ", ".join([*option.opts, *option.secondary_opts])
        rows.append((f"`{names}{metavar}`".replace("|", "\\|"), text + (" **Required.**" if option.required else "")))
    return table(("option", "meaning"), rows)


# --- settings --------------------------------------------------------------------------------------------------------


def config() -> str:
    """Every setting, its type, default and meaning."""
    parts = [
        "# Settings\n",
        intro("config"),
    ]
    for name, field in settings.Settings.model_fields.items():
        section = typing.cast("type[settings.Section]", field.annotation)
        parts += [f"## [{name}]\n", plain(section.__doc__ or "") + "\n"]
        if name == "secrets":
            secrets = [(f"`{key.upper()}`", wording.SETTINGS[f"secrets.{key}"]) for key in section.model_fields]
            parts += [table(("environment variable", "meaning"), secrets)]
            continue
        rows = []
        for key, one in section.model_fields.items():
            text = plain(one.description or wording.SETTINGS[f"{name}.{key}"])
            rows.append((f"`{key}`", _type(one), f"`{_toml(one.default)}`", text))
        parts += [table(("key", "value", "default", "meaning"), rows)]
    return "\n".join(parts)


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, (str, Path, Decimal)) else repr(value)


def _type(field: FieldInfo) -> str:
    words = _type_name(field.annotation)
    limits = []
    for one in field.metadata:
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
            if getattr(one, name, None) is not None:
                limits.append(f"{sign} {getattr(one, name)}")
    return ", ".join([words, *limits]).replace("|", "\\|")


def _type_name(kind: object) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(f"`{one}`" for one in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return f"list of {_type_name(typing.get_args(kind)[0])}s"
    if typing.get_origin(kind) is typing.Annotated:
        return _type_name(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (dict, types.UnionType, typing.Union):
        return "table" if typing.get_origin(kind) is dict else "text or none"
    names = {int: "integer", float: "number", str: "text", bool: "true or false", Decimal: "decimal", Path: "path"}
    return names.get(typing.cast("type", kind), str(getattr(kind, "__name__", kind)))


# --- metrics ---------------------------------------------------------------------------------------------------------


def metric_pages() -> str:
    """Names and meanings of what Prometheus gets."""
    parts = [
        "# Metrics\n",
        intro("metrics"),
        "## Executor\n",
        intro("metrics.executor"),
        table(("metric", "kind", "meaning"), sorted(_executor_metrics())),
        "## Recorder\n",
        "At `http://127.0.0.1:<port>/metrics` where `purplesky capture --metrics-port <port>` was told so.\n",
        table(("metric", "kind", "meaning"), sorted(_recorder_metrics())),
    ]
    return "\n".join(parts)


def _executor_metrics() -> Iterator[tuple[str, str, str]]:
    for name, text in telemetry._COUNTS.items():
        yield f"`purplesky_executor_{name}_total`", "counter", text
    tree = dict(modules("executor"))["executor.telemetry"]
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple)):
            continue
        shown, words = node.value.elts[:2]
        if isinstance(shown, ast.Constant):
            yield f"`purplesky_executor_{written(shown)}`", "gauge", written(words)
        else:
            for voice in _voice_counts():
                yield f"`purplesky_executor_{voice}`", "gauge", wording.VOICES[voice]


def _voice_counts() -> list[str]:
    """The keys of :meth:`executor.voices.Voices.counts`."""
    tree = dict(modules("executor"))["executor.voices"]
    (function,) = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "counts"]
    (given,) = [node for node in ast.walk(function) if isinstance(node, ast.Dict)]
    return [written(key) for key in given.keys if key is not None]


def _recorder_metrics() -> Iterator[tuple[str, str, str]]:
    for name, text, _ in metrics._COUNTERS:
        yield f"`purplesky_recorder_{name}_total`", "counter", text
    for name, text, _ in metrics._GAUGES:
        yield f"`purplesky_recorder_{name}`", "gauge", text
    yield "`purplesky_recorder_book_checks_total`", "counter", "Comparisons with the REST book, by `outcome`"


# --- what is said, and refused ---------------------------------------------------------------------------------------


def notifications() -> str:
    """Every remark of the executor, by code."""
    rows: dict[tuple[str, str], list[str]] = {}
    for function in _functions("executor"):
        named = _named_texts(function)
        for call in calls(function, "Alert", "hear", "tell", "_tell", "say"):
            if len(call.args) != 3:
                continue
            level, code, text = (written(one) for one in call.args)
            code = wording.CODES.get(code, code)
            if level not in notify._LEVELS or code.startswith("<"):
                continue
            before = [one for line, one in named.get(getattr(call.args[2], "id", ""), []) if line <= call.lineno]
            text = before[-1] if before else text
            # What consists of values alone says nothing here.
            told = rows.setdefault((code, level), [])
            if re.search("[a-z]{3}", re.sub("<[^<>]*>", "", text)):
                told.append(text)
    order = {"critical": 0, "warning": 1, "info": 2}
    lines = []
    for (code, level), texts in sorted(rows.items(), key=lambda item: (order[item[0][1]], item[0][0])):
        said = "; ".join(dict.fromkeys(plain(text) for text in texts)) or wording.SAID[code]
        lines.append((f"`{code}`", level, "yes" if level != "info" or code in notify.TOLD else "log only", _code(said)))
    return "\n".join(
        [
            "# Notifications\n",
            intro("notifications"),
            table(("code", "level", "notified", "text"), lines),
        ]
    )


def _functions(room: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for _, tree in modules(room):
        yield from (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def _named_texts(function: ast.AST) -> dict[str, list[tuple[int, str]]]:
    """Texts that a function gives a name before it says them: line and text."""
    found: dict[str, list[tuple[int, str]]] = {}
    for node in ast.walk(function):
        if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
            continue
        if isinstance(node.value, (ast.Constant, ast.JoinedStr, ast.BinOp, ast.IfExp)):
            found.setdefault(node.targets[0].id, []).append((node.lineno, written(node.value)))
    return {name: sorted(texts) for name, texts in found.items()}


def _code(text: str) -> str:
    return text.replace("<", "‹").replace(">", "›")


def gate() -> str:
    """The conditions of the gate."""
    tree = dict(modules("training"))["training.gate"]
    names = [written(call.args[0]) for call in calls(tree, "Reason")]
    limits = settings.Gate.model_fields
    rows = []
    for name in names:
        text, keys = wording.GATE[name]
        limit = ", ".join(f"`gate.{key}` = {limits[key].default}" for key in keys) or "fixed"
        rows.append((f"`{name}`", limit, text))
    unused = set(limits) - {key for name in names for key in wording.GATE[name][1]}
    if unused:
        raise SystemExit(
            f"tests/docs/wording.py does not say which condition uses gate.{', gate.'.join(sorted(unused))}"
        )
    return "\n".join(
        [
            "# Conditions of the gate\n",
            intro("gate"),
            table(("condition", "limit", "what must hold"), rows),
        ]
    )


def error_pages() -> str:
    """Exit codes, and the exception tree."""
    rows = []
    known = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    for room, tree in modules(*ROOMS):
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef) or not node.bases:
                continue
            base = getattr(node.bases[0], "id", getattr(node.bases[0], "attr", ""))
            if base in known:
                known.add(node.name)
                code = next(
                    (written(line.value) for line in node.body if isinstance(line, ast.Assign)
                     and getattr(line.targets[0], "id", "") == "exit_code"), "2"
                )  # fmt: skip
                text = plain((ast.get_docstring(node) or "").split("\n\n")[0])
                rows.append((f"`{node.name}`", f"`{base}`", code, f"`{room}`", text))
    return "\n".join(
        [
            "# Errors and exit codes\n",
            table(("exit code", "meaning"), [(f"{code}", text) for code, text in wording.EXIT_CODES]),
            intro("errors"),
            table(("error", "a kind of", "exit code", "module", "meaning"), rows),
        ]
    )


def deployments() -> str:
    """What ``prefect.yaml`` schedules."""
    plan_ = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    rows = []
    for one in plan_["deployments"]:
        schedules = one.get("schedules") or []
        off = {True: "", False: ", switched off"}
        told = [f"`{made['cron']}` {made.get('timezone', 'UTC')}{off[made.get('active', True)]}" for made in schedules]
        when = ", ".join(told) or "on demand"
        given = ", ".join(f"`{key}` = {value}" for key, value in (one.get("parameters") or {}).items()) or "-"
        limit = one.get("concurrency_limit", "-")
        limit = limit["limit"] if isinstance(limit, dict) else limit
        rows.append((f"`{one['name']}`", when, f"{limit}", given, plain(one.get("description", ""))))
    return "\n".join(
        [
            "# Deployments\n",
            "What `prefect.yaml` declares; flows live in `flows/`. Times are UTC.\n",
            table(("deployment", "schedule", "at a time", "parameters", "what it does"), rows),
        ]
    )


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli,
    "config.md": config,
    "metrics.md": metric_pages,
    "bundle.md": formats.bundle_format,
    "lake.md": formats.lake_schema,
    "journal.md": formats.journal_schema,
    "notifications.md": notifications,
    "gate.md": gate,
    "errors.md": error_pages,
    "deployments.md": deployments,
}


def page(name: str) -> str:
    """The text of one page."""
    return _NOTE + PAGES[name]().rstrip() + "\n"


def main() -> None:
    """Write, or say what is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    stale = []
    for name in PAGES:
        path = FOLDER / name
        text = page(name)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if write:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    print(("written: " if write else "out of date: ") + (", ".join(stale) or "none"))
    sys.exit(0 if write or not stale else 1)


if __name__ == "__main__":
    main()
