"""The programs of a training step. From step to step only a few words of them change; they are compiled again only when
layers have lost entries."""

from dataclasses import dataclass, replace

import numpy as np

from acf.golden.rewiring import SPAN_UNIT
from acf.isa import COMMAND_BYTES, Decoder, Opcode, encode_command
from acf.runtime.compiler import add_clear, gather_steps
from acf.runtime.layout import Operand, Weights
from acf.runtime.program import Command, Program
from acf.runtime.sampled import sampled_steps
from acf.runtime.scatter import scatter_steps
from acf.runtime.schedule import add_steps
from acf.training.host_memory import HostMemory
from acf.training.plan import LayerPlan, NetworkPlan

__all__ = [
    "PlacedProgram",
    "backward_program",
    "choose_candidates",
    "forward_program",
    "prune_program",
    "regrow_program",
    "rewire_program",
    "update_program",
]

_STRUCTURE_SEMAPHORE = 6
"""Banks have those below 4, drains have 7."""

_ARRAYS = ("pointers", "indices", "values", "master", "momentum")
"""Arrays of a layer; the first two say where its entries stand."""


@dataclass(eq=False)
class PlacedProgram:
    """A program in memory.

    Parameters
    ----------
    address : int
    program : Program
    """

    address: int
    program: Program

    def write(self, host: HostMemory) -> None:
        """Store all commands."""
        host.write(self.address, self.program.to_array())

    def patch(self, host: HostMemory, opcode: Opcode, *, which: int | None = None, **fields: int) -> None:
        """Give all commands of ``opcode``, or only number ``which`` of them, other values of some fields."""
        numbers = [n for n, command in enumerate(self.program.commands) if command.opcode is opcode]
        for number in numbers if which is None else numbers[which : which + 1]:
            changed = {**self.program.commands[number].fields, **fields}
            self.program.commands[number] = Command(opcode, changed)
            words = np.array(encode_command(opcode, **changed), dtype="<u4")
            host.write(self.address + number * COMMAND_BYTES, words)


def forward_program(plan: NetworkPlan) -> Program:
    """All layers: ReLU and rounding in the drain, the logits in float32."""
    program = _cleared(plan)
    for layer in plan.layers:
        hidden = layer is not plan.layers[-1]
        steps = gather_steps(
            plan.config,
            layer.weights,
            columns=plan.batch,
            operand=layer.inputs,
            result=layer.outputs,
            relu=hidden,
            narrow=hidden,
        )
        add_steps(program, plan.config, steps)
    program.add(Opcode.END)
    return program


def backward_program(plan: NetworkPlan, *, update: dict[str, int] | None = None) -> Program:
    """For every layer from the last: the gradient of its weights, and of the sums of the layer before.

    With ``update``, common fields of all UPDATE commands, every layer is updated as soon as its products are done,
    while those of the layer before go on.
    """
    program = _cleared(plan)
    updates = _StructureCommands(program)
    for number, layer in reversed(list(enumerate(plan.layers))):
        steps = []
        # First what needs one operand only: the other one is loaded meanwhile, and its drain stands beside the next.
        if number:
            steps += scatter_steps(
                plan.config,
                layer.weights,
                columns=plan.batch,
                operand=layer.sum_gradients,
                result=plan.layers[number - 1].sum_gradients,
                results=layer.weights.inner - 1,
                gate=layer.inputs,
                narrow=True,
            )
        steps += sampled_steps(
            plan.config,
            layer.weights,
            columns=plan.batch,
            row_operand=layer.sum_gradients,
            operand=layer.inputs,
            result=layer.gradient,
            exposed=not steps,
        )
        add_steps(program, plan.config, steps)
        if update is not None:
            updates.add(Opcode.UPDATE, **_update_fields(layer), **update)
    updates.wait_for_all()
    program.add(Opcode.END)
    return program


def update_program(plan: NetworkPlan, *, update: dict[str, int]) -> Program:
    """The optimizer's step of all layers, the last one first."""
    program = Program()
    updates = _StructureCommands(program)
    for layer in reversed(plan.layers):
        updates.add(Opcode.UPDATE, **_update_fields(layer), **update)
    updates.wait_for_all()
    program.add(Opcode.END)
    return program


def rewire_program(plan: NetworkPlan, layer: LayerPlan, *, at_random: bool) -> Program:
    """Drop and grow in every row of a layer; ``span``, ``seed`` and the ``block`` of drains are to be patched.

    Of the gradients of all candidates only a bit each goes to memory, which says whether it is the largest of its
    block. Which columns are candidates is up to ``choose_candidates``; as it is made, those from column 0 on.
    """
    program = Program() if at_random else _cleared(plan)
    (candidates,) = plan.candidates
    if not at_random:
        rows, at_a_time = layer.weights.rows, plan.candidate_rows[layer.name]
        for begin in range(0, rows, at_a_time):
            count = min(at_a_time, rows - begin)
            result = candidates + begin * layer.candidate_columns // 8
            _add_gradients(program, plan, layer, begin=begin, count=count, result=result, select={"block": 0})
    rewires = _StructureCommands(program)
    rewires.add(
        Opcode.REWIRE,
        row_begin=0,
        row_end=layer.weights.rows,
        candidates=candidates,
        candidate_shift=layer.candidate_step.bit_length() - 1,
        random=int(at_random),
        seed=1,
        span=SPAN_UNIT,
        **_structure_fields(layer),
    )
    rewires.wait_for_all()
    program.add(Opcode.END)
    return program


def choose_candidates(program: PlacedProgram, host: HostMemory, layer: LayerPlan, *, first: int) -> None:
    """Let a program of ``rewire_program`` take columns from ``first`` on, which is below ``candidate_step``."""
    program.patch(host, Opcode.REWIRE, candidate_first=first)
    inputs, rows = layer.inputs, layer.candidate_columns * layer.candidate_step
    loads = [command.fields["address"] for command in program.program.commands if command.opcode is Opcode.LOAD]
    for number, address in enumerate(loads):
        row, column = divmod(address - inputs.address, inputs.stride)
        if 0 <= row < rows:
            row += first - row % layer.candidate_step
            program.patch(host, Opcode.LOAD, which=number, address=inputs.address + row * inputs.stride + column)


def regrow_program(plan: NetworkPlan, layer: LayerPlan, *, at_random: bool) -> Program:
    """Drop in a layer and grow in it, wherever that is; ``layer_drop``, ``grow`` and ``seed`` are to be patched.

    What stays goes to the second buffer, and from there, with the newcomers, to where it was. Gradients off the mask
    are computed twice: to see which are large, and to take these.
    """
    program = Program() if at_random else _cleared(plan)
    steps = _StructureCommands(program)
    fields = _structure_fields(layer)
    shift = plan.shift(layer)
    steps.add(Opcode.PRUNE, row_end=layer.weights.rows, shift=shift, **fields)
    there = {name: (fields[name] + shift) % (1 << 32) for name in _ARRAYS}
    seen = {name: there.get(name, value) for name, value in fields.items() if name not in _ARRAYS[2:]}
    _add_growth(steps, plan, layer, Opcode.SURVEY, at_random=at_random, **seen)
    steps.wait_for_all()  # both begin with the same buffer of gradients
    back = -shift % (1 << 32)
    _add_growth(steps, plan, layer, Opcode.MERGE, at_random=at_random, shift=back, **{**fields, **there})
    steps.wait_for_all()
    program.add(Opcode.END)
    return program


def prune_program(layer: LayerPlan) -> Program:
    """Drop the smallest entries of a layer, in place; ``layer_drop`` is to be patched."""
    program = Program()
    prunings = _StructureCommands(program)
    prunings.add(Opcode.PRUNE, row_end=layer.weights.rows, **_structure_fields(layer))
    prunings.wait_for_all()
    program.add(Opcode.END)
    return program


class _StructureCommands:
    """Commands of the structure engine, which go on while others do."""

    def __init__(self, program: Program):
        self.program = program
        self._under_way = 0

    def add(self, opcode: Opcode, **fields: int) -> None:
        self.program.add(opcode, semaphore=_STRUCTURE_SEMAPHORE, **fields)
        self._under_way += 1

    def wait_for_all(self, *, but: int = 0) -> None:
        """Wait until at most ``but`` are under way: the engine takes them in order."""
        done = self._under_way - but
        if done > 0:
            self.program.add(Opcode.WAIT, semaphore=_STRUCTURE_SEMAPHORE, count=done)
            self._under_way -= done


def _add_growth(
    commands: _StructureCommands, plan: NetworkPlan, layer: LayerPlan, opcode: Opcode, *, at_random: bool, **fields: int
) -> None:
    """Commands for all rows of a layer that need the gradients of all columns.

    These are computed for a few rows at a time, into one of two buffers, while the engine works on the other.
    """
    rows = layer.weights.rows
    if at_random:
        commands.add(opcode, row_begin=0, row_end=rows, random=1, seed=1, **fields)
        return
    stride = layer.candidate_columns * plan.config.lane.number_format.result_bytes
    at_a_time = plan.candidate_rows[layer.name]
    for number, begin in enumerate(range(0, rows, at_a_time)):
        count = min(at_a_time, rows - begin)
        buffer = plan.candidates[number % 2]
        commands.wait_for_all(but=1)
        _add_gradients(commands.program, plan, layer, begin=begin, count=count, result=buffer)
        commands.add(
            opcode, row_begin=begin, row_end=begin + count, candidates=buffer, candidate_stride=stride, **fields
        )


def _add_gradients(
    program: Program,
    plan: NetworkPlan,
    layer: LayerPlan,
    *,
    begin: int,
    count: int,
    result: int,
    select: dict[str, int] | None = None,
) -> None:
    """Steps that give the gradients of some rows, in all columns or in one of each ``candidate_step``."""
    everything = Weights(
        rows=count,
        inner=layer.candidate_columns,
        entries=count * layer.candidate_columns,
        pointers=0,
        indices=0,
        decoder=Decoder.DENSE,
    )
    row_operand = Operand(
        address=layer.sum_gradients.address + begin * layer.sum_gradients.stride,
        stride=layer.sum_gradients.stride,
    )
    steps = sampled_steps(
        plan.config,
        everything,
        columns=plan.batch,
        row_operand=row_operand,
        operand=replace(layer.inputs, stride=layer.inputs.stride * layer.candidate_step),
        result=result,
        select=select,
    )
    add_steps(program, plan.config, steps)


def _cleared(plan: NetworkPlan) -> Program:
    program = Program()
    add_clear(program, plan.config, rows=plan.config.lane.accumulator_rows)
    return program


def _update_fields(layer: LayerPlan) -> dict[str, int]:
    return {
        "gradient": layer.gradient,
        "values": layer.weights.values,
        "entries": layer.weights.entries,
        "master": layer.master,
        "momentum": layer.momentum,
    }


def _structure_fields(layer: LayerPlan) -> dict[str, int]:
    weights = layer.weights
    return {
        "pointers": weights.pointers,
        "indices": weights.indices,
        "values": weights.values,
        "master": layer.master,
        "momentum": layer.momentum,
        "index_size": weights.index_size,
        "inner_size": weights.inner,
        "protected_from": weights.inner - 1,
    }
