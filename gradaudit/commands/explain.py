"""`gradaudit explain`: what a diagnoser looks for, why, and with which thresholds."""

import shutil

import click

from gradaudit.commands.completion import diagnosers
from gradaudit.schema import UserError


@click.command(short_help="Explain a diagnoser, or list them all.")
@click.argument("name", required=False, shell_complete=diagnosers)
def explain(name: str | None) -> None:
    """Explain the diagnoser NAME: what it looks for, why it matters, what to try, when it is wrong.

    Without NAME, list every diagnoser.
    """
    from gradaudit.audit.runner import unknown
    from gradaudit.diagnosers import all_diagnosers
    from gradaudit.report.explain import listing, text

    width = min(88, shutil.get_terminal_size((88, 24)).columns)
    catalogue = {item.name: item for item in all_diagnosers()}
    if name is None:
        click.echo(listing(catalogue.values(), width=width))
    elif name in catalogue:
        click.echo(text(catalogue[name], width=width))
    else:
        raise UserError(unknown(name, list(catalogue)))
