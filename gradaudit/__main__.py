"""The program `gradaudit`: its subcommands, none of which imports anything heavy before it runs."""

import sys

try:
    import click

    import gradaudit
    from gradaudit.commands.analyze import analyze
    from gradaudit.commands.compare import compare
    from gradaudit.commands.errors import Program
    from gradaudit.commands.explain import explain
    from gradaudit.commands.list_runs import list_runs
    from gradaudit.commands.record import record
    from gradaudit.commands.render import render
except KeyboardInterrupt:  # later ones are the program's, below
    sys.stderr.write("gradaudit: interrupted\n")
    sys.exit(130)


@click.group(cls=Program, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(gradaudit.__version__, prog_name="gradaudit", message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Record a PyTorch training run, then find out what is wrong with it."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


for _command in (record, analyze, compare, list_runs, render, explain):
    main.add_command(_command)

if __name__ == "__main__":
    main(prog_name="gradaudit")
