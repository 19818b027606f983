"""Runs one step of the optimizer on any device, and measures it."""

from typing import Any

import ml_dtypes
import numpy as np

from acf.config import FabricConfig
from acf.golden.optimizer import sgd_step
from acf.isa import COMMAND_BYTES, Opcode
from acf.runtime.device import Device, whole_memory
from acf.runtime.memory import Allocator, round_up
from acf.runtime.program import Program
from acf.runtime.roofline import update_roofline

__all__ = ["UPDATE_SEMAPHORE", "add_update", "measure_update", "update_memory_bytes"]

UPDATE_SEMAPHORE = 6
"""Semaphore that the structure engine signals."""

_ROOFLINE = ("roofline_cycles", "roofline_fraction", "compulsory_bytes_read", "compulsory_bytes_written")
_UNITS = {
    "entries": "weights updated, each with a float32 master value, a float32 momentum and a bfloat16 copy",
    "cycles": "clock cycles, from the fetch of the first command to END",
    "cycles_per_entry": "cycles / entries",
    "bytes_read": "bytes of the beats read through the memory port, program included",
    "bytes_written": "bytes written through the memory port",
    "roofline_cycles": "cycles that the memory port takes for compulsory_bytes_read and _written",
    "roofline_fraction": "roofline_cycles / cycles",
    "compulsory_bytes_read": "12 for each entry: gradient, master value, momentum",
    "compulsory_bytes_written": "10 for each entry: master value, momentum, bfloat16 copy",
}


def update_memory_bytes(config: FabricConfig, *, entries: int) -> int:
    """Bytes of device memory that are enough for a step over so many entries."""
    return 4 * round_up(4 * entries, 64) + 16 * COMMAND_BYTES + config.memory.beat_bytes


def add_update(
    program: Program,
    *,
    gradient: int,
    master: int,
    momentum: int,
    values: int,
    entries: int,
    learning_rate: float,
    momentum_factor: float,
    seed: int | None = None,
) -> None:
    """Append an UPDATE and the WAIT for it; with a ``seed`` weights are rounded stochastically.

    Raises
    ------
    ValueError
        If a field does not fit the command.
    """
    program.add(
        Opcode.UPDATE,
        semaphore=UPDATE_SEMAPHORE,
        gradient=gradient,
        master=master,
        momentum=momentum,
        values=values,
        entries=entries,
        learning_rate=_bf16_bits(learning_rate),
        momentum_factor=_bf16_bits(momentum_factor),
        stochastic=int(seed is not None),
        seed=seed or 0,
    )
    program.add(Opcode.WAIT, semaphore=UPDATE_SEMAPHORE, count=1)


def measure_update(device: Device, *, entries: int, stochastic: bool = False, seed: int = 1) -> dict[str, Any]:
    """One step over random numbers, compared with ``acf.golden.optimizer.sgd_step``.

    Parameters
    ----------
    device : Device
        Its memory is overwritten from address 0.
    entries : int
    stochastic : bool
    seed : int
        Of the numbers and of the rounding.

    Returns
    -------
    dict
        Plain data, as ``acf bench update --json`` prints it.
    """
    generator = np.random.default_rng(seed)
    gradient, master, momentum = generator.normal(size=(3, entries)).astype(np.float32)
    rate, factor = 0.1, 0.9
    allocator = Allocator(device.memory)
    places = {
        "gradient": allocator.place(gradient, what="the gradient"),
        "master": allocator.place(master, what="the master values"),
        "momentum": allocator.place(momentum, what="the momentum"),
        "values": allocator.reserve(2 * entries, what="the weights"),
    }
    program = Program()
    rounding_seed = seed + 1 if stochastic else None
    add_update(program, **places, entries=entries, learning_rate=rate, momentum_factor=factor, seed=rounding_seed)
    program.add(Opcode.END)
    address = allocator.place(program.to_array(), what="the program")
    run = device.run(address, len(program), whole_memory(device))

    expected = sgd_step(
        master,
        momentum,
        gradient,
        learning_rate=np.array(rate, dtype=ml_dtypes.bfloat16),
        momentum_factor=np.array(factor, dtype=ml_dtypes.bfloat16),
        rounding="stochastic" if stochastic else "nearest",
        seed=rounding_seed or 0,
    )
    found = {"master": expected.master, "momentum": expected.momentum, "values": expected.weights}
    exact = all(
        device.memory[places[name] : places[name] + array.nbytes].tobytes() == array.tobytes()
        for name, array in found.items()
    )
    bound = update_roofline(device.config, entries=entries).report(run.cycles)
    return {
        "product": "update",
        "device": device.name,
        "entries": entries,
        "stochastic": stochastic,
        "seed": seed,
        "bit_exact": exact,
        "cycles": run.cycles,
        "cycles_per_entry": run.cycles / entries if run.cycles and entries else None,
        **{name: bound[name] for name in _ROOFLINE},
        "bytes_read": run.bytes_read,
        "bytes_written": run.bytes_written,
        "units": _UNITS,
        "config_digest": device.config.digest,
        "config": device.config.describe(),
    }


def _bf16_bits(number: float) -> int:
    return int(np.array(number, dtype=ml_dtypes.bfloat16).view(np.uint16))
