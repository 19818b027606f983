"""Random numbers that the golden model draws too."""

from amaranth.hdl import Value

__all__ = ["xorshift32"]


def xorshift32(state: Value) -> Value:
    """The state after ``state`` of Marsaglia's generator with shifts 13, 17 and 5; 0 follows 0 only."""
    state = state ^ (state << 13)[:32]
    state = state ^ (state >> 17)
    return (state ^ (state << 5)[:32])[:32]
