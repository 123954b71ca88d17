"""Great Expectations: run the checks of one day, and write its Data Docs so that they can be read offline."""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from flows import _docs_assets as assets
from flows._quality_checks import SEVERITY, Check
from market.errors import DataError

#: Attributes that make a browser fetch something.
_FETCHING = {"src", "srcset", "poster", "data", "background"}
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
#: Of the files that Great Expectations copies into a site, those that its pages show.
_KEPT = {"logo-long.png"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What Great Expectations found for one check.

    Attributes
    ----------
    check
        The check.
    state
        ``passed``, ``failed``, or ``unknown`` where there was nothing to judge.
    observed
        Observed value of a sum, mean, median or row count; ``None`` for checks of every minute.
    rows
        Rows that do not comply, for checks of every minute that failed.
    """

    check: Check
    state: str
    observed: float | None
    rows: tuple[int, ...]


def run_suite(
    columns: dict[str, Any], suite: Sequence[Check], *, name: str, run: str, site: Path | None
) -> list[Outcome]:
    """Judge a table.

    Parameters
    ----------
    columns
        See :func:`flows._quality_checks.frame_columns`.
    suite
        The checks.
    name
        Name of the suite, which is the name of the page that lists its expectations.
    run
        Name of the run: the day.
    site
        Folder of the Data Docs, or ``None`` for none. Pages of other runs stay, an earlier page of this run is
        replaced.

    Raises
    ------
    DataError
        A check could not be evaluated, or went missing on the way: that is not a passed check.
    """
    # Great Expectations removes the pages of runs that its context does not know: it writes elsewhere, and we merge.
    with _quiet(), tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch) / "site"
        result = _run(columns, suite, name, run, None if site is None else fresh)
        if site is not None:
            make_offline(fresh)
            _merge(fresh, site, name, run)
    by_name: dict[str, Outcome] = {}
    known = {check.name: check for check in suite}
    for item in result:
        check = known[item.expectation_config.meta["check"]]
        by_name[check.name] = _outcome(check, item)
    missing = [check.name for check in suite if check.name not in by_name]
    if missing or len(result) != len(suite):
        raise DataError(
            f"of {len(suite)} checks {len(result)} were evaluated (missing: {', '.join(missing) or 'none'})",
            advice="Report it: a check that is not evaluated must never look like one that passed",
        )
    return [by_name[check.name] for check in suite]


def _outcome(check: Check, item: Any) -> Outcome:
    raised = _raised(item.exception_info or {})
    if raised:
        raise DataError(
            f"check {check.name} could not be evaluated ({raised})",
            advice="Report it with the quality table of the day",
        )
    result = item.result
    count, missing = result.get("element_count"), result.get("missing_count")
    if check.rule in ("values", "increasing"):
        state = "passed" if item.success else "failed"
        if count is not None and count == missing:
            state = "unknown"
        rows = () if item.success else tuple(sorted(_row(row) for row in result.get("unexpected_index_list") or ()))
        return Outcome(check, state, None, rows)
    observed = result.get("observed_value")
    if observed is None or observed != observed:
        return Outcome(check, "unknown", None, ())
    return Outcome(check, "passed" if item.success else "failed", float(observed), ())


def _row(entry: Any) -> int:
    return int(entry["row"] if isinstance(entry, dict) else entry)


def _raised(info: dict[str, Any]) -> str:
    """The message of an exception within a check; empty if there was none.

    Great Expectations gives either one record, or one a metric.
    """
    for record in [info, *(value for value in info.values() if isinstance(value, dict))]:
        if record.get("raised_exception"):
            return str(record.get("exception_message") or "no message")
    return ""


@contextmanager
def _quiet() -> Iterator[None]:
    """No analytics, no progress bars, no chatter; as far as the library can be told."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    logger = logging.getLogger("great_expectations")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            logger.setLevel(logging.ERROR)
            yield
        finally:
            logger.setLevel(level)


def _run(columns: dict[str, Any], suite: Sequence[Check], name: str, run: str, site: Path | None) -> list[Any]:
    import great_expectations as gx
    import pandas as pd
    from great_expectations.data_context.types.base import ProgressBarsConfig

    frame = pd.DataFrame({**columns, "row": range(len(columns["minute_ms"]))})
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    for own in list(context.get_site_names()):
        # An ephemeral context comes with a site in a temporary folder of its own.
        context.delete_data_docs_site(own)
    actions = []
    if site is not None:
        context.add_data_docs_site(
            "site",
            {
                "class_name": "SiteBuilder",
                "show_how_to_buttons": False,
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder", "show_cta_footer": False},
                "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(site)},
            },
        )
        actions.append(gx.checkpoint.actions.UpdateDataDocsAction(name="docs", site_names=["site"]))
    batch = (
        context.data_sources.add_pandas("lake").add_dataframe_asset("quality").add_batch_definition_whole_dataframe(run)
    )
    expectations = context.suites.add(gx.ExpectationSuite(name=name))
    for check in suite:
        expectations.add_expectation(_expectation(check))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=expectations))
    checkpoint = gx.Checkpoint(
        name=name,
        validation_definitions=[definition],
        actions=actions,
        result_format={
            "result_format": "COMPLETE",
            "unexpected_index_column_names": ["minute", "row"],
            "return_unexpected_index_query": False,
        },
    )
    result = context.checkpoints.add(checkpoint).run(
        batch_parameters={"dataframe": frame}, run_id=gx.RunIdentifier(run_name=run)
    )
    return [item for validation in result.run_results.values() for item in validation.results]


_JUDGED = {
    "rows": "minutes ",
    "increasing": "",
    "values": "every minute ",
    "sum": "sum of the day ",
    "mean": "mean of the day ",
    "median": "median of the day ",
}


def _expectation(check: Check) -> Any:
    from great_expectations import expectations as gxe

    common: dict[str, Any] = {
        "severity": SEVERITY[check.action],
        "meta": {"check": check.name, "action": check.action},
        "description": f"{check.title} ({check.action}): {_JUDGED[check.rule]}{check.limits}",
        "notes": check.why,
    }
    if check.rule == "rows":
        return gxe.ExpectTableRowCountToBeBetween(
            min_value=int(check.low or 0), max_value=int(check.high or 0), **common
        )
    common["column"] = check.column
    if check.rule == "increasing":
        return gxe.ExpectColumnValuesToBeIncreasing(strictly=True, **common)
    common |= {"min_value": check.low, "max_value": check.high}
    if check.rule == "values":
        return gxe.ExpectColumnValuesToBeBetween(mostly=check.mostly, **common)
    kinds = {
        "sum": gxe.ExpectColumnSumToBeBetween,
        "mean": gxe.ExpectColumnMeanToBeBetween,
        "median": gxe.ExpectColumnMedianToBeBetween,
    }
    return kinds[check.rule](**common)


class _Offline(HTMLParser):
    """Rewrites a page so that a browser fetches nothing from elsewhere.

    Scripts, style sheets and the newsletter's footer go; one style sheet and one small script of ours come instead.
    """

    def __init__(self, root: str) -> None:
        super().__init__(convert_charrefs=False)
        self._root = root
        self._out: list[str] = []
        self._skipped = ""
        self._depth = 0

    def text(self) -> str:
        return re.sub(r"(?:[ \t]*\n){3,}", "\n\n", "".join(self._out))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if self._skipped:
            self._depth += tag == self._skipped
            return
        given = {key: value or "" for key, value in attributes}
        if tag in ("script", "style", "footer"):
            self._skipped, self._depth = tag, 1
            return
        if tag == "link":
            return
        if tag == "img" and _elsewhere(given.get("src", "")):
            given["src"] = f"{self._root}static/images/logo-long.png"
        if tag == "a" and _elsewhere(given.get("href", "")):
            given.pop("href")
        for key in [key for key, value in given.items() if key in _FETCHING and _elsewhere(value)]:
            given.pop(key)
        text = "".join(f' {key}="{_escape(value)}"' for key, value in given.items())
        self._out.append(f"<{tag}{text}>")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in _VOID and not self._skipped:
            self._out.append(f"</{tag}>")
        elif self._skipped == tag:
            self._skipped = ""

    def handle_endtag(self, tag: str) -> None:
        if self._skipped:
            self._depth -= tag == self._skipped
            if self._depth == 0:
                self._skipped = ""
            return
        if tag == "head":
            self._out.append(
                '<link rel="icon" href="data:,">\n'
                f'<link rel="stylesheet" href="{self._root}static/{assets.STYLE_NAME}">\n'
                f'<script defer src="{self._root}static/{assets.SCRIPT_NAME}"></script>\n'
            )
        if tag not in _VOID:
            self._out.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self._keep(data)

    def handle_entityref(self, name: str) -> None:
        self._keep(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self._keep(f"&#{name};")

    def handle_decl(self, decl: str) -> None:
        self._keep(f"<!{decl}>")

    def _keep(self, text: str) -> None:
        if not self._skipped:
            self._out.append(text)


def _elsewhere(address: str) -> bool:
    return address.strip().lower().startswith(("http:", "https:", "//"))


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def _merge(fresh: Path, site: Path, name: str, run: str) -> None:
    """Put a run's page, the suite's page and the static files into the site; the front page is ours."""
    shutil.rmtree(site / "validations" / name / run, ignore_errors=True)
    for part in ("static", "expectations", "validations"):
        shutil.copytree(fresh / part, site / part, dirs_exist_ok=True)


def make_offline(site: Path) -> None:
    """Rewrite the pages of a site, and put our assets beside them."""
    static = site / "static"
    for file in [path for path in static.rglob("*") if path.is_file() and path.name not in _KEPT]:
        file.unlink()
    for folder in sorted((path for path in static.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
    static.mkdir(parents=True, exist_ok=True)
    (static / assets.STYLE_NAME).write_text(assets.STYLE, encoding="utf-8")
    (static / assets.SCRIPT_NAME).write_text(assets.SCRIPT, encoding="utf-8")
    for page in site.rglob("*.html"):
        rewriter = _Offline("../" * (len(page.relative_to(site).parts) - 1))
        rewriter.feed(page.read_text(encoding="utf-8"))
        rewriter.close()
        page.write_text(_PASSED_UNSEEN.sub(_mark_unseen, rewriter.text()), encoding="utf-8")


#: A row whose status is a tick although its observed value is empty: nothing was there to be judged.
_PASSED_UNSEEN = re.compile(r"fa-check-circle text-success((?:(?!</tr>|<i ).)*?>)--(</div>\s*</td>\s*</tr>)", re.DOTALL)


def _mark_unseen(found: re.Match[str]) -> str:
    return f"fa-question text-warning{found[1]}unknown: nothing to judge{found[2]}"
