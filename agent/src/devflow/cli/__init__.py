"""The command line. A command takes flags, makes one or two calls, and shows what came back."""

from devflow.cli.main import main

__all__ = ["main"]
