"""Words of the reference pages for what the code gives a name but no text. A name that is missing here fails."""

from __future__ import annotations

#: Options without a help text: command, a dot, the parameter.
OPTIONS = {
    "check-lookahead.cuts": "Instants at which the data is truncated.",
    "check-lookahead.seed": "Seed of those instants, and of the synthetic market.",
    "book.levels": "Levels a side.",
    "exchange.seed": "Seed of the synthetic market.",
    "market.seed": "Seed of the synthetic markets.",
    "market.signal": "Strength of their planted signal.",
    "cli.version": "Show the version and exit.",
}

SETTINGS = {
    "venue.rest_url": "address of the REST API",
    "venue.public_url": "address of the public stream of linear contracts",
    "venue.private_url": "address of the private stream",
    "market.symbols": "contracts that are recorded and trained on at night",
    "costs.maker_fee": "share of the value that a maker pays; negative is a rebate",
    "costs.taker_fee": "share of the value that a taker pays",
    "costs.order_latency_ms": "time from decision to matching engine in simulations, ms",
    "training.timeframe": "length of a bar; it must divide a UTC day",
    "training.trials": "trials of a study",
    "training.seed": "of the study: the same data, settings and seed give the same council",
    "training.embargo_bars": "bars after a test block that are not trained on, on top of the purge",
    "training.members": "seats of the council",
    "gate.min_holdout_trades": "closed trades on the hold-out below which it says nothing",
    "mlflow.model_prefix": "registered name: prefix, symbol and timeframe joined by hyphens",
    "mlflow.port": "port of the MLflow UI, on loopback",
    "prefect.port": "port of the Prefect UI, on loopback",
    "reports.port": "port of the reports site, on loopback",
    "operations.breaker_window_s": "see breaker_deaths",
    "executor.timeframe": "bars that the executor trades; must be the council's",
    "executor.registry_poll_s": "how often the registry is asked what is in Production",
    "risk.max_leverage": "value of the position over equity, at most",
    "risk.cooldown_bars": "bars without entries after a losing streak",
    "secrets.bybit_api_key": "Bybit key with trade permission and without withdrawal permission; live trading only",
    "secrets.bybit_api_secret": "its secret",
    "secrets.discord_webhook_url": "where notifications go; optional",
    "secrets.notify_urls": "further notification URLs that apprise knows, separated by spaces; optional",
    "secrets.prefect_database_url": "database of Prefect, where it is not SQLite in `paths.data`; optional",
    "secrets.mlflow_database_url": "database of the MLflow server, where it is not SQLite in `paths.mlruns`; optional",
    "secrets.study_database_url": "database of the studies, where they are not files in `paths.data`; optional",
}

VOICES = {
    "log_failures": "Log lines that could not be written",
    "notifications_sent": "Notifications that every service took",
    "notifications_failed": "Notifications that a service did not take after all attempts",
    "notifications_dropped": "Messages that had to make room for newer ones",
}

BUNDLE = {
    "schema": "version of this format",
    "symbol": "contract that the council may be asked about",
    "timeframe": "length of its bars",
    "levels": "levels of the book that the features looked at",
    "stall_ms": "silence of the book that made a suspect window in training",
    "spec_hash": "hash of the declaration of all features; another one is refused",
    "engine_features": "names of the engine's feature vector, in its order",
    "features": "names of the features that the models read, in their order",
    "quorum": "share of the members that a side needs",
    "members": "the seats, best first",
    "gate": "verdict: `passed`, every reason and figure",
    "statistics": "further figures; predictions and trade returns that the health monitor compares with",
    "files": "SHA-256 and length of every model file",
    "content_hash": "SHA-256 of the document with the hashes of its files",
    "software": "versions of what trained it",
    "profile": "distribution of the features in training; `null` where it was not given",
}
MEMBER = {
    "rank": "place in the ranking, from 1",
    "params": "strategy parameters",
    "threshold_long": "probability of a win from which on the member votes to buy",
    "threshold_short": "the same for selling",
    "models": "file of each side's model",
}

STREAMS = {
    "book": "One row for each change of a price level, in the order in which it was received.",
    "messages": "One row for each message of the book: what its rows have in common, found by `ordinal`.",
    "trades": "One row for each public trade.",
    "tickers": "What the ticker topic said; a field that a message did not carry is null.",
    "liquidations": "Forced orders that Bybit published.",
    "checkpoints": "The whole book just before the first row of a part, so that reading can begin there.",
}
COLUMNS = {
    "flags": "book: 1 snapshot, 2 first row of a message, 4 last row, 8 message without a level change; added up",
    "side": "0 bid, 1 ask; trades: 0 the taker bought, 1 sold; liquidations: 0 a long position, 1 a short one",
    "ts_ms": "when Bybit sent the message",
    "ts_lag_ms": "how long after `time_ms` of its rows Bybit sent the message, ms",
    "u": "update id of the book: it grows by one a message",
    "seq": "cross sequence of the venue: monotone, not dense",
    "id": "trade id of the venue",
    "cs": "cross sequence of the ticker",
    "is_snapshot": "whether the message replaced all fields",
    "last_price": "last trade, USDT",
    "mark_price": "mark price, USDT",
    "index_price": "index price, USDT",
    "open_interest": "open contracts, in the coin",
    "funding_rate": "rate of the coming funding, a fraction",
    "next_funding_ms": "when it is exchanged",
    "ordinal": "number of the frame in its session: one order over all streams; rows of one frame share it",
    "recv_ns": "when it was received here, UTC; -1 where nobody knows, as in archives",
}
PART = {
    "schema": "version of layout and columns",
    "symbol": "contract",
    "date": "UTC day of the folder",
    "tick_size": "price of one tick, USDT",
    "qty_step": "size of one quantity step, in the coin",
    "level_changes": "rows of the book stream",
    "trades": "rows of the trade stream",
    "times_ms": "least and greatest exchange time",
    "ordinals": "first and last ordinal",
    "gaps": "where the book became unknown, and why",
    "snapshots": "where a message replaced the book",
    "source": "the archives that it was imported from; null for recordings",
}
GAP = {
    "ordinal": "stands before all rows of this ordinal",
    "time_ms": "last exchange time that is trusted",
    "start_ms": "first exchange time that is doubted",
    "end_ms": "last exchange time that is doubted",
    "recv_ns": "when it was noticed, UTC",
    "cause": "why, in words",
}

TABLES = {
    "sessions": "One row for each start of the executor.",
    "events": "All that the core was told, and what followed: canonical JSON, in order. Other tables repeat it.",
    "decisions": "One row a bar.",
    "orders": "Orders that the core asked for.",
    "fills": "Executions, each once.",
    "trades": "Plans that ended, with their money.",
    "equity": "Readings of the account; null where a reading failed.",
    "alerts": "What was told to a person.",
    "state": "The last state of core and gateway, sealed by a hash.",
    "commands": "What a person said: halt, resume, flatten.",
}

#: Condition, what must hold, and the settings that limit it.
GATE: dict[str, tuple[str, tuple[str, ...]]] = {
    "dsr": (
        "The deflated Sharpe ratio of the council, over everything that was tried in this study and in those that it "
        "began with, is at least the limit.",
        ("min_dsr",),
    ),
    "overfitting": (
        "Of all ways to halve the blocks, what was best on one half lost money on the other in at most this share.",
        ("max_loss_probability",),
    ),
    "paths": ("At least this share of the backtest paths ended with a gain after costs.", ("min_path_share",)),
    "random": ("The mean path earns more than nothing, and more than the best twentieth of random entries.", ()),
    "leaks": (
        "No feature foretells what comes after its bar better than an honest one could, and of what is new in one the "
        "next bars explain no more than this: a filter that looks ahead is made of them.",
        ("max_foresight", "max_hindsight"),
    ),
    "holdout_reads": ("The hold-out was read once, by the finished council.", ()),
    "holdout_trades": ("The council closed at least this many trades on the hold-out.", ("min_holdout_trades",)),
    "holdout_return": ("It returned more than this on the hold-out after costs.", ("min_holdout_return",)),
}

EXIT_CODES = (
    ("0", "done"),
    ("1", "validation blocked the data; `doctor`: warnings; `calibrate`, `check-lookahead`: it did not pass"),
    ("2", "an error with advice, or a wrong command line; `doctor`: something is missing"),
    ("3", "a bug: please report it with its traceback"),
    ("130", "interrupted"),
)

#: Remarks whose text is put together elsewhere, by code.
SAID = {
    "gate": "why the council in Production may not trade live",
    "health": "what has drifted, with its p-value, and the measure",
    "rules": "which rules of the contract have changed",
    "lost-plan": "what of the plan the venue does not know",
    "page": "the status page cannot be served, and why",
    "resume": "kill switch released by command",
    "registry": "the registry does not answer, or answers again",
    "feed": "market data is lost",
    "start": "the session and its council",
    "stop": "what the session ends with",
    "portfolio": "what the other contracts hold",
    "journal": "the journal cannot be written or read",
}
#: Codes that the code takes from elsewhere.
CODES = {"<role>": "liquidation, adl"}

#: The words under the headings.
INTROS = {
    "cli": """
        `purplesky [--config FILE] COMMAND [OPTIONS]`. `-h` or `--help` stands after every command; exit codes are on
        the page [errors](errors.md). The base install has what records and trades; commands that validate, train or
        orchestrate say so if the extra `[pipeline]` is missing, which `make env` installs.""",
    "config": """
        `purplesky.toml` in the working directory, or the file that `--config` names. Each setting can be overridden by
        the environment: `PURPLESKY_<SECTION>__<KEY>`, for example `PURPLESKY_RISK__MAX_DRAWDOWN=0.05`. Unknown keys
        and impossible values are refused by name before anything is done. `purplesky config` prints what is in
        force.""",
    "metrics": """
        For Prometheus, in its text format, on loopback. What is unknown is not shown, never told as 0. The executor's
        carry the labels `symbol` and `mode` (`dry-run` or `live`).""",
    "metrics.executor": """
        At `http://127.0.0.1:<executor.page_port>/metrics`. Beside it, `/health` answers 200 while nothing needs a
        person, and 503 with the reasons otherwise.""",
    "bundle": """
        A council is a folder of plain text: `council.json` and, for each member, `rank_<k>/long.txt` and
        `rank_<k>/short.txt`, LightGBM's text models. Nothing is pickled and loading can run no code. This version
        writes schema {schema} and reads {readable}. Every model file is named with its SHA-256 and length;
        `content_hash` is the SHA-256 of the whole, so one hash names a council in the registry, in the ledger and in
        the executor's journal. A bundle that is damaged, of another schema, or for another symbol, timeframe, number
        of levels or feature specification is refused by name.""",
    "lake": """
        `data/lake/<stream>/symbol=<S>/date=<UTC day>/<part>.parquet`, hive-partitioned: DuckDB, Polars and pandas read
        it as it is. Beside each part's book file lies its manifest, `_<part>.json`: a part is in the lake once its
        manifest is, and each file is checked against the manifest's SHA-256 before it is used. Prices are integers in
        ticks and sizes integers in quantity steps; tick and step stand in the Parquet metadata and in the manifest.
        This version writes schema {schema}.""",
    "journal": """
        `data/executor/<mode>/<symbol>/journal.sqlite`, SQLite with a write-ahead log: what the core saw and did,
        written before it acts. `purplesky replay` recomputes a session from it and compares bytes; `purplesky
        export-journal` writes each table as Parquet. Schema {schema}. Prices are ticks, sizes quantity steps, money is
        decimal text in USDT, `_ns` is wall time and `_ms` the venue's clock, both UTC.""",
    "notifications": """
        The executor says what it does by level and code: on the console, in `data/logs/`, on the status page, and, for
        what the third column says, by `DISCORD_WEBHOOK_URL` and `NOTIFY_URLS` (any URL that
        [apprise](https://appriseit.com/services/) knows). Messages that come within a second go out as one, never more
        than one notification in `executor.notify_pause_s`; a thread of its own sends them, so what the outside world
        does cannot hold up trading. Secrets are masked everywhere. Angle brackets stand for a value.""",
    "gate": """
        A council passes when every condition holds; an unknown figure meets none. The verdict with every reason in
        words is registered with the version whether it passed or not: as tags, as the version's description and in the
        training report. `purplesky execute --live` refuses a council that did not pass unless it is named by version.
        How the figures are computed: [statistics](../statistics.md). How often a council passes where there is nothing
        to find is measured by `purplesky calibrate`.""",
    "errors": """
        Every error meant for a person is one line on stderr: what happened, and what to do next. Anything else is a
        bug and is said to be one, with its traceback.""",
}


def intro(name: str, **values: object) -> str:
    """The words under a heading."""
    return " ".join(INTROS[name].split()).format(**values) + "\n"
