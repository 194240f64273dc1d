"""`gradaudit record`: run a training script unchanged and keep a record of it."""

from pathlib import Path

import click

from gradaudit.schema import UserError


class Recorded(click.Command):
    """A command that keeps the ``--`` which click drops: it tells a program from a script."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, then put a leading ``--`` back in front of the command."""
        before = list(args)
        rest = super().parse_args(ctx, args)
        command = ctx.params["command"]
        if command and before[len(before) - len(command) - 1 : -len(command)] == ["--"]:
            ctx.params["command"] = ("--", *command)
        return rest


def _percentage(context: click.Context, option: click.Parameter, value: float) -> float:
    if not 0 < value <= 100:
        raise click.BadParameter(f"{value:g} is not a percentage above 0 and up to 100")
    return value


def _stretch(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    first, separator, last = value.partition(":")
    if not (separator and first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        raise click.BadParameter(f"{value} is not a first and a last step, such as 90:110")
    return int(first), int(last)


# Everything after the script belongs to the script, so options are read only before it.
@click.command(
    cls=Recorded,
    context_settings={"allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
    short_help="Run a training script and record it.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the run.  [default: runs/SCRIPT-TIME]",
)
@click.option(
    "--every",
    type=click.IntRange(min=1),
    metavar="N",
    help="Record tensor statistics at every N-th step.  [default: as --budget allows]",
)
@click.option(
    "--budget",
    type=float,
    default=1.0,
    callback=_percentage,
    metavar="PERCENT",
    help="Share of a step's time that recording may take after the first 100 steps; --every overrides it.  "
    "[default: 1]",
)
@click.option(
    "--activations",
    is_flag=True,
    help="Also sample the model's input and its activation modules' outputs, every tenth recorded step.",
)
@click.option(
    "--closely",
    callback=_stretch,
    metavar="FIRST:LAST",
    help="Record everything of these steps: every operation of torch, all statistics, activations. They take several "
    "times as long.",
)
@click.option("--quiet", is_flag=True, help="Do not print the summary line at the end.")
@click.option("--force", is_flag=True, help="Overwrite DIR when it holds an earlier run.")
@click.option("--no-host", is_flag=True, help="Keep host name, user name, paths and arguments out of the record.")
@click.option(
    "--no-data",
    is_flag=True,
    help="Record nothing of what batches and targets hold: no moments, counts or comparisons.",
)
@click.option("-m", "module", is_flag=True, help="SCRIPT is the name of a module, as in python -m.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="SCRIPT [ARGS]... | -- COMMAND [ARGS]...")
def record(
    output: Path | None,
    every: int | None,
    budget: float,
    activations: bool,
    closely: tuple[int, int] | None,
    quiet: bool,
    force: bool,
    no_host: bool,
    no_data: bool,
    module: bool,
    command: tuple[str, ...],
) -> None:
    """Run a training script unchanged and record its gradients, weights, losses and learning rates.

    \b
    gradaudit record train.py --lr 0.1
    gradaudit record -o runs/first -m package.train --lr 0.1
    gradaudit record -- torchrun --nproc-per-node 2 train.py

    Whatever follows SCRIPT or COMMAND is passed on to it. Its output, exit code and signals are its own.
    """
    from gradaudit.record.launch import launch

    if not [part for part in command if part != "--"][:1]:
        raise UserError("nothing to record; write the script: gradaudit record train.py")
    if module and command[0] == "--":
        raise UserError("-m names a module and -- a command; give one of them")
    launch(
        ["-m", *command] if module else list(command),
        directory=output,
        every=every,
        budget=budget,
        quiet=quiet,
        force=force,
        host=not no_host,
        activations=activations,
        closely=closely,
        data=not no_data,
    )
