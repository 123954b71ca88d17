"""Great Expectations: run the checks of one day, and write its Data Docs."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows._checks import SEVERITY, TABLES, Check
from flows._offline import make_offline
from market.errors import DataError

#: The column that names the rows of a table.
LABELS = {"minutes": "minute", "day": "date", "features": "feature", "bars": "bar", "drift": "feature"}


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
        Observed value of one number of the table; ``None`` for checks of every row.
    rows
        Rows that do not comply, for checks of every row that failed.
    """

    check: Check
    state: str
    observed: float | None
    rows: tuple[int, ...]


def run_suite(
    tables: Mapping[str, dict[str, Any]],
    suite: Sequence[Check],
    *,
    name: str,
    run: str,
    site: Path | None,
    versions: Mapping[str, str] | None = None,
) -> list[Outcome]:
    """Judge tables.

    Parameters
    ----------
    tables
        Columns by table: see :mod:`flows._quality_checks`.
    suite
        The checks; those of tables that are not there are left out.
    name
        Begins the names of the suites, which are those of the pages that list their expectations.
    run
        Name of the run: the day.
    site
        Folder of the Data Docs, or ``None`` for none. Pages of other runs stay, an earlier page of this run is
        replaced.
    versions
        Of the suites, for their pages.

    Returns
    -------
    list of Outcome
        In the order of the checks.

    Raises
    ------
    DataError
        A check could not be evaluated, or went missing on the way: that is not a passed check.
    """
    suite = [check for check in suite if check.table in tables]
    # Great Expectations removes the pages of runs that its context does not know: it writes elsewhere, and we merge.
    with _quiet(), tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch) / "site"
        result = _run(tables, suite, name, run, None if site is None else fresh, versions or {})
        if site is not None:
            make_offline(fresh)
            _merge(fresh, site, name, run, tables)
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
    """No analytics, no progress bars, no chatter; as far as the library can be told.

    Nor garbage collection: its import makes a million objects that stay, and looking through them again and again takes
    an eighth of the time.
    """
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    logger = logging.getLogger("great_expectations")
    level, collected = logger.level, gc.isenabled()
    gc.disable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            logger.setLevel(logging.ERROR)
            yield
        finally:
            logger.setLevel(level)
            if collected:
                gc.enable()


def suite_name(name: str, table: str) -> str:
    """Name of the suite of one table."""
    return f"{name}-{table}"


def _run(
    tables: Mapping[str, dict[str, Any]],
    suite: Sequence[Check],
    name: str,
    run: str,
    site: Path | None,
    versions: Mapping[str, str],
) -> list[Any]:
    import great_expectations as gx
    import pandas as pd
    from great_expectations.data_context.types.base import ProgressBarsConfig

    # This module speaks for itself, whatever the library's own logger is told.
    logging.getLogger(ProgressBarsConfig.__module__).setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    for own in list(context.get_site_names()):
        # An ephemeral context comes with a site in a temporary folder of its own.
        context.delete_data_docs_site(own)
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
    source = context.data_sources.add_pandas("lake")
    found: list[Any] = []
    for table, columns in tables.items():
        own_checks = [check for check in suite if check.table == table]
        if not own_checks:
            continue
        # Only what is judged is handed over: a frame is copied and described several times on the way.
        wanted = {name for check in own_checks for name in (check.column, check.whole) if name in columns}
        rows = len(columns[LABELS[table]])
        frame = pd.DataFrame({LABELS[table]: columns[LABELS[table]], "row": range(rows)})
        for column in sorted(wanted):
            frame[column] = columns[column]
        batch = source.add_dataframe_asset(table).add_batch_definition_whole_dataframe(run)
        level = TABLES[table]
        # All at once: a suite that is known to the context is stored again with each expectation that it is given.
        expectations = context.suites.add(
            gx.ExpectationSuite(
                name=suite_name(name, table),
                expectations=[_expectation(check) for check in own_checks],
                notes=f"Suite {level}, version {versions[level]}" if level in versions else None,
                meta={"level": level, "version": versions.get(level, "")},
            )
        )
        definition = context.validation_definitions.add(
            gx.ValidationDefinition(name=suite_name(name, table), data=batch, suite=expectations)
        )
        result = definition.run(
            batch_parameters={"dataframe": frame},
            run_id=gx.RunIdentifier(run_name=run),
            result_format={
                "result_format": "COMPLETE",
                "unexpected_index_column_names": [LABELS[table], "row"],
                "return_unexpected_index_query": False,
            },
        )
        found += result.results
    if site is not None:
        # Once for all tables, and without the front page, which is ours.
        context.build_data_docs(site_names=["site"], build_index=False)
    return found


_JUDGED = {
    "rows": "rows ",
    "increasing": "",
    "values": "every row ",
    "sum": "sum ",
    "mean": "mean ",
    "median": "median ",
    "share": "share ",
    "figure": "",
    "clock": "shift ",
    "grid": "common divisor ",
}


def _expectation(check: Check) -> Any:
    from great_expectations import expectations as gxe

    common: dict[str, Any] = {
        "severity": SEVERITY[check.action],
        "meta": {"check": check.name, "action": check.action, "table": check.table},
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
    if check.rule in ("share", "figure", "clock", "grid"):
        from flows._expectations import OWN

        return OWN[check.rule](whole=check.whole, **common)
    if check.rule == "values":
        return gxe.ExpectColumnValuesToBeBetween(mostly=check.mostly, **common)
    kinds = {
        "sum": gxe.ExpectColumnSumToBeBetween,
        "mean": gxe.ExpectColumnMeanToBeBetween,
        "median": gxe.ExpectColumnMedianToBeBetween,
    }
    return kinds[check.rule](**common)


def _merge(fresh: Path, site: Path, name: str, run: str, tables: Iterable[str]) -> None:
    """Put a run's page, the suite's page and the static files into the site; the front page is ours."""
    for table in tables:
        shutil.rmtree(site / "validations" / suite_name(name, table) / run, ignore_errors=True)
    for part in ("static", "expectations", "validations"):
        shutil.copytree(fresh / part, site / part, dirs_exist_ok=True)
