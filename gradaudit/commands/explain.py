"""`gradaudit explain`: what a diagnoser looks for, why, and with which thresholds."""

import shutil

import click

from gradaudit.schema import UserError


@click.command(short_help="Explain a diagnoser, or list them all.")
@click.argument("name", required=False)
def explain(name: str | None) -> None:
    """Explain the diagnoser NAME: what it looks for, why it matters, what to try, when it is wrong.

    Without NAME, list every diagnoser.
    """
    from gradaudit.diagnosers import all_diagnosers
    from gradaudit.report import pages

    width = min(88, shutil.get_terminal_size((88, 24)).columns)
    catalogue = {item.name: item for item in all_diagnosers()}
    if name is None:
        click.echo(pages.listing(catalogue.values(), width=width))
    elif name in catalogue:
        click.echo(pages.text(catalogue[name], width=width))
    else:
        raise UserError(unknown(name, list(catalogue)))


def unknown(name: str, known: list[str]) -> str:
    """The sentence for a diagnoser that does not exist, with the nearest name that does."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "gradaudit explain lists them"
    return f"no diagnoser is called {name!r}; {hint}"
