"""Layouts of flits, links and packet heads.

A flit carries ``flit_width`` payload bits. The first 16 bits of a head flit are the routing header, the other 48 belong
to the packet; body flits are all payload. Blocks see packets as streams of ``flit_layout``; between routers the same
flits travel on credit-controlled links.
"""

import enum

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from acf.config import NocConfig
from acf.isa import Cast, TrafficClass

__all__ = [
    "HEADER",
    "clear_head",
    "command_head",
    "done_head",
    "drain_head",
    "entry_head",
    "error_head",
    "flit_layout",
    "flit_stream",
    "header_values",
    "link_signature",
    "operand_head",
    "result_head",
    "setup_head",
    "signal_head",
]

_HEADER_FIELDS = {"x": 4, "y": 4, "cast": 2, "traffic_class": 2, "kind": 4}

HEADER = data.StructLayout(_HEADER_FIELDS)
"""The routing header: destination, cast, class and kind."""


def _head(**fields: int) -> data.StructLayout:
    used = sum(fields.values())
    return data.StructLayout({**_HEADER_FIELDS, **fields, **({"reserved": 48 - used} if used < 48 else {})})


entry_head = _head(value=16, row=16, accumulator=16)
"""ENTRY: the value of the entry, its operand row in the bank, its accumulator row. In SAMPLED mode the operand row in
the row bank stands for the value, and the accumulator of every lane is counted through all slots."""

setup_head = _head(mode=2, skip=1, bank=4, row_bank=4, columns=16, tile_columns=10, unit=6)
"""SETUP: dataflow, zero skipping on, operand banks, valid columns of the pass, columns per tile, weight of the last bit
of an accumulator."""

drain_head = _head(first=12, more=12, reduce=1, narrow=1, lower=1, gate=1, gate_bank=2, gate_row=12, gate_step=6)
"""DRAIN: first accumulator row and how many come behind it; whether sums over the lanes are asked for; whether results
are rounded to operands, and whether only those of the lower half of the slots are; whether zeros of an operand bank
gate the results, the operand row for the first row, and the step to that for the next."""

clear_head = _head(first=12, more=12)
"""CLEAR: first accumulator row and how many come behind it."""

signal_head = _head(semaphore=4)
"""SIGNAL: the semaphore to signal."""

operand_head = _head(row=16, bank=4, last=1, semaphore=4, packed=1, rows=8)
"""ROWS: operand row of the first row in the packet, bank; in the last packet of a load, the semaphore to signal. With
``packed``: the packet is one chunk of packed operands, of which ``rows`` rows are taken.

A load of no rows is one packet that ends with its head, with ``last`` set: it must be signalled all the same.
"""

result_head = _head(column=8, row=16)
"""ROW: mesh column of the tile (0 is the first tile), accumulator row. SUMS: the number of the packet stands for the
row, 0 for the first of a DRAIN."""

command_head = _head()
"""COMMAND: nothing but the header."""

done_head = _head(semaphore=4)
"""DONE: the semaphore."""

error_head = _head(code=8, source_x=4, source_y=4)
"""ERROR: code and the node that reports it."""


def flit_layout(*, noc: NocConfig) -> data.StructLayout:
    """A flit as blocks see it: payload, and whether it begins and ends its packet."""
    return data.StructLayout({"payload": noc.flit_width, "head": 1, "tail": 1})


def flit_stream(*, noc: NocConfig) -> stream.Signature:
    """A stream of packets, flit by flit. Packets are not interleaved."""
    return stream.Signature(flit_layout(noc=noc))


def link_signature(*, noc: NocConfig) -> wiring.Signature:
    """One direction of a link between routers, seen from its source.

    Members
    -------
    valid : Out(1)
        A flit is sent in this cycle; it is always taken.
    flit : Out(flit_layout)
    channel : Out(range(virtual_channels))
        Virtual channel of the flit.
    credit : In(virtual_channels)
        One bit per virtual channel: a buffer place has become free.
    """
    return wiring.Signature(
        {
            "valid": Out(1),
            "flit": Out(flit_layout(noc=noc)),
            "channel": Out(max(1, ceil_log2(noc.virtual_channels))),
            "credit": In(noc.virtual_channels),
        }
    )


def header_values(*, x, y, traffic_class: TrafficClass, kind: enum.IntEnum, cast: Cast = Cast.UNICAST) -> dict:
    """The header fields of a head flit, to be assigned by name; ``x`` and ``y`` may be signals."""
    return {"x": x, "y": y, "cast": int(cast), "traffic_class": int(traffic_class), "kind": int(kind)}
