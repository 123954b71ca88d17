"""The sections: what can be set, within which limits, and what holds if nobody says."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from market.errors import ConfigError

_TIMEFRAME = re.compile(r"([1-9][0-9]*)([smh])")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000}


def timeframe_ms(timeframe: str) -> int:
    """Length of a bar, in ms: ``"5m"`` is 300,000.

    Raises
    ------
    ConfigError
        It is not a number and one of s, m, h, or does not divide a UTC day.
    """
    match = _TIMEFRAME.fullmatch(timeframe)
    length = int(match[1]) * _UNIT_MS[match[2]] if match else 0
    if not length or 86_400_000 % length:
        raise ConfigError(
            f"timeframe {timeframe!r} is not one", advice="Use one that divides a day: 1m, 5m, 15m, 1h, 4h"
        )
    return length


def _check_timeframe(value: str) -> str:
    try:
        timeframe_ms(value)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return value


def _check_symbol(value: str) -> str:
    if not re.fullmatch(r"[A-Z0-9]{5,24}", value):
        raise ValueError("a symbol is 5 to 24 capital letters and digits, like BTCUSDT")
    return value


Symbol = Annotated[str, AfterValidator(_check_symbol)]
Rate = Annotated[Decimal, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Paths(Section):
    """Where things are kept."""

    data: Path = Field(Path("data"), description="lake, features, reports, journals")
    mlruns: Path = Field(Path("mlruns"), description="MLflow artifacts and its SQLite file")

    @property
    def lake(self) -> Path:
        return self.data / "lake"

    @property
    def features(self) -> Path:
        return self.data / "features"

    @property
    def reports(self) -> Path:
        return self.data / "reports"

    @property
    def studies(self) -> Path:
        return self.data / "studies"

    @property
    def executor(self) -> Path:
        return self.data / "executor"


class Venue(Section):
    """The exchange, by address. The local exchange differs from Bybit in nothing else."""

    rest_url: str = "https://api.bybit.com"
    public_url: str = "wss://stream.bybit.com/v5/public/linear"
    private_url: str = "wss://stream.bybit.com/v5/private"
    speed: float = Field(1.0, gt=0, le=10_000, description="how fast the venue's clock runs beside the wall clock")


class Market(Section):
    """What is recorded."""

    symbols: tuple[Symbol, ...] = ("BTCUSDT",)
    ob_levels: Literal[50, 200, 1000] = Field(200, description="levels of the order-book topic")
    stall_ms: int = Field(60_000, ge=1_000, description="silence of the book that makes a suspect window, ms")
    part_seconds: int = Field(300, ge=1, description="a lake part is sealed at least this often")
    idle_seconds: float = Field(10.0, gt=0, description="no data for this long means a dead connection")


class Costs(Section):
    """What trading costs, and how late our orders arrive; used by training, dry-run and reports alike."""

    maker_fee: Annotated[Decimal, Field(ge=Decimal("-0.01"), lt=1)] = Decimal("0.0002")
    taker_fee: Rate = Decimal("0.00055")
    order_latency_ms: int = Field(50, ge=0, le=10_000)


#: One entry of ``[training.space]``: a value, a list of choices, or a range with ``low`` and ``high``.
Choice = bool | int | float | str
Dimension = Choice | list[Choice] | dict[str, bool | int | float]


class Training(Section):
    """The study."""

    timeframe: Annotated[str, AfterValidator(_check_timeframe)] = "5m"
    trials: int = Field(50, ge=2, le=10_000)
    seed: int = Field(7, ge=0)
    groups: int = Field(6, ge=3, le=20, description="CPCV: groups N")
    test_groups: int = Field(2, ge=1, le=10, description="CPCV: test groups k; N choose k splits")
    embargo_bars: int = Field(12, ge=0)
    holdout_share: float = Field(0.2, gt=0, lt=0.6, description="last share of the bars that tuning never reads")
    members: int = Field(5, ge=1, le=15)
    max_correlation: float = Field(0.9, gt=0, le=1, description="members' out-of-fold returns are no nearer than this")
    quorum: float = Field(0.5, gt=0, le=1, description="a side trades when at least this share of members votes for it")
    plan_notional: Decimal = Field(Decimal(1_000), gt=0, description="USDT of one simulated order plan")
    min_bars: int = Field(300, ge=50, description="usable bars below which no training is attempted")
    splits: Literal["cpcv", "walk-forward"] = Field(
        "cpcv", description="walk-forward: one path; the first third of the groups is only trained on"
    )
    workers: int = Field(
        0,
        ge=0,
        le=64,
        description="processes that trials run in; 0 means one a core; results do not depend on it",
    )
    ahead: int = Field(
        4, ge=0, le=64, description="a trial is drawn without the results of this many before it: that many can overlap"
    )
    random_trials: int = Field(10, ge=1, description="trials that are drawn at random before the search learns")
    prune: bool = Field(True, description="stop a trial whose first paths are below the median of those before it")
    min_path_trades: int = Field(10, ge=1, description="trades of a backtest path below which a trial has no score")
    warm_start: bool = Field(True, description="begin with the best of the last study; its trials count as tried too")
    time_budget_s: int = Field(0, ge=0, description="stop starting trials after this long; 0 means never")
    space: dict[str, Dimension] = Field({}, description="replaces entries of the search space: see training/space.py")


class Gate(Section):
    """What a council must show before the executor trades it live."""

    min_dsr: float = Field(0.95, gt=0, lt=1, description="deflated Sharpe ratio, a probability")
    max_loss_probability: float = Field(
        0.2, ge=0, lt=1, description="how often what was best on one half of the data may have lost on the other"
    )
    min_holdout_trades: int = Field(10, ge=0)
    min_holdout_return: float = Field(0.0, description="net return of the council on the hold-out must exceed this")
    max_foresight: float = Field(
        0.65, gt=0, le=1, description="rank correlation with the future beyond which a feature is held to be a leak"
    )
    max_hindsight: float = Field(
        0.6, gt=0, le=1, description="share of what is new in a feature that the next bars may explain"
    )
    min_path_share: float = Field(0.8, ge=0, le=1, description="share of CPCV paths with a positive net return")


class Mlflow(Section):
    """The registry. One address per installation: what a server with proxied artifacts wrote, only it can read."""

    uri: str = Field("", description="empty: the SQLite file in paths.mlruns")
    model_prefix: str = Field("council", pattern=r"^[A-Za-z0-9_-]+$")
    port: int = Field(5000, ge=1, le=65_535)


class Prefect(Section):
    """Orchestration."""

    api_url: str = Field("", description="empty: a server of the run's own, on paths.data/prefect")
    port: int = Field(4200, ge=1, le=65_535)


class Reports(Section):
    """The reports site that `purplesky up` and `purplesky ui` serve."""

    port: int = Field(8090, ge=1, le=65_535)


class Operations(Section):
    """What `purplesky up` runs, how it looks after it, and what is kept."""

    worker_port: int = Field(8085, ge=1, le=65_535, description="health of Prefect's worker")
    metrics_port: int = Field(8086, ge=1, le=65_535, description="metrics of the recorder, for Prometheus")
    exchange_port: int = Field(8899, ge=1, le=65_535, description="the local exchange, with VENUE=local")
    exchange_speed: float = Field(1.0, gt=0, le=10_000, description="market seconds a second of the local exchange")
    exchange_signal: float = Field(1.0, ge=0, description="strength of the local exchange's planted signal")
    start_s: float = Field(300.0, gt=0, description="a part that is not up after this long is started again")
    hang_s: float = Field(90.0, gt=0, description="a part that gives no sign of life for this long is started again")
    backoff_s: float = Field(2.0, gt=0, description="pause before a part is started again; doubles up to a minute")
    wait_s: float = Field(20.0, gt=0, description="pause after an error that a person must mend: no Production yet")
    breaker_deaths: int = Field(5, ge=2, description="deaths within breaker_window_s after which a part is left alone")
    breaker_window_s: float = Field(600.0, gt=0)
    breaker_pause_s: float = Field(1_800.0, gt=0, description="how long it is left alone")
    stop_s: float = Field(30.0, gt=0, description="time for an orderly end before a part is killed")
    parallel_runs: int = Field(2, ge=1, le=64, description="flow runs that the worker starts at a time")
    min_free_bytes: int = Field(1_000_000_000, ge=0, description="a night with less room on the disk does not begin")
    retry_s: float = Field(300.0, gt=0, description="pause before a night is tried again; doubles")
    backups: Path = Field(Path("backups"), description="where `purplesky backup` writes; better on another disk")
    keep_backups: int = Field(14, ge=1, description="older archives are removed")


class Executor(Section):
    """The daemon."""

    timeframe: Annotated[str, AfterValidator(_check_timeframe)] = "5m"
    registry_poll_s: float = Field(5.0, gt=0)
    start_equity: Decimal = Field(Decimal(10_000), gt=0, description="USDT of the dry-run account")
    max_bar_delay_ms: int = Field(5_000, ge=0, description="a bar that closes later than this is not traded")
    shadow_bars: int = Field(
        0, ge=0, description="bars that a new council votes beside the old one before it takes over"
    )
    protection_timeout_ms: int = Field(
        5_000, gt=0, description="a fill without a confirmed stop is flattened after this"
    )
    protection_retry_ms: int = Field(
        1_000, gt=0, description="pause between attempts to set a stop that is not confirmed"
    )
    max_reprices: int = Field(
        0, ge=0, le=20, description="how often a post-only entry that would have taken is sent again; backtests do not"
    )
    request_timeout_s: float = Field(5.0, gt=0, le=60, description="how long a signed request may take")
    notify_pause_s: float = Field(5.0, ge=0, description="least pause between two notifications; what comes is joined")
    health_window_bars: int = Field(200, ge=20, description="bars that are compared with training at a time")
    health_alarm_rate: float = Field(
        0.01, gt=0, le=0.5, description="false alarms: share of windows for drift, chance of ever one for outcomes"
    )
    health_shrink: float = Field(0.5, gt=0, lt=1, description="share of the usual risk that the measure shrink leaves")
    health_features: Literal["warn", "shrink", "pause"] = Field("warn", description="measure when features drift")
    health_predictions: Literal["warn", "shrink", "pause"] = Field("shrink", description="when predictions drift")
    health_outcomes: Literal["warn", "shrink", "pause"] = Field(
        "pause", description="when trades are worse than the backtest's"
    )
    freeze_bars: int = Field(
        20, ge=0, description="a feature that stands still for longer, and not so in training, blocks; 0: none does"
    )
    adopt: Literal["protect", "flatten"] = Field(
        "protect", description="a position of ours whose plan was lost: keep it under a stop, or close it"
    )
    page_port: int = Field(8091, ge=0, le=65_535, description="status page, /metrics and /health on loopback; 0: none")


class Risk(Section):
    """What must never be exceeded."""

    risk_per_trade: Rate = Field(Decimal("0.005"), description="share of equity lost when the stop is hit")
    max_leverage: Decimal = Field(
        Decimal(3), gt=0, le=100, description="value of a position by equity; live, the venue's leverage is set to it"
    )
    max_notional: Decimal = Field(Decimal(0), ge=0, description="USDT of a position; 0: no such limit")
    max_portfolio_leverage: Decimal = Field(
        Decimal(5), ge=0, description="positions and pending entries of all contracts by equity; 0: no such limit"
    )
    max_portfolio_risk: Rate = Field(
        Decimal("0.02"), description="share of equity lost if all their stops were hit; 0: no such limit"
    )
    max_entries_per_hour: int = Field(60, ge=0, description="entry orders of a contract; 0: no such limit")
    failsafe_stop: Rate = Field(
        Decimal("0.02"), gt=0, description="distance of the stop of a position whose plan was lost, by its price"
    )
    max_drawdown: Rate = Field(Decimal("0.10"), description="kill switch: drop of equity below the high-water mark")
    max_daily_loss: Rate = Field(Decimal("0.03"), description="no entries for the rest of the UTC day")
    max_spread_bps: float = Field(20.0, gt=0, description="blocks entries")
    max_stale_ms: int = Field(10_000, gt=0, description="age of the last book beyond which entries are blocked")
    loss_streak: int = Field(5, ge=0, description="losses in a row that start a cooldown; 0 switches it off")
    cooldown_bars: int = Field(12, ge=0)


class Secrets(Section):
    """Keys; from the environment only, never from a file."""

    bybit_api_key: SecretStr | None = None
    bybit_api_secret: SecretStr | None = None
    discord_webhook_url: SecretStr | None = None
    notify_urls: SecretStr | None = None
    prefect_database_url: SecretStr | None = None
    mlflow_database_url: SecretStr | None = None
    study_database_url: SecretStr | None = None

    def notification_urls(self) -> list[str]:
        """Where notifications go: the Discord webhook, then a list that white space or commas separate."""
        found = [self.discord_webhook_url.get_secret_value()] if self.discord_webhook_url is not None else []
        if self.notify_urls is not None:
            # A comma may be part of a URL: only one before the next scheme:// separates.
            found += re.split(r"\s+|,(?=\s*[A-Za-z][A-Za-z0-9+.-]*://)", self.notify_urls.get_secret_value())
        return [url for url in map(str.strip, found) if url]
