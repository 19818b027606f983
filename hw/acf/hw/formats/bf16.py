"""bfloat16 multiply and float32 accumulate, rounded once."""

from amaranth.lib.wiring import Out

from acf.hw.formats.fused import FusedMultiplyAdd

__all__ = ["Bf16Mac"]


class Bf16Mac(FusedMultiplyAdd):
    """Adds the exact product of two bfloat16 numbers to a float32 accumulator: ``o = round(a + x * y)``.

    See ``FusedMultiplyAdd``; with the ports that operators of all number formats have.

    Parameters
    ----------
    stages : int
        Pipeline stages, 1 to 5.

    Members
    -------
    x, y : In(16)
        Operands, bfloat16.
    a : In(32)
        Accumulator, float32.
    enable : In(1)
        The inputs count in this cycle.
    o : Out(32)
        The new accumulator, float32; kept until the next one.
    flags : Out(1)
        Always 0: a sum too large becomes infinite.

    Attributes
    ----------
    latency : int
        Cycles from inputs to ``o``.
    loop : int
        The same: the accumulator is needed with the operands.

    Raises
    ------
    ValueError
        If ``stages`` is not from 1 to 5.
    """

    latency = loop = 4  # unless told otherwise
    _ports = {"flags": Out(1)}  # noqa: RUF012

    def __init__(self, *, stages: int = latency):
        super().__init__(x_fraction=7, stages=stages)
        self.loop = stages
