"""The flow ``validate``: judge what the lake holds of a symbol."""

from __future__ import annotations

from prefect import flow, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows import runtime
from flows.validation import FeatureInput, ValidationReport
from flows.validation import validate as judge
from market import Lake
from settings import Settings, timeframe_ms


@task(name="judge", task_run_name="judge {symbol}", cache_policy=NO_CACHE)
def _judge(settings: Settings, symbol: str, date: str | None) -> ValidationReport:
    return judge(
        Lake(settings.paths.lake),
        symbol,
        date,
        reports=settings.paths.reports,
        stall_ms=settings.market.stall_ms,
        features=FeatureInput(
            settings.paths.features, timeframe_ms(settings.training.timeframe), settings.market.ob_levels
        ),
        progress=runtime.say,
    )


@flow(name="validate", flow_run_name="validate {symbol}", retries=0)
def validate(symbol: str, date: str | None = None, config: str | None = None) -> ValidationReport:
    """Judge one UTC day, or all days, of a symbol; the report says whether training is blocked.

    Parameters
    ----------
    symbol
        Contract.
    date
        ``YYYY-MM-DD``; ``None`` for every day in the lake.
    config
        Settings file, for runs that Prefect starts.
    """
    settings = runtime.current(config)
    report = _judge(settings, symbol, date)
    _publish(settings, report)
    for finding in report.findings:
        runtime.say(str(finding))
    runtime.say(f"{symbol}: {report.status}; {len(report.days)} days judged; report: {report.report}")
    return report


def _publish(settings: Settings, report: ValidationReport) -> None:
    key = f"validation-{report.symbol.lower()}"
    lines = [f"# {report.symbol}: {report.status}", ""]
    lines += [f"- **{day.date}** {day.verdict}" for day in report.days]
    if report.findings:
        lines += ["", "| day | if it fails | found | detail |", "|---|---|---|---|"]
        lines += [f"| {f.date} | {f.action} | {f.failure} | {f.detail} |" for f in report.findings]
    create_markdown_artifact(key=key, markdown="\n".join(lines), description=f"Data validation of {report.symbol}")
    page = report.report.relative_to(settings.paths.reports).as_posix()
    create_link_artifact(
        key=f"{key}-pages",
        link=f"http://127.0.0.1:{settings.reports.port}/{page}",
        link_text=f"{report.symbol}: pages of data validation (while `purplesky ui` runs)",
    )
