"""How the memory behind the fabric's port behaves in time."""

from dataclasses import dataclass

__all__ = ["MemoryTiming"]


@dataclass(frozen=True, kw_only=True)
class MemoryTiming:
    """A memory with a latency and a bandwidth.

    A read burst whose address is taken in cycle ``t`` gives its first beat in cycle ``t + latency`` at the earliest,
    then one beat per cycle. A write is answered ``write_latency`` cycles after its last beat. Bursts are served in the
    order in which they were taken, reads and writes apart. Both directions share the bandwidth: a beat moves only while
    the balance is positive, takes a whole beat from it, and each cycle adds ``bandwidth``, of which no more than one
    cycle's is ever saved up.

    Parameters
    ----------
    latency : int
        Cycles from the address of a read to its first beat, at least 1.
    write_latency : int
        Cycles from the last beat of a write to its answer, at least 1.
    bandwidth : float or None
        Bytes per cycle, both directions together. None is no limit but that of the port: one beat per cycle each way.
    outstanding : int
        Bursts taken and not finished, in each direction, before the next address has to wait.
    jitter : int
        Each burst's latency grows by 0 to this many cycles, at random.
    stall : float
        Probability that a handshake is held back in a cycle, on each of the five channels.
    reorder : bool
        Bursts of different IDs may overtake each other.
    interleave : bool
        Beats of read bursts of different IDs may mix; only with ``reorder``.
    seed : int
        Of all random choices.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    latency: int = 40
    write_latency: int = 8
    bandwidth: float | None = None
    outstanding: int = 64
    jitter: int = 0
    stall: float = 0.0
    reorder: bool = False
    interleave: bool = False
    seed: int = 1

    def __post_init__(self) -> None:
        for what, value, low in (
            ("memory latency", self.latency, 1),
            ("memory write latency", self.write_latency, 1),
            ("outstanding bursts of the memory", self.outstanding, 1),
            ("latency jitter", self.jitter, 0),
            ("memory seed", self.seed, 0),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value < 1 << 32:
                raise ValueError(f"{what} must be an integer of at least {low}, not {value!r}")
        if self.bandwidth is not None and not 1 / 1024 <= self.bandwidth <= 1 << 20:
            raise ValueError(
                f"memory bandwidth must be from 1/1024 to {1 << 20} bytes per cycle, not {self.bandwidth!r}"
            )
        if not 0 <= self.stall <= 0.99:
            raise ValueError(f"stall probability must be from 0 to 0.99, not {self.stall!r}")
        if self.interleave and not self.reorder:
            raise ValueError("interleaved beats need reorder=True, not False")
