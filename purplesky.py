"""The front door: the ``purplesky`` command.

Every subcommand imports what it needs when it runs, so that the executor starts without the pipeline's packages. Exit
codes: 0 done, 1 validation blocked the data, 2 an error with advice or a wrong command line, 3 a bug, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

import click

from commands import ALL
from market.errors import PurpleSkyError

#: Nothing phones home: every part that could is told not to before it is imported.
_QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
}


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--config", type=click.Path(path_type=Path), help="TOML file. [default: purplesky.toml, if there is one]")
@click.version_option(package_name="purplesky")
@click.pass_context
def cli(context: click.Context, config: Path | None) -> None:
    """Record a market, learn from it under purged cross-validation, and let a council trade it."""
    context.obj = config


for _one in ALL:
    cli.add_command(_one)


def main() -> None:
    """Run the command line; every error meant for a person is one line on stderr."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    for stream in (sys.stdout, sys.stderr):
        # A character that the console cannot show must never end a trading daemon (FAIL-42).
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        raise SystemExit(2) from None
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        raise SystemExit(130) from None
    except PurpleSkyError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(error.exit_code) from None
    except Exception:  # noqa: BLE001 - the last line of defence: say that it is a bug, with its traceback
        traceback.print_exc()
        click.echo("error: this is a bug in PurpleSky; please report it with the lines above", err=True)
        raise SystemExit(3) from None


if __name__ == "__main__":
    main()
