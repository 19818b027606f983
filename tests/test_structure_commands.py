"""UPDATE and REWIRE on the golden device: what they do to memory, and what they are refused for."""

import ml_dtypes
import numpy as np
import pytest

from acf.config import preset
from acf.golden.commands import CommandFault, CommandInterpreter, WindowRights
from acf.golden.optimizer import sgd_step
from acf.isa import COMMAND_BYTES, ErrorCode, Opcode, encode_command

TINY = preset("tiny")  # beats of 8 bytes
PROGRAM, GRADIENT, MASTER, MOMENTUM, VALUES = 0x0000, 0x1000, 0x2000, 0x3000, 0x4000
SIZE = 1 << 16
BF16 = ml_dtypes.bfloat16


class Bench:
    """A memory with three arrays in it, and an interpreter."""

    def __init__(self, *, format="bf16"):
        self.interpreter = CommandInterpreter(config=TINY.with_format(format))
        self.memory = np.full(SIZE, 0xA5, dtype=np.uint8)
        self.windows = [WindowRights(0, SIZE - 1, True, True)]
        rng = np.random.default_rng(3)
        self.gradient, self.master, self.momentum = rng.normal(size=(3, 100)).astype(np.float32)
        self.put(GRADIENT, self.gradient)
        self.put(MASTER, self.master)
        self.put(MOMENTUM, self.momentum)

    def put(self, address, array):
        data = np.ascontiguousarray(array).view(np.uint8).ravel()
        self.memory[address : address + data.size] = data

    def get(self, address, count, dtype: type = np.float32):
        return self.memory[address : address + count * np.dtype(dtype).itemsize].copy().view(dtype)

    def run(self, *commands):
        words = [encode_command(opcode, **fields) for opcode, fields in [*commands, (Opcode.END, {})]]
        self.put(PROGRAM, np.array(words, dtype="<u4"))
        return self.interpreter.run(self.memory, program_address=PROGRAM, commands=len(words), windows=self.windows)

    def fault(self, *commands):
        with pytest.raises(CommandFault) as caught:
            self.run(*commands)
        return caught.value


def bits(number):
    return int(np.array(number, dtype=BF16).view(np.uint16))


def update(**changes):
    fields = {
        "semaphore": 6, "gradient": GRADIENT, "master": MASTER, "momentum": MOMENTUM, "values": VALUES, "entries": 99,
        "learning_rate": bits(0.1), "momentum_factor": bits(0.9),
    }  # fmt: skip
    return Opcode.UPDATE, {**fields, **changes}


@pytest.mark.parametrize(("stochastic", "rounding"), [(0, "nearest"), (1, "stochastic")])
def test_an_update_is_a_step_of_sgd(stochastic, rounding):
    bench = Bench()
    bench.run(update(stochastic=stochastic, seed=7), (Opcode.WAIT, {"semaphore": 6, "count": 1}))
    expected = sgd_step(
        bench.master[:99], bench.momentum[:99], bench.gradient[:99], learning_rate=0.1, momentum_factor=0.9,
        rounding=rounding, seed=7,
    )  # fmt: skip
    assert bench.get(MASTER, 99).tobytes() == expected.master.tobytes()
    assert bench.get(MOMENTUM, 99).tobytes() == expected.momentum.tobytes()
    assert bench.get(VALUES, 99, BF16).tobytes() == expected.weights.tobytes()


def test_an_update_touches_nothing_else():
    bench = Bench()
    before = bench.memory.copy()
    bench.run(update())
    changed = np.flatnonzero(bench.memory != before)
    changed = changed[changed >= GRADIENT]
    inside = [(MASTER, 4), (MOMENTUM, 4), (VALUES, 2)]
    assert changed.size > 0
    assert all(any(base <= place < base + 99 * size for base, size in inside) for place in changed.tolist())


def test_an_update_of_nothing_signals():
    bench = Bench()
    before = bench.memory.copy()
    bench.run(update(entries=0), (Opcode.WAIT, {"semaphore": 6, "count": 1}))
    assert (bench.memory[GRADIENT:] == before[GRADIENT:]).all()


@pytest.mark.parametrize("array", ["gradient", "master", "momentum", "values"])
def test_arrays_of_an_update_lie_at_whole_beats(array):
    address = update()[1][array] + 4
    fault = Bench().fault(update(**{array: address}))
    assert (fault.code, fault.address) == (ErrorCode.MISALIGNED, address)


def test_updates_are_for_bf16():
    fault = Bench(format="int8").fault(update())
    assert (fault.code, fault.address) == (ErrorCode.COMMAND_RANGE, PROGRAM)


def test_stochastic_rounding_needs_a_seed():
    fault = Bench().fault((Opcode.WAIT, {"semaphore": 0, "count": 0}), update(stochastic=1, seed=0))
    assert (fault.code, fault.address) == (ErrorCode.COMMAND_RANGE, PROGRAM + COMMAND_BYTES)


def test_an_update_keeps_to_the_windows():
    bench = Bench()
    bench.windows = [WindowRights(0, MOMENTUM - 1, True, True), WindowRights(MOMENTUM, SIZE - 1, True, False)]
    before = bench.get(MOMENTUM, 100)
    assert bench.fault(update()).code is ErrorCode.WINDOW
    assert bench.get(MOMENTUM, 100).tobytes() == before.tobytes()
