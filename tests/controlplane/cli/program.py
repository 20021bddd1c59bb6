"""Runs `slacktide` in this process, as its console script does."""

import contextlib
import io
import os
import sys
from dataclasses import dataclass
from unittest.mock import patch

from controlplane.cli.app import main


@dataclass(frozen=True)
class Done:
    """How a run of the program ended."""

    code: int
    out: str
    err: str


def slacktide(*arguments: str, endpoint: str = "", stdin: str = "") -> Done:
    """One run, with nothing of this process's settings but the endpoint."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("SLACKTIDE_")}
    if endpoint:
        variables["SLACKTIDE_ENDPOINT"] = endpoint
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        patch.dict(os.environ, variables, clear=True),
        patch.object(sys, "argv", ["slacktide", *arguments]),
        patch.object(sys, "stdin", io.StringIO(stdin)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Done(code, out.getvalue(), err.getvalue())
