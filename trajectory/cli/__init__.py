"""The command line: thin verbs over the library.

Exit codes: 0 done, 1 failed, 2 wrong use (arguments, a URL, path or setting that can't be used),
141 whoever read the answer left before its end.
With `--json` a failure is an object on stdout as well: `{"error": "..."}`.
Nothing here loads SQLAlchemy or Alembic: each command imports what it needs when it runs.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import trajectory
from trajectory.cli import (
    db,
    doctor,
    erase,
    export,
    imports,
    listing,
    log,
    mcp,
    outlet,
    prune,
    recover,
    score,
    show,
    stats,
    tail,
    variables,
)
from trajectory.cli.screen import OutputError, answer, fail
from trajectory.errors import ConfigurationError, MissingDependencyError, TrajectoryError

FAILED = 1
WRONG_USE = 2

_JSON = "trajectory.json"
_UsageError: Any = typer.BadParameter.mro()[1]  # Typer doesn't export it by name


class Commands(TyperGroup):
    """The root of all commands: an error that the library raises on purpose is one line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Note whether a program reads the answer: it must get JSON before all is parsed, too."""
        ctx.meta[_JSON] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; turn a `TrajectoryError` into its message and an exit code."""
        variables.warn_of_unknown()
        try:
            return super().invoke(ctx)
        except TrajectoryError as error:
            fail(str(error))
            if ctx.meta[_JSON] and not isinstance(error, OutputError):
                answer({"error": str(error)})
            wrong = isinstance(error, ConfigurationError)
            missing = isinstance(error, MissingDependencyError)
            raise typer.Exit(WRONG_USE if wrong and not missing else FAILED) from None
        except BrokenPipeError:
            raise typer.Exit(outlet.READER_LEFT) from None
        except _UsageError as error:
            if ctx.meta[_JSON]:
                answer({"error": error.format_message()})
            raise  # Typer shows it, with the usage


app = typer.Typer(
    cls=Commands,
    help="Record every turn of an AI agent's run, and work with what was recorded.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback with local variables would print prompts
    rich_markup_mode="markdown",  # the other modes keep the line ends of docstrings
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:  # noqa: FBT001 - Typer calls it with the flag
    if wanted:
        typer.echo(f"trajectory {trajectory.__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Record every turn of an AI agent's run, and work with what was recorded."""


app.add_typer(db.app, name="db")
app.command("log")(log.log)
app.command("import")(imports.import_)
app.command("export")(export.export_)
app.command("list")(listing.list_)
app.command("show")(show.show)
app.command("score")(score.score)
app.command("tail")(tail.tail)
app.command("stats")(stats.stats)
app.command("recover")(recover.recover_)
app.command("doctor")(doctor.doctor)
app.command("erase")(erase.erase_)
app.command("prune")(prune.prune_)
app.command("mcp")(mcp.mcp_)


def main() -> None:
    """Run the command line; the entry point of the `trajectory` command."""
    outlet.run(lambda: app(prog_name="trajectory"))
