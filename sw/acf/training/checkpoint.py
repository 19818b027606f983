"""A training on disk: one .npz file, with plain data as JSON beside the arrays."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["CHECKPOINT", "read_checkpoint", "write_checkpoint"]

CHECKPOINT = "checkpoint.npz"
"""Its name in the folder of a training."""

_VERSION = 1


def write_checkpoint(folder: Path, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Replace the checkpoint in ``folder``; whatever interrupts it, there is the old one or the new one."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"version": _VERSION, **state})
    unfinished = folder / f".{CHECKPOINT}"
    with unfinished.open("wb") as file:
        np.savez(file, allow_pickle=False, state=np.frombuffer(text.encode(), dtype=np.uint8), **arrays)
    os.replace(unfinished, folder / CHECKPOINT)


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The inverse of ``write_checkpoint``.

    Raises
    ------
    ValueError
        If there is none, or it is not one of this version.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        raise ValueError(f"there is no checkpoint to go on from, {str(path)!r}")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        state = json.loads(arrays.pop("state").tobytes())
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
        raise ValueError(f"{str(path)!r} is no checkpoint of a training") from error
    if state.get("version") != _VERSION:
        raise ValueError(f"a checkpoint must be of version {_VERSION}, not {state.get('version')!r}")
    return state, arrays
