"""Formal proofs of blocks: a harness with assumptions and assertions, to RTLIL, to SymbiYosys with Yices.

A harness makes its device in its constructor, so that it can look at signals of it that are no ports, and adds it as a
submodule *after* its own logic. All registers begin at their initial values; there is no reset.
"""

import inspect
import os
import re
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import textwrap
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Elaboratable, Module, Signal

__all__ = ["Harness", "ProofError", "Verdict", "planted", "prove"]

_MODES = {True: "prove", False: "bmc"}
_VERDICTS = {0: "proved", 2: "refuted", 4: "open"}


class ProofError(RuntimeError):
    """The prover failed; the message holds the end of what it said."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of a proof.

    Members
    -------
    status : str
        ``proved``, ``refuted``, or ``open``: no counterexample, but the induction does not close.
    depth : int
        Cycles of the base case and of the step of the induction, or of the bounded proof.
    is_induction : bool
        Whether it holds for all times, by k-induction, or for the first ``depth`` cycles.
    failed : str
        The assertion that was refuted, as the prover calls it; empty if none was.
    seconds : float
    """

    status: str
    depth: int
    is_induction: bool
    failed: str
    seconds: float


class Harness(Elaboratable, ABC):
    """The environment of a device: its inputs are free unless they are assumed to be otherwise."""

    def __init__(self) -> None:
        self._clock = ClockDomain("sync", reset_less=True)
        self._inputs: list[Signal] = []

    def free(self, name: str, shape: Any = 1) -> Any:
        """A signal that has any value in any cycle."""
        signal = Signal(shape, name=name)
        self._inputs.append(signal if isinstance(signal, Signal) else signal.as_value())  # type: ignore
        return signal

    def later(self, m: Module, signal: Any, cycles: int) -> Any:
        """What ``signal`` was so many cycles ago, 0 before."""
        for n in range(cycles):
            past = Signal.like(signal, name=f"{signal.name}_{n + 1}_ago", init=0)
            m.d.sync += past.eq(signal)
            signal = past
        return signal

    @abstractmethod
    def build(self, m: Module) -> None:
        """Add assumptions, the device, and assertions."""

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = self._clock
        self.build(m)
        return m

    def rtlil(self) -> str:
        """The harness and its device."""
        return rtlil.convert(self, name="top", ports=[self._clock.clk, *self._inputs], emit_src=False)


def prove(harness: Harness, *, depth: int, is_induction: bool, timeout: float = 900) -> Verdict:
    """Prove the assertions of a harness.

    Parameters
    ----------
    harness : Harness
    depth : int
        Cycles.
    is_induction : bool
        By k-induction for all times; else for the first ``depth`` cycles alone.
    timeout : float
        Seconds.

    Raises
    ------
    ProofError
        If the prover fails.
    """
    folder = Path(tempfile.mkdtemp(prefix="acf-proof-"))
    tools = Path(sysconfig.get_path("scripts"))
    (folder / "top.il").write_text(harness.rtlil())
    (folder / "proof.sby").write_text(
        f"[options]\nmode {_MODES[is_induction]}\ndepth {depth}\n"
        "[engines]\nsmtbmc yices\n"
        "[script]\nread_rtlil top.il\nprep -top top\n[files]\ntop.il\n"
    )
    command = [str(tools / "yowasp-sby"), "-f"]
    for option, program in ("yosys", "yosys"), ("smtbmc", "yosys-smtbmc"), ("witness", "yosys-witness"):
        command += [f"--{option}", str(tools / f"yowasp-{program}")]
    begin = time.monotonic()
    with subprocess.Popen(
        [*command, "proof.sby"],
        cwd=folder,
        env={**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', os.defpath)}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=timeout)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)  # the solver, too
            if isinstance(error, subprocess.TimeoutExpired):
                raise ProofError(f"no answer of the prover after {timeout:g} s") from error
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    if process.returncode not in _VERDICTS:
        raise ProofError("\n".join(["the prover failed:", *said.splitlines()[-10:]]))
    failed = re.search(r"failed assertion (\S+)", said)
    return Verdict(
        status=_VERDICTS[process.returncode],
        depth=depth,
        is_induction=is_induction,
        failed=failed[1] if failed else "",
        seconds=time.monotonic() - begin,
    )


def planted(component: type, old: str, new: str, **replaced: Any) -> type:
    """A class with a bug: one piece of its source is another one, or names in it stand for other things.

    Raises
    ------
    ValueError
        If the piece is not there exactly once.
    """
    source = textwrap.dedent(inspect.getsource(component))
    if source.count(old) != 1:
        raise ValueError(f"{old!r} is {source.count(old)} times in {component.__name__}, not once")
    module = inspect.getmodule(component)
    names = {**vars(module), **replaced}
    exec(compile(source.replace(old, new), f"<{component.__name__} with a bug>", "exec"), names)
    return names[component.__name__]
