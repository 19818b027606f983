"""Plants faults in a block and asks its bench to find them: ``python -m acf.tb.mutation --block lane --faults 12``.

The tests of the bench run one by one on each fault, the quickest first, until one fails. A fault that all of them let
pass is judged by what the fault changed at the block's outputs:

- *silent*: nothing, in any cycle of any test. It may not change behaviour at all, and does not count;
- *timing*: handshakes came in other cycles, and each channel carried what it carries without the fault;
- *order*: each channel carried the same, but in another order, in a block whose contract leaves the order of
  independent packets open (the bench checks the order that is promised);
- *missed*: anything else. The bench has a hole.
"""

import argparse
import contextlib
import fcntl
import json
import multiprocessing
import os
import signal
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from acf.config import FabricConfig, preset
from acf.tb.netlist import OBSERVED, Fault, faulty_netlist, wrapper
from acf.tb.runner import bench_environment, build_root, run_verilog

__all__ = ["BENCHES", "Bench", "Outcome", "Report", "judge", "plant", "read_observed"]

VERDICTS = ("caught", "missed", "order", "timing", "silent")

_HANGS = "no end"
_POOL = 4  # faults planted for each that is asked for: many are silent


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The bench of a block, as short as it may be.

    Parameters
    ----------
    module : str or tuple of str
        Python modules of the cocotb tests.
    leave_out : tuple of str
        Tests that cannot run here (they look at names inside the block), or take long and add little.
    env : dict
        Environment that makes it short.
    order_is_free : bool
        The block may let independent packets overtake each other.
    timed : tuple of str
        Prefixes of channels whose payloads tell the time: counters of cycles, and how often a host asks; and of outputs
        without a handshake that are high from one event to another. A fault that is seen only there changed nothing
        but the time, and the tests check what the counters and these outputs promise.
    """

    module: str | tuple[str, ...]
    leave_out: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    order_is_free: bool = False
    timed: tuple[str, ...] = ()

    @property
    def modules(self) -> tuple[str, ...]:
        """All modules of the tests."""
        return (self.module,) if isinstance(self.module, str) else self.module


BENCHES = {
    "mac": Bench(
        module="acf.tb.bench_formats",
        leave_out=("idle_registers_hold", "testfloat"),
        env={"ACF_MAC_CASES": "4000"},
    ),
    "float32_add": Bench(module="acf.tb.bench_float32", env={"ACF_FLOAT_CASES": "4000"}),
    "fused_multiply_add": Bench(module="acf.tb.bench_float32", env={"ACF_FLOAT_CASES": "6000"}),
    "lane": Bench(module="acf.tb.bench_lane"),
    "tile": Bench(module=("acf.tb.bench_tile", "acf.tb.bench_tile_timing")),
    "router": Bench(module="acf.tb.bench_router"),
    "node": Bench(module="acf.tb.bench_mesh", order_is_free=True),
    "noc": Bench(module="acf.tb.bench_mesh", order_is_free=True),
    "row_feeder": Bench(
        module=(
            "acf.tb.bench_row_feeder",
            "acf.tb.bench_row_feeder_formats",
            "acf.tb.bench_row_feeder_ahead",
            "acf.tb.bench_row_feeder_errors",
        )
    ),
    "column_feeder": Bench(module="acf.tb.bench_column_feeder"),
    # Bursts of different arrays may come in another order.
    "update_engine": Bench(module="acf.tb.bench_update_engine", order_is_free=True),
    "rewire_engine": Bench(module="acf.tb.bench_rewire_engine", order_is_free=True),
    "prune_engine": Bench(module="acf.tb.bench_prune_engine", order_is_free=True),
    "merge_engine": Bench(module="acf.tb.bench_merge_engine", order_is_free=True),
    "command_processor": Bench(module="acf.tb.bench_command_processor", timed=("counters_enable", "quiesce")),
    "read_interconnect": Bench(module="acf.tb.bench_interconnect", env={"ACF_BENCH_CHANNELS": "r"}),
    "write_interconnect": Bench(module="acf.tb.bench_interconnect", env={"ACF_BENCH_CHANNELS": "w"}),
    "guard": Bench(module="acf.tb.bench_guard"),
    # What the chip gets is judged by the chip, and by what comes back from it; answers to single bytes by the bench.
    "sdram": Bench(
        module="acf.tb.bench_sdram",
        timed=("sdram_", "accessed", "activated", "refreshed", "access_answered", "access_value", "access_refused"),
    ),
    # Products of all tiles lie in one memory. Which cursor of a row feeder asks for a beat, and how many beats it asks
    # for at once, depends on which of them is free.
    "fabric": Bench(
        module="acf.tb.bench_fabric",
        env={"ACF_BENCH_CASES": "1"},
        order_is_free=True,
        timed=("s_axil_", "m_axi_ar", "m_axi_r"),
    ),
}
"""The benches, by block."""


@dataclass
class Observed:
    """What the wrapper saw in one test.

    Members
    -------
    number : int
        The fault that was on.
    differences : list of (int, str, str)
        First cycle, kind and name of every output that differed.
    transfers : dict
        Payloads by channel, in order.
    """

    number: int = 0
    differences: list[tuple[int, str, str]] = field(default_factory=list)
    transfers: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


@dataclass
class Outcome:
    """What became of a fault.

    Parameters
    ----------
    fault : Fault
    verdict : str
        One of ``VERDICTS``.
    caught_by : str or None
        The test that failed.
    differed : tuple of str
        Outputs that differed while a test passed.
    """

    fault: Fault
    verdict: str
    caught_by: str | None = None
    differed: tuple[str, ...] = ()


@dataclass
class Report:
    """All faults of a block."""

    block: str
    config: str
    seed: int
    bench: str
    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, verdict: str) -> int:
        """Faults with a verdict."""
        return sum(outcome.verdict == verdict for outcome in self.outcomes)

    def named(self, verdict: str) -> list[str]:
        """Faults with a verdict, in words."""
        return [
            f"{outcome.fault}, seen at {', '.join(outcome.differed) or 'no output'}"
            for outcome in self.outcomes
            if outcome.verdict == verdict
        ]

    @property
    def changing(self) -> int:
        """Faults that changed behaviour."""
        return self.count("caught") + self.count("missed")

    def save(self, path: Path) -> None:
        """Write the report as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        counts = {verdict: self.count(verdict) for verdict in VERDICTS}
        path.write_text(json.dumps({**asdict(self), "counts": counts}, indent=1) + "\n")


def read_observed(text: str) -> Observed:
    """Parse the wrapper's log."""
    observed = Observed()
    for line in text.splitlines():
        mark, *rest = line.split(" ")
        if mark == "S":
            observed.number = int(rest[0])
        elif mark == "D":
            observed.differences.append((int(rest[0]), rest[1], rest[2]))
        elif mark == "T":
            observed.transfers[rest[0]].append(rest[1])
    return observed


def judge(
    observed: dict[str, Observed],
    fault_free: Callable[[str], Observed],
    *,
    order_is_free: bool = False,
    timed: tuple[str, ...] = (),
) -> str:
    """The verdict over a fault that every test let pass.

    Parameters
    ----------
    observed : dict
        What was seen with the fault, by test.
    fault_free : callable
        What a test sees without it.
    order_is_free, timed
        See ``Bench``.
    """

    def counted(transfers: dict[str, list[str]]) -> dict[str, list[str]]:
        return {channel: payloads for channel, payloads in transfers.items() if not channel.startswith(timed)}

    verdict = "silent"
    for test, seen in observed.items():
        if not seen.differences:
            continue
        verdict = "timing" if verdict == "silent" else verdict
        times = [cycle for cycle, kind, name in seen.differences if kind == "H" or name.startswith(timed)]
        others = [cycle for cycle, kind, name in seen.differences if kind == "P" and not name.startswith(timed)]
        handshake, other = min(times, default=None), min(others, default=None)
        # Once the handshakes have parted, the two netlists no longer get the same inputs: only the first
        # difference and the transfers can be trusted.
        if not order_is_free and (handshake is None or (other is not None and other <= handshake)):
            return "missed"
        carried, transfers = counted(seen.transfers), counted(fault_free(test).transfers)
        if carried != transfers:
            if not order_is_free or _unordered(carried) != _unordered(transfers):
                return "missed"
            verdict = "order"
    return verdict


def _unordered(transfers: dict[str, list[str]]) -> dict[str, Counter[str]]:
    return {channel: Counter(payloads) for channel, payloads in transfers.items()}


class _Plantation:
    """A block with its faults, built, and its bench."""

    def __init__(self, block: str, *, bench: Bench, config: FabricConfig, pool: int, seed: int):
        self.block, self.bench, self.seed = block, bench, seed
        self._top = f"acf_{block}_top"
        module = f"acf_{block}_faulty"
        netlist, self.faults, ports = faulty_netlist(block, config=config, faults=pool, seed=seed, module=module)
        self._verilog = wrapper(ports, top=self._top, module=module) + netlist
        self._name = f"faults-{block}-{config.name}-{config.lane.format}-{seed}"
        self._env = {**bench_environment(config), **bench.env}
        self._folder = build_root() / "benches" / f"{self._name}-verilator"
        self._fault_free: dict[str, Observed] = {}
        self._seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes out of the folder."""
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        with self._folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def tests(self) -> list[str]:
        """Tests of the bench, the quickest first.

        Raises
        ------
        RuntimeError
            If the bench fails without a fault: then it could not judge.
        """
        results = self._folder / "results.xml"
        results.unlink(missing_ok=True)
        _, said = self._run(0, None, timeout=1800)
        cases = list(ElementTree.parse(results).getroot().iter("testcase")) if results.exists() else []
        cases = [case for case in cases if case.get("name") not in self.bench.leave_out]
        failed = [case.get("name") for case in cases if case.find("failure") is not None]
        self._seconds = {
            str(case.get("name")): float(case.get("time") or 0) for case in cases if case.find("skipped") is None
        }
        if failed or not self._seconds:
            raise RuntimeError(f"the bench of {self.block} fails without any fault planted:\n{said}")
        return sorted(self._seconds, key=self._seconds.__getitem__)

    def try_out(self, fault: Fault, tests: list[str]) -> Outcome:
        """Run the bench on one fault."""
        observed = {}
        for test in tests:
            # Faults that stop everything make a bench wait for its own limits: give it some time for that.
            passed, said = self._run(fault.number, test, timeout=120 + 30 * self._seconds[test])
            if not passed:
                return Outcome(fault, "caught", caught_by=f"{test} ({said})" if said.startswith(_HANGS) else test)
            observed[test] = self._observed(fault.number)
        differed = dict.fromkeys(name for seen in observed.values() for _, _, name in sorted(seen.differences))
        verdict = judge(observed, self._without_fault, order_is_free=self.bench.order_is_free, timed=self.bench.timed)
        return Outcome(fault, verdict, differed=tuple(differed))

    def _without_fault(self, test: str) -> Observed:
        if test not in self._fault_free:
            passed, said = self._run(0, test, timeout=600)
            if not passed:
                raise RuntimeError(f"{test} of {self.block} fails alone, without any fault planted:\n{said}")
            self._fault_free[test] = self._observed(0)
        return self._fault_free[test]

    def _observed(self, number: int) -> Observed:
        log = self._folder / OBSERVED
        if not log.exists():  # the test ended before the first event
            return Observed(number)
        observed = read_observed(log.read_text())
        if observed.number != number:
            raise RuntimeError(
                f"fault {observed.number} was on, not {number}: is {self._folder} used by two at a time?"
            )
        return observed

    def _run(self, number: int, test: str | None, *, timeout: float) -> tuple[bool, str]:
        (self._folder / OBSERVED).unlink(missing_ok=True)
        # In a process group of its own, so that a simulation that hangs can be ended with all that it has started.
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=self._run_in_child, args=(number, test, sender))
        process.start()
        sender.close()
        try:
            said = receiver.recv() if receiver.poll(timeout) else f"{_HANGS} after {timeout:.0f} seconds"
        except EOFError:
            said = "the bench ended without a word"
        if process.is_alive():
            process.join(1)
        if process.is_alive() and process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.join()
        return said == "", said

    def _run_in_child(self, number: int, test: str | None, sender) -> None:
        os.setsid()
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        try:
            run_verilog(
                self._verilog,
                top=self._top,
                name=self._name,
                module=self.bench.module,
                seed=self.seed,
                testcase=test,
                env=self._env,
                plusargs=[f"+mutsel={number}"],
            )
            sender.send("")
        except BaseException as error:
            sender.send(str(error) or type(error).__name__)


def plant(
    block: str,
    *,
    bench: Bench | None = None,
    config: FabricConfig | None = None,
    faults: int = 12,
    seed: int = 1,
    report: Callable[[Outcome], None] = lambda outcome: None,
) -> Report:
    """Plant faults in a block until ``faults`` of them have changed its behaviour.

    Parameters
    ----------
    block : str
        A key of ``BENCHES``, or of ``acf.hw.blocks.BLOCKS`` when ``bench`` is given.
    bench : Bench or None
        The bench that is asked; that of ``BENCHES`` when None.
    config : FabricConfig or None
        ``tiny`` when None.
    faults : int
        Faults that change behaviour to be found, of four times as many planted.
    seed : int
        Of the choice of faults and of the bench.
    report : callable
        Called with each outcome.

    Raises
    ------
    ValueError
        If the block has no bench, or ``faults`` is not positive.
    RuntimeError
        If the bench fails without a fault.
    """
    if bench is None:
        if block not in BENCHES:
            raise ValueError(f"block must be one of {', '.join(BENCHES)}, not {block!r}")
        bench = BENCHES[block]
    if faults < 1:
        raise ValueError(f"faults must be at least 1, not {faults!r}")
    config = config or preset("tiny")
    begin = time.monotonic()
    result = Report(block=block, config=config.digest, seed=seed, bench=", ".join(bench.modules))
    plantation = _Plantation(block, bench=bench, config=config, pool=_POOL * faults, seed=seed)
    with plantation.alone():
        tests = plantation.tests()
        for fault in plantation.faults:
            outcome = plantation.try_out(fault, tests)
            result.outcomes.append(outcome)
            report(outcome)
            if result.changing >= faults:
                break
    result.seconds = round(time.monotonic() - begin, 1)
    return result


def _print(console: Console, result: Report) -> None:
    table = Table(title=f"{result.block}: {len(result.outcomes)} faults, {result.seconds:.0f} s", title_justify="left")
    table.add_column("verdict")
    table.add_column("faults", justify="right")
    for verdict in VERDICTS:
        table.add_row(verdict, str(result.count(verdict)))
    console.print(table)
    by_test = Counter(outcome.caught_by for outcome in result.outcomes if outcome.caught_by)
    console.print("caught by: " + ", ".join(f"{test} {number}" for test, number in by_test.most_common()))
    for verdict in ("missed", "order", "timing"):
        for line in result.named(verdict):
            console.print(f"{verdict}: {line}", markup=False, highlight=False, soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    """The command line; 1 when a fault was missed."""
    parser = argparse.ArgumentParser(prog="python -m acf.tb.mutation", description="Plant faults in a block.")
    parser.add_argument("--block", choices=list(BENCHES), required=True)
    parser.add_argument("--faults", type=int, default=12, help="faults that change behaviour (default 12)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--preset", default="tiny")
    options = parser.parse_args(arguments)
    console = Console()
    progress = Console(stderr=True)

    def report(outcome: Outcome) -> None:
        by = f" by {outcome.caught_by}" if outcome.caught_by else ""
        progress.print(f"{outcome.verdict}{by}: {outcome.fault}", markup=False, highlight=False, soft_wrap=True)

    try:
        result = plant(
            options.block, config=preset(options.preset), faults=options.faults, seed=options.seed, report=report
        )
    except (ValueError, RuntimeError) as error:
        progress.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        return 2
    result.save(build_root() / "regress" / f"faults-{options.block}-{options.preset}-{options.seed}.json")
    _print(console, result)
    return 1 if result.count("missed") else 0


if __name__ == "__main__":
    sys.exit(main())
