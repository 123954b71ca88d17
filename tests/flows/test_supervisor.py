"""`purplesky up`, `down` and `status`: real processes that die, hang, refuse and stay behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import purplesky
from flows import services, supervisor
from flows._procs import TOKEN, Identity, carrying, holder, sweep
from flows.installation import LOCAL_SYMBOL, check_ports, local_config, local_settings, parts_of
from flows.processes import free_port
from market.errors import AlreadyRunningError, ConfigError
from settings import Settings, load, override
from tests.flows.small_installation import part, settings_in

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120.0


def wait_for(what: Callable[[], Any], seconds: float = PATIENCE_S) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.05)
    pytest.fail(f"did not happen within {seconds:.0f} s")


class Started:
    """A supervisor in a process of its own."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.settings = settings_in(folder)
        self.log = folder / "up.log"
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.flows.small_installation", str(folder), *words],
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": path},
            )

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def state(self) -> dict[str, Any] | None:
        return supervisor.running_state(self.settings)

    def parts(self) -> dict[str, dict[str, Any]]:
        found = self.state()
        return {one["name"]: one for one in found["parts"]} if found else {}

    def states(self) -> dict[str, str]:
        return {name: one["state"] for name, one in self.parts().items()}

    def token(self) -> str:
        found = wait_for(self.state)
        return str(found["token"])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Starts supervisors, and sees that nothing of them stays."""
    started: list[Started] = []

    def begin(*words: str) -> Started:
        started.append(Started(tmp_path, *words))
        return started[-1]

    yield begin
    for one in started:
        one.process.kill()
        one.process.wait(30)


def test_each_part_is_looked_after_in_its_own_way(start: Callable[..., Started]) -> None:
    words = ("site:well", "recorder:watched", "bad:dies", "hung:silent", "deaf:mute", "poor:refuses")
    up = start(*words)
    token = up.token()
    wanted = {"site": "up", "recorder": "up", "bad": "given up", "poor": "refused"}
    wait_for(lambda: {**up.states(), "hung": "", "deaf": ""} == {**wanted, "hung": "", "deaf": ""})
    wait_for(lambda: up.parts()["hung"]["restarts"] and up.parts()["deaf"]["restarts"])
    parts = up.parts()
    assert parts["recorder"]["text"] == "all is well"
    assert parts["poor"]["text"] == "nothing to work with. Bring something."
    # A killed one is back.
    before = parts["site"]["pid"]
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: up.states()["site"] == "up" and up.parts()["site"]["pid"] not in (before, None))
    table = supervisor.status_table(up.settings)
    assert "given up" in table
    assert "poor: nothing to work with" in table
    # One terminal is enough, and Ctrl-C ends all of it.
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(PATIENCE_S) == 0
    assert not carrying(token)
    text = up.text()
    assert "site was ended by signal 9: started again" in text
    assert "gives no sign of life after" in text
    assert text.count("poor cannot start yet: nothing to work with") == 1
    assert "bad ended with code 1; 3 deaths in 10 min: left alone for 10 min, the others go on" in text
    assert "everything has ended" in text
    assert supervisor.status_table(up.settings).startswith("nothing runs here")


def test_nothing_outlives_a_killed_supervisor(start: Callable[..., Started]) -> None:
    up = start("a:watched", "b:stubborn")
    token = up.token()
    wait_for(lambda: set(up.states().values()) == {"up"} and len(carrying(token)) >= 3)
    up.process.kill()
    up.process.wait(30)
    wait_for(lambda: not carrying(token))
    assert supervisor.running_state(up.settings) is None


def test_the_next_start_ends_what_was_left(start: Callable[..., Started], tmp_path: Path) -> None:
    """Both the supervisor and its watchman are killed."""
    first = start("a:stubborn")
    token = first.token()
    wait_for(lambda: first.states() == {"a": "up"} and len(carrying(token)) >= 2)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"flows._watchman" in words and token.encode() in words:
            os.kill(int(folder.name), signal.SIGKILL)
    first.process.kill()
    first.process.wait(30)
    time.sleep(0.5)
    assert len(carrying(token)) >= 1
    second = start("a:watched")
    wait_for(lambda: second.states() == {"a": "up"})
    assert not carrying(token)
    assert "that an earlier supervisor had left behind" in second.text()
    # While it runs nobody else may, and `down` ends it.
    with pytest.raises(AlreadyRunningError, match=str(second.process.pid)):
        supervisor.Supervisor(second.settings, [part("b:watched")], lambda name, text: None).run()
    assert f"process {second.process.pid}" in supervisor.end(second.settings)
    assert second.process.wait(30) == 0
    assert supervisor.end(second.settings) == "nothing runs here"


def test_down_never_ends_a_foreign_process(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    folder = supervisor.folder_of(settings)
    folder.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as stranger:
        own = Identity.of(stranger.pid)
        assert own is not None
        state = f'{{"pid": {own.pid}, "began": {own.began - 1}, "boot": "{own.boot}", "token": "gone", "ended": false}}'
        (folder / "supervisor.json").write_text(state, encoding="utf-8")
        try:
            assert supervisor.end(settings) == "nothing runs here"
            assert own.alive
            assert own.send(signal.SIGTERM)
        finally:
            stranger.kill()
    assert not own.alive
    assert not own.send(signal.SIGTERM)


def test_a_token_is_found_in_children_of_children(tmp_path: Path) -> None:
    token = f"test-{os.getpid()}"
    code = "import subprocess,sys; subprocess.Popen([sys.executable,'-c','import time; time.sleep(600)'])"
    subprocess.run([sys.executable, "-c", code], env=os.environ | {TOKEN: token}, check=True, timeout=60)
    assert len(carrying(token)) == 1
    assert sweep(token, 5.0) == 1
    assert not carrying(token)


def test_taken_ports_are_explained_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"process {os.getpid()}" in holder(port)
        same = free_port()
        settings = override(
            Settings(),
            paths={"data": tmp_path / "data", "mlruns": tmp_path / "mlruns"},
            reports={"port": port},
            mlflow={"port": same},
            prefect={"port": same},
        )
        with pytest.raises(ConfigError) as error:
            check_ports(parts_of(settings, None))
    assert f"port {port} of reports (reports.port) is taken by process {os.getpid()}" in error.value.message
    assert f"port {same} is that of mlflow and of prefect" in error.value.message
    assert "PURPLESKY_REPORTS__PORT" in error.value.advice
    assert "PURPLESKY_PREFECT__PORT" in error.value.advice
    assert holder(free_port()) == ""


def test_the_parts_of_an_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = override(Settings(), market={"symbols": ("BTCUSDT", "ETHUSDT")})
    names = [one.name for one in parts_of(settings, None)]
    assert names == ["mlflow", "prefect", "reports", "capture", "worker", "executor"]
    executor = parts_of(settings, None)[-1]
    assert executor.address == "http://127.0.0.1:8091"
    assert executor.service.command[-6:] == ("--symbol", "BTCUSDT", "--symbol", "ETHUSDT", "--feed", "venue")
    # Servers elsewhere are not ours to start, and nobody waits for them.
    away = override(settings, mlflow={"uri": "http://10.0.0.1:5000"}, prefect={"api_url": "http://10.0.0.1:4200/api"})
    elsewhere = {one.name: one for one in parts_of(away, None)}
    assert {"mlflow", "prefect"}.isdisjoint(elsewhere)
    assert elsewhere["worker"].after == ()
    assert elsewhere["worker"].service.env["PREFECT_API_URL"] == "http://10.0.0.1:4200/api"
    for one in parts_of(settings, None):
        assert one.name == "reports" or one.service.env["DO_NOT_TRACK"] == "1"
        assert "--live" not in one.service.command


def test_a_local_installation_keeps_to_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = override(Settings(), market={"symbols": ("BTCUSDT",)})
    local = local_settings(own)
    assert local.market.symbols == (LOCAL_SYMBOL,)
    assert local.paths.lake == tmp_path / "data" / "local" / "lake"
    assert load(local_config(own)) == local
    parts = {one.name: one for one in parts_of(local, local_config(own), exchange=True)}
    assert parts["capture"].after == ("exchange",)
    assert str(local_config(own)) in parts["executor"].service.command


def test_mlflow_behind_an_address_serves_its_artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    direct = services.mlflow_service(Settings())
    assert "--no-serve-artifacts" in direct.command
    served = override(Settings(), mlflow={"uri": "http://127.0.0.1:5000"})
    assert "--serve-artifacts" in services.mlflow_service(served).command
    assert services.mlflow_is_ours(served)
    monkeypatch.setenv("MLFLOW_DATABASE_URL", "postgresql://purplesky:secret@db/mlflow")
    monkeypatch.setenv("PREFECT_DATABASE_URL", "postgresql+asyncpg://purplesky:secret@db/prefect")
    with pytest.raises(ConfigError, match="MLFLOW_DATABASE_URL"):
        services.mlflow_service(load())
    monkeypatch.setenv("PURPLESKY_MLFLOW__URI", "http://127.0.0.1:5000")
    service = services.mlflow_service(load())
    assert service.env["MLFLOW_BACKEND_STORE_URI"] == "postgresql://purplesky:secret@db/mlflow"
    url = services.prefect_service(load()).env["PREFECT_API_DATABASE_CONNECTION_URL"]
    assert url == "postgresql+asyncpg://purplesky:secret@db/prefect"
    # Command lines can be read by everybody on the machine, and settings are printed.
    assert "secret" not in " ".join(service.command) + repr(service)


def test_status_without_a_symbol_is_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command, said in ((["status"], "start everything with `purplesky up`"), (["down"], "nothing runs here")):
        monkeypatch.setattr(sys, "argv", ["purplesky", *command])
        purplesky.main()
        assert said in capsys.readouterr().out


def test_spans_in_words() -> None:
    assert [supervisor.span(s) for s in (0, 61, 3_700, 90_061)] == ["0 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]


def test_a_service_keeps_its_folders_wherever_runs_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flow runs work in the folder of the sources: a relative path once meant another folder there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "purplesky.toml").write_text("", encoding="utf-8")
    seen: dict[str, str] = {}

    def execute(program: str, words: list[str], env: dict[str, str]) -> None:
        seen.update(env)

    monkeypatch.setattr(os, "execvpe", execute)
    services.become(load(), "reports")
    assert seen["PURPLESKY_PATHS__DATA"] == str(tmp_path / "data")
    assert seen["PURPLESKY_CONFIG"] == str(tmp_path / "purplesky.toml")
    with pytest.raises(ConfigError, match="no service"):
        services.become(load(), "nonsense")
