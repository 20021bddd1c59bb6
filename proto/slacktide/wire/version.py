"""Which build this process runs, and which wire protocol it speaks."""

from importlib.metadata import version

PROTOCOL_VERSION = 1
"""Raised when a process of release N could misread one of N+1."""


def build_version() -> str:
    """Version of the installed `slacktide` distribution, e.g. "0.1.0"."""
    return version("slacktide")
