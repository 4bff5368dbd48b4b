"""The command line. A command reads its options, makes one or two requests, and prints the result."""

from devflow.cli.main import main

__all__ = ["main"]
