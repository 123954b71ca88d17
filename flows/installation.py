"""What an installation consists of: its parts, their addresses, and what must be free before they start."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import settings as configuration
from flows import _procs, services
from flows.services import CONFIG, OFFLINE, Service
from market.errors import ConfigError
from settings import Settings

#: The contract of the local exchange's synthetic market.
LOCAL_SYMBOL = "SYNUSDT"


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the installation.

    Attributes
    ----------
    name
        Of its lines in the log.
    service
        How it is started.
    address
        Where a person finds it; empty for nothing to look at.
    health
        URL that answers with a status below 400 while it is well. Empty: it tells of its life by systemd's protocol,
        which the supervisor listens to.
    ports
        What it listens on, each with the setting that says so.
    after
        Parts that must have been up before it is started.
    last
        Whether it ends after those that need it.
    """

    name: str
    service: Service
    address: str = ""
    health: str = ""
    ports: tuple[tuple[int, str], ...] = ()
    after: tuple[str, ...] = ()
    last: bool = False
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


def local_settings(own: Settings) -> Settings:
    """The installation against the local exchange: a folder of its own, so that markets never mix.

    Writes ``<paths.data>/local/purplesky.toml``, which every part reads.
    """
    folder = (own.paths.data / "local").resolve()
    port = own.operations.exchange_port
    changed = configuration.override(
        own,
        paths={"data": folder, "mlruns": folder / "mlruns"},
        venue={
            "rest_url": f"http://127.0.0.1:{port}",
            "public_url": f"ws://127.0.0.1:{port}/v5/public/linear",
            "private_url": f"ws://127.0.0.1:{port}/v5/private",
            "speed": own.operations.exchange_speed,
        },
        market={"symbols": (LOCAL_SYMBOL,)},
        operations={"backups": folder / "backups"},
    )
    folder.mkdir(parents=True, exist_ok=True)
    file = local_config(own)
    file.write_text(configuration.to_toml(changed), encoding="utf-8")
    return changed


def local_config(own: Settings) -> Path:
    """The settings file of the installation against the local exchange."""
    return (own.paths.data / "local" / "purplesky.toml").resolve()


def parts_of(settings: Settings, config: Path | None, *, exchange: bool = False) -> tuple[Part, ...]:
    """The parts, in the order in which they start.

    Parameters
    ----------
    settings
        In force.
    config
        Their file; ``None`` if there is none.
    exchange
        Whether the local exchange is one of them.
    """
    made = _Maker(settings, config)
    parts = [made.exchange()] if exchange else []
    if services.mlflow_is_ours(settings):
        parts.append(made.mlflow())
    if services.prefect_is_ours(settings):
        parts.append(made.prefect())
    parts += [made.reports(), made.capture(exchange), made.worker(), made.executor(exchange)]
    known = {part.name for part in parts}
    return tuple(_without(part, known) for part in parts)


def _without(part: Part, known: set[str]) -> Part:
    """The part, waiting only for parts that there are: a server elsewhere is not ours to start."""
    after = tuple(name for name in part.after if name in known)
    return Part(part.name, part.service, part.address, part.health, part.ports, after, part.last, part.env)


class _Maker:
    """Makes the parts of some settings."""

    def __init__(self, settings: Settings, config: Path | None) -> None:
        self._settings = settings
        file = config or (Path("purplesky.toml") if Path("purplesky.toml").exists() else None)
        self._config = file.resolve() if file is not None else None
        # Relative folders mean those of this working directory, whatever a flow run's is.
        self._env = {
            "PURPLESKY_PATHS__DATA": str(settings.paths.data.resolve()),
            "PURPLESKY_PATHS__MLRUNS": str(settings.paths.mlruns.resolve()),
            "PYTHONUNBUFFERED": "1",
            **({CONFIG: str(self._config)} if self._config else {}),
        }

    def _own(self, *arguments: str, **env: str) -> Service:
        """A subcommand of ours."""
        config = ("--config", str(self._config)) if self._config else ()
        return Service((sys.executable, "-m", "purplesky", *config, *arguments), {**OFFLINE, **self._env, **env})

    def _other(self, service: Service) -> Service:
        return Service(service.command, {**self._env, **service.env})

    def exchange(self) -> Part:
        chosen = self._settings.operations
        port = chosen.exchange_port
        arguments = ("--synthetic", "--symbols", ",".join(self._settings.market.symbols), "--port", str(port))
        pace = ("--speed", str(chosen.exchange_speed), "--signal", str(chosen.exchange_signal))
        url = f"http://127.0.0.1:{port}"
        command = self._own("exchange", *arguments, *pace)
        return Part("exchange", command, url, f"{url}/v5/market/time", ((port, "operations.exchange_port"),), last=True)

    def mlflow(self) -> Part:
        port = self._settings.mlflow.port
        url = f"http://127.0.0.1:{port}"
        service = self._other(services.mlflow_service(self._settings))
        return Part("mlflow", service, url, f"{url}/health", ((port, "mlflow.port"),), last=True)

    def prefect(self) -> Part:
        port = self._settings.prefect.port
        url = f"http://127.0.0.1:{port}"
        service = self._other(services.prefect_service(self._settings))
        return Part("prefect", service, url, f"{url}/api/health", ((port, "prefect.port"),), last=True)

    def reports(self) -> Part:
        port = self._settings.reports.port
        url = f"http://127.0.0.1:{port}"
        service = self._other(services.reports_service(self._settings))
        return Part("reports", service, url, f"{url}/", ((port, "reports.port"),), last=True)

    def worker(self) -> Part:
        port = self._settings.operations.worker_port
        env = {"PREFECT_API_URL": services.prefect_api(self._settings)}
        service = self._own("serve", "worker", **env)
        health = f"http://127.0.0.1:{port}/health"
        return Part(
            "worker", service, "", health, ((port, "operations.worker_port"),), after=("prefect", "mlflow"), last=False
        )

    def capture(self, exchange: bool) -> Part:
        port = self._settings.operations.metrics_port
        command = self._own("capture", "--metrics-port", str(port), "--take-over", "60")
        url = f"http://127.0.0.1:{port}/metrics"
        after = ("exchange",) if exchange else ()
        return Part("capture", command, url, "", ((port, "operations.metrics_port"),), after)

    def executor(self, exchange: bool) -> Part:
        port = self._settings.executor.page_port
        symbols = [word for symbol in self._settings.market.symbols for word in ("--symbol", symbol)]
        command = self._own("execute", *symbols, "--feed", "venue")
        address = f"http://127.0.0.1:{port}" if port else ""
        ports = ((port, "executor.page_port"),) if port else ()
        after = ("mlflow", "exchange") if exchange else ("mlflow",)
        return Part("executor", command, address, "", ports, after)


def check_ports(parts: Sequence[Part]) -> None:
    """See that every port is free, before anything is started.

    Raises
    ------
    ConfigError
        Two parts want the same port, or somebody listens there; the message names all of them, who it is where that
        can be seen, and the settings to change.
    """
    seen: dict[int, str] = {}
    problems: list[str] = []
    variables: list[str] = []
    for part in parts:
        for port, setting in part.ports:
            if port in seen:
                problems.append(f"port {port} is that of {seen[port]} and of {part.name} ({setting})")
            elif not _free(port):
                who = _procs.holder(port)
                problems.append(f"port {port} of {part.name} ({setting}) is taken" + (f" by {who}" if who else ""))
            else:
                seen[port] = part.name
                continue
            variables.append("PURPLESKY_" + setting.upper().replace(".", "__"))
    if problems:
        raise ConfigError(
            "; ".join(problems),
            advice=f"Stop what listens there, or set {', '.join(dict.fromkeys(variables))} to another port",
        )


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
