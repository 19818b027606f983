"""Products by the number of a node."""

from amaranth.hdl import Mux, Value, ValueLike

__all__ = ["times_node"]


def times_node(value: ValueLike, node: Value) -> Value:
    """A product by a number of few bits, spelled out so that it takes no multiplier block from the lanes."""
    return sum((Mux(bit, Value.cast(value) << n, 0) for n, bit in enumerate(node)), start=Value.cast(0))
