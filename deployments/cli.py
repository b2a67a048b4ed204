"""The command line ``embedder``: its commands, exit status and error messages."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version

from deployments.commands import (
    cache,
    config,
    deploy,
    key,
    models,
    reference,
    serve,
    status,
    stop,
)
from deployments.commands.embed import command as embed
from deployments.commands.index import command as index
from deployments.commands.monitor import command as monitor
from deployments.commands.plan import command as plan
from deployments.commands.traces import command as traces
from embedder.core.errors import EmbedderError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, or 1 with the reason on stderr."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options) or 0)
    except EmbedderError as error:
        print(f"embedder: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of the output has closed it
        sys.stderr.close()
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="embedder", description="Serve embeddings on this machine, or embed without a server."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('embedder')}")
    commands = parser.add_subparsers(required=True)
    for command in (
        serve,
        deploy,
        status,
        monitor,
        traces,
        stop,
        embed,
        models,
        cache,
        index,
        config,
        plan,
        key,
        reference,
    ):
        command.add(commands)
    return parser
