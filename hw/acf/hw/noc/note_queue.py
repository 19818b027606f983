"""The bookkeeping of a buffer: where its flits lie, and what is known of them."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, ValueLike
from amaranth.lib import data, memory

__all__ = ["NoteQueue"]


class NoteQueue:
    """A note for every flit in the buffer of one virtual channel; that of the first flit stands in a register.

    What arrives at an empty buffer is at its front in the next cycle. The flits themselves lie in a memory elsewhere.

    Parameters
    ----------
    note : StructLayout
        What is known of a flit. All zeros must mean that there is none.
    depth : int
        Flits in the buffer, a power of two.
    channel : int
        Number of the virtual channel, for names.

    Attributes
    ----------
    front : View of ``note``
        Of the first flit, zeros where there is none.
    level : Signal
        Flits in the buffer.
    write_at, read_at : Signal
        Where the next flit is written, and where the first one lies.
    """

    def __init__(self, *, note: data.StructLayout, depth: int, channel: int):
        self._note = note
        self._depth = depth
        self._channel = channel
        self.front: Any = Signal(note, name=f"front_{channel}")
        self.level = Signal(range(depth + 1), name=f"level_{channel}")
        self.write_at = Signal(range(depth), name=f"write_at_{channel}")
        self.read_at = Signal(range(depth), name=f"read_at_{channel}")

    def keep(
        self, m: Module, *, arrives: ValueLike, arriving: Any, leaves: ValueLike, stays: Any | None = None
    ) -> None:
        """Add the logic.

        Whether the first flit leaves may be known last in the cycle: it only selects.

        Parameters
        ----------
        m : Module
        arrives, leaves : Value
            A flit comes; the first one goes.
        arriving : View of ``note``
            Of the flit that comes.
        stays : View of ``note`` or None
            What is kept of the first flit if it does not go; as it is if None.
        """
        channel, front, level = self._channel, self.front, self.level
        less = Mux(arrives, level, level - 1)[: len(level)]
        more = Mux(arrives, level + 1, level)[: len(level)]
        m.d.sync += level.eq(Mux(leaves, less, more))
        with m.If(arrives):
            m.d.sync += self.write_at.eq(self.write_at + 1)
        with m.If(leaves):
            m.d.sync += self.read_at.eq(self.read_at + 1)

        # One for each channel: the note of the second flit is at hand before it is known which first one leaves.
        m.submodules[f"notes_{channel}"] = notes = memory.Memory(shape=self._note, depth=self._depth, init=[])
        write, read = notes.write_port(), notes.read_port(domain="comb", transparent_for=())
        m.d.comb += [
            write.en.eq(arrives),
            write.addr.eq(self.write_at),
            write.data.eq(arriving),
            read.addr.eq(self.read_at + 1),
        ]

        # What arrives at an empty buffer is at once at its front, its note is not read back.
        newcomer, remains, follows = (
            Signal(self._note, name=f"{name}_{channel}") for name in ("newcomer", "remains", "follows")
        )
        kept = front if stays is None else stays
        m.d.comb += [
            newcomer.as_value().eq(Mux(arrives, arriving.as_value(), 0)),
            remains.as_value().eq(Mux(level == 0, newcomer.as_value(), kept.as_value())),
            follows.as_value().eq(Mux(level == 1, newcomer.as_value(), read.data.as_value())),
        ]
        m.d.sync += front.as_value().eq(Mux(leaves, follows.as_value(), remains.as_value()))
