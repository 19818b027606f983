"""Verilog to a shared library, by Verilator, once per design.

Libraries are kept under ``build/rtl/`` (the environment variable ``ACF_BUILD`` names another folder than ``build``), in
a folder named by the hash of everything that goes into them: the Verilog, the harness, the flags and the tools. A lock
file lets only one process build a design; the others wait and take what it built.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from acf.sim.toolchain import verilator_environment

__all__ = ["BuildError", "build_folder", "build_library", "load_library"]

HARNESS = Path(__file__).with_name("rtl_harness.cpp")

LIBRARY = "libacf.so"

_BLOCKS = "blocks.vlt"

# Bytes of generated C++ below which it is compiled as one text: the two precompiled headers that many texts side by
# side need take as long as a small design. A ring of five routers, 5 MB, takes 8.5 s of processor time instead of 14.7.
_ALONE = 8_000_000

# Verilator flattens the mesh, and the time of the C++ compiler grows faster than the size of a function: many small
# functions at -O1 compile in a quarter of the time of -O2 and run as fast: for the tiny fabric 33 s of processor time
# instead of 124 s, and 115,000 cycles per second both. Hierarchical Verilation costs three quarters of the speed, but
# compiles a module once, however often it is there.
VERILATOR_FLAGS = (
    *("-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-timing"),
    *("--output-split", "20000", "--output-split-cfuncs", "500"),
    *("-Wno-fatal", "-Wno-lint", "-Wno-style", "-Wno-UNOPTFLAT"),
)
MAKE_FLAGS = ("OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1")


class BuildError(RuntimeError):
    """Verilator or the C++ compiler failed; the message holds the end of what it said."""


def build_folder() -> Path:
    """The folder for everything that can be built again: ``ACF_BUILD``, or ``build`` in the working folder."""
    return Path(os.environ.get("ACF_BUILD", "build")).resolve()


def build_library(
    verilog: str,
    *,
    top: str,
    harness: Path = HARNESS,
    headers: Mapping[str, str] | None = None,
    compiled_once: Sequence[str] = (),
    trace: str | None = None,
    jobs: int | None = None,
    quiet: bool = False,
) -> Path:
    """Compile ``verilog`` and a harness to a shared library.

    Parameters
    ----------
    verilog : str
        Text of the design.
    top : str
        Name of its top module.
    harness : Path
        The C++ text that drives the design; that of the fabric unless told.
    headers : mapping of str to str or None
        Header files for the harness: names and texts.
    compiled_once : sequence of str
        Modules that are compiled once for all of their instances; what has many of them builds faster and runs slower.
    trace : str or None
        ``"vcd"`` or ``"fst"`` builds a library that can write waveforms, which is slower.
    jobs : int or None
        C++ files compiled at a time; the number of cores when None.
    quiet : bool
        No progress on standard error.

    Returns
    -------
    Path
        The library. It is built only when it is not there yet.

    Raises
    ------
    ValueError
        If ``trace`` is neither None, ``"vcd"`` nor ``"fst"``.
    BuildError
        If a tool fails.
    """
    if trace not in (None, "vcd", "fst"):
        raise ValueError(f"trace format must be vcd or fst, not {trace!r}")
    flags = [*VERILATOR_FLAGS, *([f"--trace-{trace}"] if trace else [])]
    c_flags = f"-fPIC -std=c++17 -DACF_TRACE_VCD={int(trace == 'vcd')} -DACF_TRACE_FST={int(trace == 'fst')}"
    runtime_parts = [*flags, *MAKE_FLAGS, c_flags]
    headers = headers or {}
    if headers:
        c_flags += " -I.."  # seen from the folder of the objects
    if compiled_once:
        flags.append("--hierarchical")
        blocks = "".join(f'hier_block -module "{name}"\n' for name in compiled_once)
        headers = {**headers, _BLOCKS: f"`verilator_config\n{blocks}"}
    written = [part for header in headers.items() for part in header]
    folder = build_folder() / "rtl" / _digest(
        verilog, top, *flags, *MAKE_FLAGS, c_flags, *written, harness.read_text()
    )  # fmt: skip
    library = folder / LIBRARY
    if library.exists():
        return library
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder.with_suffix(".lock")):
        if library.exists():
            return library
        scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        try:
            for name, text in {"design.v": verilog, **headers}.items():
                (scratch / name).write_text(text)
            jobs = jobs or os.cpu_count() or 1
            runtime = folder.parent / f"runtime-{_digest(*runtime_parts)}"
            _build(
                scratch, top=top, harness=harness, flags=flags, c_flags=c_flags, runtime=runtime, jobs=jobs, quiet=quiet
            )
            # Objects and generated C++ are many times as large as what is needed from now on.
            shutil.rmtree(scratch / "obj")
            shutil.rmtree(folder, ignore_errors=True)
            scratch.rename(folder)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
    return library


def load_library(library: Path, functions: Mapping[str, tuple[Any, list[Any]]]) -> ctypes.CDLL:
    """Load a library from ``build_library`` and tell ctypes the result and the arguments of each of its functions."""
    loaded = ctypes.CDLL(str(library))
    for name, (result, arguments) in functions.items():
        function = getattr(loaded, name)
        function.restype = result
        function.argtypes = arguments
    return loaded


def _digest(*parts: str) -> str:
    hasher = hashlib.sha256()
    compiler = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=False).stdout.partition("\n")[
        0
    ]
    for part in (*parts, importlib.metadata.version("verilator"), compiler):
        hasher.update(f"{len(part)}:{part}".encode())
    return hasher.hexdigest()[:16]


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _keep_runtime(objects: Path, runtime: Path) -> None:
    """Keep the objects of Verilator's own sources, 6 s of processor time, for all other designs."""
    if runtime.exists():
        return
    with tempfile.TemporaryDirectory(dir=runtime.parent) as temporary:
        fresh = Path(temporary) / "runtime"
        fresh.mkdir()
        for kept in objects.glob("verilated*.o"):
            shutil.copy(kept, fresh)
        with contextlib.suppress(OSError):  # another process was faster
            fresh.rename(runtime)


def _build(
    scratch: Path,
    *,
    top: str,
    harness: Path,
    flags: list[str],
    c_flags: str,
    runtime: Path,
    jobs: int,
    quiet: bool,
) -> None:
    objects = scratch / "obj"
    environment = verilator_environment()
    verilate = [
        "verilator", "--cc", "--exe", "--top-module", top, "--prefix", "Vacf", "--Mdir", str(objects), *flags,
        "-CFLAGS", c_flags, "-LDFLAGS", "-shared", "-o", f"../{LIBRARY}", "design.v", str(harness),
    ]  # fmt: skip
    if (scratch / _BLOCKS).exists():
        verilate.append(_BLOCKS)
    makefile = "Vacf_hier.mk" if "--hierarchical" in flags else "Vacf.mk"
    make = ["make", "-C", str(objects), "-f", makefile, f"-j{jobs}", *MAKE_FLAGS]
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True, quiet=quiet)
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"Verilator reads {top}", total=None)
        _command(verilate, scratch, environment, lambda: None)
        for kept in runtime.glob("verilated*.o"):
            shutil.copy(kept, objects)  # newer than what they are made from, so that make takes them
        texts = list(objects.glob("*.cpp"))
        if sum(text.stat().st_size for text in texts) < _ALONE:
            make.append("VM_PARALLEL_BUILDS=0")
        sources = len(texts) + 1
        progress.update(task, description=f"compiling the simulator of {top}", total=sources)
        _command(make, scratch, environment, lambda: progress.update(task, completed=len(list(objects.glob("*.o")))))
    _keep_runtime(objects, runtime)


def _command(arguments: list[str], folder: Path, environment: dict[str, str], tick) -> None:
    log = folder / "build.log"
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(arguments, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        except FileNotFoundError as error:
            raise BuildError(f"{arguments[0]} is not installed; `acf doctor` says what is missing") from error
        try:
            while process.poll() is None:
                tick()
                time.sleep(0.1)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        lines = log.read_text(errors="replace").splitlines()
        errors = [line for line in lines if "rror" in line][:5]
        raise BuildError(
            "\n".join([f"{arguments[0]} failed with status {process.returncode}:", *(errors or lines[-10:])])
        )
