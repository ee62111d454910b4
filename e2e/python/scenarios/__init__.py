"""Scenarios for the Python SDK, by topic. `run.py` runs them all; each registers itself with `@scenario`."""

import importlib
import pkgutil


def load() -> None:
    """Imports every module of this package, so that its scenarios are known."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
