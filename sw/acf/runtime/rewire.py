"""Runs rewirings on any device, and measures them."""

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from acf.config import FabricConfig
from acf.golden.rewiring import rewire, select_largest
from acf.isa import COMMAND_BYTES, IndexSize, Opcode, StructureCounter, candidate_row_bits
from acf.runtime.device import Device, whole_memory
from acf.runtime.memory import Allocator, round_up
from acf.runtime.program import Program

__all__ = ["RewireTask", "measure_rewire", "rewire_memory_bytes"]

_SEMAPHORE = 6
_ARRAYS = ("indices", "master", "momentum", "values")


@dataclass(frozen=True, kw_only=True)
class RewireTask:
    """What a REWIRE of a layer is told.

    Parameters
    ----------
    span : int
        Of the command.
    block : int
        Of the drains that make its candidates; None for random growth.
    """

    span: int
    block: int | None


def rewire_memory_bytes(config: FabricConfig, *, rows: int, inner: int, fan_in: int) -> int:
    """Bytes of device memory that are enough for a layer with so many entries in each row."""
    entries = rows * fan_in
    sizes = (4 * (rows + 1), 2 * entries, 4 * entries, 4 * entries, 2 * entries, rows * round_up(inner, 64) // 8)
    return sum(round_up(size, 64) for size in sizes) + 16 * COMMAND_BYTES + config.memory.beat_bytes


def measure_rewire(
    device: Device, task: RewireTask, *, rows: int, inner: int, fan_in: int, seed: int
) -> dict[str, Any]:
    """One REWIRE of a layer of random numbers, compared with ``acf.golden.rewiring.rewire``.

    Parameters
    ----------
    device : Device
        Its memory is overwritten from address 0.
    task : RewireTask
    rows, inner, fan_in : int
        Of the layer, of which each row has ``fan_in`` of ``inner`` columns.
    seed : int
        Of the numbers and of the draws.
    """
    generator = np.random.default_rng(seed)
    chosen = [generator.permutation(inner)[:fan_in] for _ in range(rows)]
    master, momentum = generator.normal(size=(2, rows * fan_in)).astype(np.float32)
    arrays = {
        "pointers": (np.arange(rows + 1) * fan_in).astype(np.int32),
        "indices": np.array(chosen, dtype=np.uint16).ravel(),
        "values": master.astype(ml_dtypes.bfloat16),
        "master": master,
        "momentum": momentum,
    }
    candidates = np.zeros((rows, candidate_row_bits(inner)), dtype=np.bool_)
    if task.block is not None:
        gradients = np.zeros(candidates.shape, dtype=np.float32)
        gradients[:, :inner] = generator.normal(size=(rows, inner))
        candidates = select_largest(gradients.ravel(), first=0, block=1 << task.block).reshape(candidates.shape)
    allocator = Allocator(device.memory)
    places = {name: allocator.place(array, what=f"the {name}") for name, array in arrays.items()}
    bits = allocator.place(np.packbits(candidates, bitorder="little"), what="the candidates")
    program = Program()
    program.add(
        Opcode.REWIRE,
        semaphore=_SEMAPHORE,
        row_begin=0,
        row_end=rows,
        candidates=bits,
        random=int(task.block is None),
        index_size=IndexSize.UINT16,
        inner_size=inner,
        protected_from=inner,
        span=task.span,
        seed=seed,
        **places,
    )
    program.add(Opcode.WAIT, semaphore=_SEMAPHORE, count=1)
    program.add(Opcode.END)
    address = allocator.place(program.to_array(), what="the program")
    run = device.run(address, len(program), whole_memory(device))
    expected = rewire(
        *(arrays[name] for name in ("pointers", "indices", "master", "momentum", "values")),
        row_begin=0,
        row_end=rows,
        span=task.span,
        most=device.config.structure.exchanged,
        inner_size=inner,
        candidates=None if task.block is None else candidates,
        seed=seed,
    )
    exact = run.rewired == expected.changed and all(
        device.memory[places[name] : places[name] + arrays[name].nbytes].tobytes() == getattr(expected, name).tobytes()
        for name in _ARRAYS
    )
    cycles = None if run.structure is None else run.structure[StructureCounter.REWIRE_CYCLES]
    return {
        "bit_exact": exact,
        "rewired": run.rewired,
        "rewire_cycles": cycles,
        "bytes_read": run.bytes_read,
        "bytes_written": run.bytes_written,
    }
