"""The packages that a server command needs."""

from __future__ import annotations

from rooms import extras


def require(extra: str, *modules: str) -> None:
    """End the process with the remedy unless the modules of a server's extra are installed."""
    missing = [module for module in modules if not extras.is_installed(module)]
    if missing:
        raise SystemExit(
            f"error: python -m signalling.servers.{extra} needs {' and '.join(missing)}. "
            f"Install the extra: {extras.command(extra)}"
        )
