"""`slacktide cluster`: the local fleet on this machine."""

import typer

app = typer.Typer(no_args_is_help=True, help="A local fleet of real processes on this machine.")
