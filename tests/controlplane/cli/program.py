"""Runs `slacktide` in this process, as its console script does."""

import asyncio
import contextlib
import io
import json
import os
import sys
from dataclasses import dataclass
from typing import Any
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


class Group:
    """`slacktide GROUP …` in a thread, against a control plane of this one.

    Args:
        name: The group of commands.
        port: Of the control plane.
    """

    def __init__(self, name: str, *, port: int) -> None:
        self._name = name
        self._endpoint = f"127.0.0.1:{port}"

    async def run(self, *arguments: str, stdin: str = "") -> Done:
        """One run, however it ends."""
        return await asyncio.to_thread(
            slacktide, self._name, *arguments, endpoint=self._endpoint, stdin=stdin
        )

    async def ok(self, *arguments: str, code: int = 0) -> str:
        """What it prints; it has to end so."""
        done = await self.run(*arguments)
        assert done.code == code, done.err or done.out
        return done.out

    async def data(self, *arguments: str, code: int = 0) -> Any:
        """The same as JSON."""
        return json.loads(await self.ok(*arguments, "-o", "json", code=code))
