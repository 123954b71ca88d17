"""The flow ``train``: features, study, council, gate, registry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext

from council import Registry, load_bundle
from features import Bars, FeatureStore, feature_names, spec_hash
from flows import runtime
from flows._verdict import Verdict, add_section, current_verdict, windows_of
from market import Lake
from market.days import lake_days, old_rules
from market.errors import BundleError, NoProductionError, RegistryError, RegistryUnavailable
from market.quality import Window
from settings import Settings, timeframe_ms
from training.challenger import Champion
from training.funding import Funding, funding_of
from training.pipeline import TrainingResult
from training.pipeline import train as study

#: Tag of a version: what it was trained on and how, so that a night does nothing twice.
KEY_TAG = "night_key"


@dataclass(frozen=True, slots=True)
class TrainOutcome:
    """A registered council.

    Attributes
    ----------
    name, version
        In the registry.
    result
        What training left behind.
    """

    name: str
    version: int
    result: TrainingResult


@flow(name="train", flow_run_name="train {symbol}", retries=0)
def train(symbol: str, config: str | None = None, key: str = "") -> TrainOutcome:
    """Tune and train a council on all that the lake holds of a symbol, and register it, whatever the gate says.

    Parameters
    ----------
    symbol
        Contract.
    config
        Settings file, for runs that Prefect starts.
    key
        Kept as a tag of the version; see :func:`flows.nightly.night_key`.
    """
    settings = runtime.current(config)
    registry = Registry(settings.registry_uri, settings.paths.mlruns / "artifacts")
    name = settings.model_name(symbol, settings.training.timeframe)
    if not settings.registry_uri.startswith("sqlite:"):
        # A study may take hours: whether its result can be registered is asked before it begins.
        registry.versions(name)
    bars, verdict = _bars(settings, symbol)
    result = _study(settings, symbol, bars, _champion(settings, registry, name))
    add_section(result.report, verdict)
    version = _register(settings, registry, name, result, verdict, key)
    _tell(name, version, result)
    return TrainOutcome(name, version, result)


@task(name="features", task_run_name="features of {symbol}", cache_policy=NO_CACHE)
def _bars(settings: Settings, symbol: str) -> tuple[Bars, Verdict]:
    lake = Lake(settings.paths.lake)
    with runtime.Meter() as meter:
        bars = FeatureStore(settings.paths.features).by_day(
            lake_days(lake, symbol),
            symbol,
            timeframe_ms(settings.training.timeframe),
            settings.market.ob_levels,
            settings.market.stall_ms,
            progress=lambda events: meter(f"features: {events:,} events"),
        )
    verdict = current_verdict(settings.paths.reports / symbol, lake, symbol)
    for line in verdict.text():
        runtime.say(f"validation: {line}")
    if verdict.unjudged:
        runtime.say(f"to judge those days: purplesky validate --symbol {symbol}")
    masked = masked_bars(bars, windows_of(verdict))
    lost = int(bars.valid.sum() - masked.valid.sum())
    runtime.say(f"{len(bars):,} bars, {int(masked.valid.sum()):,} usable; validation took {lost:,} out")
    return masked, verdict


def masked_bars(bars: Bars, windows: Iterable[Window]) -> Bars:
    """The bars with those that touch a window marked invalid, their values unknown."""
    valid = bars.valid.copy()
    for window in windows:
        valid &= (bars.close_ms <= window.start_ms) | (bars.open_ms >= window.end_ms)
    return replace(bars, valid=valid, values=np.where(valid[:, None], bars.values, np.nan))


@task(name="study", task_run_name="study of {symbol}", cache_policy=NO_CACHE)
def _study(settings: Settings, symbol: str, bars: Bars, champion: Champion | None) -> TrainingResult:
    lake = Lake(settings.paths.lake)
    bar_ms, levels = timeframe_ms(settings.training.timeframe), settings.market.ob_levels
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    old = old_rules(lake, symbol)
    with runtime.Meter() as meter:
        return study(
            bars,
            lambda: lake.events(symbol, None if old is None else old.until_ms),
            symbol=symbol,
            instrument=lake.instrument(symbol),
            levels=levels,
            spec_hash=spec_hash(bar_ms, levels, settings.market.stall_ms),
            feature_names=feature_names(levels),
            data_fingerprint=lake.fingerprint(symbol),
            settings=settings,
            funding=_funding(lake, symbol),
            champion=champion,
            folder=settings.paths.data / "training" / settings.model_name(symbol, settings.training.timeframe) / stamp,
            progress=lambda stage, done, total: meter(f"{stage}: {done} of {total}"),
        )


def _funding(lake: Lake, symbol: str) -> Funding:
    funding = funding_of(lake, symbol)
    if funding.unknown:
        runtime.say(
            f"funding: {funding.unknown} of {len(funding)} payments have no known rate; "
            "the outcome of a plan that was open then counts as unknown"
        )
    return funding


def _champion(settings: Settings, registry: Registry, name: str) -> Champion | None:
    """What is in Production, to be compared with; None, and said so, if there is nothing or it cannot be had."""
    try:
        version = registry.production(name).version
        bundle = registry.fetch(name, version, settings.paths.data / "training" / "champions")
    except NoProductionError:
        return None
    except (RegistryError, BundleError) as error:
        runtime.say(f"not compared with Production: {error}")
        return None
    return Champion(f"{name} version {version}", bundle)


def _attempt() -> int:
    """Which attempt of the task this is, from 1 on."""
    context = TaskRunContext.get()
    return context.task_run.run_count if context is not None else 1


def _unavailable(task: object, run: object, state: State[Any]) -> bool:
    """Whether registering may be tried again: the registry was down, and made no version."""
    return isinstance(state.result(raise_on_failure=False), RegistryUnavailable)


@task(
    name="register",
    task_run_name="register {name}",
    cache_policy=NO_CACHE,
    retries=3,
    retry_delay_seconds=[2, 10, 30],
    retry_condition_fn=_unavailable,
)
def _register(
    settings: Settings, registry: Registry, name: str, result: TrainingResult, verdict: Verdict, key: str
) -> int:
    """Put the council into the registry: a study of hours is not lost to a server that is started again."""
    rules = settings.training
    known = {KEY_TAG: key} if key else {}
    manifest = load_bundle(result.bundle).manifest
    content = manifest.content_hash if manifest is not None else ""
    # An attempt whose answer was lost may have made the version.
    versions = registry.versions(name) if _attempt() > 1 else []
    if versions and content and versions[-1].content_hash == content:
        return versions[-1].version
    return registry.register(
        name,
        result.bundle,
        report=result.report,
        metrics=result.metrics,
        params={**rules.model_dump(mode="json"), "ob_levels": settings.market.ob_levels},
        tags=result.tags
        | known
        | verdict.tags(f"http://127.0.0.1:{settings.reports.port}/{verdict.symbol}/index.html"),
        description=result.description + verdict.markdown(),
    )


def _tell(name: str, version: int, result: TrainingResult) -> None:
    verdict = "PASSED" if result.gate.passed else "FAILED"
    runtime.say(
        f"{name} version {version} registered; gate {verdict} "
        f"(deflated Sharpe {result.gate.dsr:.3f}, overfitting probability {result.gate.pbo:.3f})"
    )
    for reason in result.gate.reasons:
        if not reason.passed:
            runtime.say(f"gate: {reason.text}")
    if result.comparison is not None:
        runtime.say(result.comparison.text())
    runtime.say(f"report: {result.report}")
    create_markdown_artifact(
        key=f"training-{name.lower()}",
        markdown=f"# {name} version {version}: gate {verdict}\n\n{result.description}\n\nReport: `{result.report}`",
        description=f"Training of {name}",
    )
