"""Builds one block with a simulator and runs a cocotb bench on it.

A build is kept under ``build/benches`` (``ACF_BUILD`` replaces ``build``) and used again as long as the Verilog text is
the same; builds and runs of one folder exclude each other between processes.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cocotb_tools.runner import Icarus, Verilator

from acf.config import FabricConfig, preset
from acf.hw import blocks
from acf.sim.gate_level import gate_netlist
from acf.sim.toolchain import verilator_environment
from acf.sim.verilog_store import stored_verilog

__all__ = ["bench_config", "bench_environment", "build_root", "has_icarus", "rounds", "run_bench", "run_verilog"]

_CONFIG_VARIABLE = "ACF_CONFIG"
_DIVISOR_VARIABLE = "ACF_BENCH_DIVISOR"
_RUNTIME_OBJECTS = ("verilated.o", "verilated_dpi.o", "verilated_threads.o", "verilated_vpi.o")


# Code that runs in every cycle is worth -O1, if its functions are small; the rest, half of it, runs once. Compiling the
# bench of the tiny fabric takes 43 s of processor time instead of 91 s.
_VERILATOR_FLAGS = ["-Wno-fatal", "-Wno-WIDTH", "-O3", "--output-split", "20000", "--output-split-cfuncs", "500"]
_MAKE_FLAGS = ["OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1"]

# Bytes of Verilog below which the C++ is compiled as one text: two precompiled headers, needed only for many texts
# side by side, take as long as a block.
_ALONE = 1_000_000


class _PortsOnlyVerilator(Verilator):
    """Makes the signals of the top module visible to cocotb, not those of the whole design, which then runs faster."""

    def _build_command(self):
        commands = super()._build_command()
        control = Path(self.build_dir) / "public.vlt"
        control.write_text(f'`verilator_config\npublic_flat_rw -module "{self.hdl_toplevel}" -var "*"\n')
        commands[0] = [argument for argument in commands[0] if argument != "--public-flat-rw"] + [str(control)]
        kept = sorted(_runtime_folder().glob("*.o"))
        if kept:
            # Between verilating and making, so that make finds them newer than what they are made from.
            commands.insert(1, ["cp", *map(str, kept), str(self.build_dir)])
        commands[-1] += _MAKE_FLAGS
        if sum(source.stat().st_size for source in map(Path, self.sources)) < _ALONE:
            commands[-1].append("VM_PARALLEL_BUILDS=0")
        return commands


def _runtime_folder() -> Path:
    """Where the objects of Verilator's own sources are kept; they take longer to compile than a small block."""
    return build_root() / "benches" / f"verilator-runtime-{version('verilator')}"


def _keep_runtime(built: Path) -> None:
    """Keep Verilator's own objects from a first build for all others."""
    folder = _runtime_folder()
    if folder.exists():
        return
    with tempfile.TemporaryDirectory(dir=built) as temporary:
        fresh = Path(temporary) / "runtime"
        fresh.mkdir()
        for name in _RUNTIME_OBJECTS:
            shutil.copy(built / name, fresh)
        with contextlib.suppress(OSError):  # another process was faster
            fresh.rename(folder)


def has_icarus() -> bool:
    """Whether Icarus Verilog is installed."""
    return shutil.which("iverilog") is not None


def build_root() -> Path:
    """Folder of everything that is built: ``build``, or what ``ACF_BUILD`` names."""
    return Path(os.environ.get("ACF_BUILD", "build")).absolute()


def bench_config() -> FabricConfig:
    """The configuration that the running bench was built with (called inside a bench)."""
    name, format, skipping = os.environ[_CONFIG_VARIABLE].split(":")
    config = preset(name).with_format(format)
    return config if skipping == "True" else config.without_skipping()


def rounds(count: int) -> int:
    """How often the running bench repeats what it draws at random (called inside a bench).

    ``count``, or the part of it, rounded up, that the ``divisor`` of ``run_bench`` leaves.
    """
    return -(-count // int(os.environ.get(_DIVISOR_VARIABLE, "1")))


def bench_environment(config: FabricConfig) -> dict[str, str]:
    """What tells a bench its configuration: a preset, its number format, whether it skips zeros."""
    return {_CONFIG_VARIABLE: f"{config.name}:{config.lane.format}:{config.lane.skipping}"}


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run_bench(
    block: str,
    *,
    module: str | Sequence[str],
    config: FabricConfig | None = None,
    simulator: str = "verilator",
    netlist: bool = False,
    seed: int = 1,
    testcase: str | Sequence[str] | None = None,
    divisor: int = 1,
    env: dict[str, str] | None = None,
) -> None:
    """Generate ``block``, build it, and run the cocotb tests of ``module``, or of several, on it.

    Parameters
    ----------
    block : str
        A key of ``acf.hw.blocks.BLOCKS``.
    module : str or sequence of str
        Python modules that hold the cocotb tests.
    config : FabricConfig or None
        A preset, possibly in another number format or without skipping; ``tiny`` when None. Benches get it by
        ``bench_config``.
    simulator : str
        ``verilator`` or ``icarus``.
    netlist : bool
        Run them on what synthesis for the ECP5 makes of the block.
    seed : int
        Seed of ``random`` in the bench.
    testcase : str or sequence of str or None
        Names of the tests to run; all when None.
    divisor : int
        By which the rounds of random cases are divided in benches that ask for ``rounds``.
    env : dict or None
        Further environment variables for the bench.

    Raises
    ------
    AssertionError
        If a test fails, or the simulation ends without results.
    """
    config = config or preset("tiny")
    top = f"acf_{block}_top"
    source = stored_verilog(f"{top}-{config.digest}", lambda: blocks.generate(block, config=config, top=top))
    name = f"{block}-{config.name}-{config.lane.format}{'' if config.lane.skipping else '-dense'}"
    if netlist:
        source, name = gate_netlist(source, top=top), f"{name}-netlist"
    run_verilog(
        source,
        top=top,
        name=name,
        module=module,
        simulator=simulator,
        seed=seed,
        testcase=testcase,
        env={**bench_environment(config), _DIVISOR_VARIABLE: str(divisor), **(env or {})},
    )


def run_verilog(
    verilog: str,
    *,
    top: str,
    name: str,
    module: str | Sequence[str],
    simulator: str = "verilator",
    seed: int = 1,
    testcase: str | Sequence[str] | None = None,
    env: dict[str, str] | None = None,
    plusargs: Sequence[str] = (),
) -> None:
    """Build Verilog text and run the cocotb tests of ``module`` on it; ``name`` names its folder. See ``run_bench``.

    ``plusargs`` are for ``$value$plusargs`` in the text, each with its ``+``.
    """
    if simulator not in ("verilator", "icarus"):
        raise ValueError(f"simulator must be verilator or icarus, not {simulator!r}")
    os.environ.update(verilator_environment())
    if simulator == "icarus":
        verilog = _with_first_event(verilog)
    folder = build_root() / "benches" / f"{name}-{simulator}"
    with _locked(folder):
        source = folder / f"{top}.v"
        stamp = folder / "built"
        arguments = _VERILATOR_FLAGS if simulator == "verilator" else []
        digest = hashlib.sha256("\n".join([*arguments, *_MAKE_FLAGS, verilog]).encode()).hexdigest()
        runner: Any = _PortsOnlyVerilator() if simulator == "verilator" else Icarus()
        log = folder / "build.log"
        fresh = stamp.exists() and stamp.read_text() == digest
        if fresh:
            _run(runner, folder, top, module, seed, testcase, env or {}, plusargs)
            return
        stamp.unlink(missing_ok=True)
        source.write_text(verilog)
        try:
            runner.build(
                sources=[source],
                hdl_toplevel=top,
                build_dir=folder,
                build_args=arguments,
                timescale=("1ns", "1ps"),
                always=True,
                log_file=log,
            )
        except (Exception, SystemExit) as error:
            raise AssertionError(f"{name} does not build with {simulator}:\n{_tail(log)}") from error
        stamp.write_text(digest)
        if simulator == "verilator":
            _keep_runtime(folder)
        _run(runner, folder, top, module, seed, testcase, env or {}, plusargs)


def _with_first_event(verilog: str) -> str:
    """Let every ``always @*`` block run once at the start.

    Yosys reads a register in each of them for this purpose, but Icarus 11 sets it before the blocks begin to wait, so
    that outputs that depend on the state of a state machine alone would be X until that state changes.
    """
    return re.sub(r"reg (\\\$auto\$verilog_backend\S+) +=\s*0;", r"reg \1 ; initial #0 \1 = 0;", verilog)


def _run(
    runner: Any,
    folder: Path,
    top: str,
    module: str | Sequence[str],
    seed: int,
    testcase: str | Sequence[str] | None,
    env: dict[str, str],
    plusargs: Sequence[str],
) -> None:
    results = folder / "results.xml"
    results.unlink(missing_ok=True)
    modules = [module] if isinstance(module, str) else list(module)
    log = folder / f"{modules[0].rpartition('.')[2]}.log"
    with contextlib.suppress(SystemExit):
        runner.test(
            hdl_toplevel=top,
            hdl_toplevel_lang="verilog",
            test_module=modules,
            build_dir=folder,
            test_dir=folder,
            results_xml=str(results),
            seed=seed,
            testcase=testcase,
            extra_env=env,
            plusargs=plusargs,
            log_file=log,
            timescale=("1ns", "1ps"),
        )
    if not results.exists():
        raise AssertionError(f"the simulation of {top} ended without results:\n{_tail(log)}")
    cases = list(ElementTree.parse(results).getroot().iter("testcase"))
    failed = [case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None]
    if not cases:
        raise AssertionError(f"{', '.join(modules)} has no test called {testcase!r}")
    if failed:
        raise AssertionError(
            f"{modules[0]} on {top} with seed {seed}: {', '.join(map(str, failed))} failed\n{_tail(log)}"
        )


def _tail(log: Path, lines: int = 60) -> str:
    if not log.exists():
        return "(no log)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
