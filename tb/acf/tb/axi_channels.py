"""AXI4 masters and a memory for cocotb, channel by channel, as unruly as the specification allows.

``ReadMaster`` and ``WriteMaster`` send lists of bursts and keep what comes back by ID. ``AxiMemory`` answers bursts of
different IDs in any order, read beats interleaved, and with any response; it checks what a port must keep: valid and
payload stay until taken, bursts are INCR of full-width beats within 4 KiB, the last beat is where the address said.
"""

import random
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cocotb
from cocotb.triggers import ReadOnly, RisingEdge
from cocotb.utils import get_sim_time

from acf.tb.stream import always

__all__ = ["OKAY", "SLVERR", "DECERR", "AxiMemory", "Burst", "ReadMaster", "WriteMaster"]

OKAY, SLVERR, DECERR = 0, 2, 3

_CHANNELS = {
    "ar": ("id", "addr", "len", "size", "burst"),
    "r": ("id", "data", "resp", "last"),
    "aw": ("id", "addr", "len", "size", "burst"),
    "w": ("data", "strb", "last"),
    "b": ("id", "resp"),
}


@dataclass
class Burst:
    """A burst, and for a write the data and strobes of its beats."""

    id: int
    address: int
    length: int
    beats: tuple[tuple[int, int], ...] = ()


class _Channel:
    def __init__(self, dut: Any, prefix: str, channel: str):
        self.name = f"{prefix}_{channel}"
        self.dut = dut
        self.fields = {field: getattr(dut, f"{self.name}{field}") for field in _CHANNELS[channel]}
        self.valid = getattr(dut, f"{self.name}valid")
        self.ready = getattr(dut, f"{self.name}ready")

    @property
    def in_reset(self) -> bool:
        """Whether the design is in reset; what is not driven yet counts as reset."""
        return str(self.dut.rst.value) != "0"


class _Source(_Channel):
    """Offers what ``following`` returns until taken; ``following`` is asked again after that, None is nothing."""

    def __init__(
        self,
        dut: Any,
        prefix: str,
        channel: str,
        *,
        following: Callable[[], dict | None],
        use: Callable[[], bool],
        taken: Callable[[dict], None] = lambda values: None,
    ):
        super().__init__(dut, prefix, channel)
        self._following, self._use, self._taken = following, use, taken
        self._offered: dict | None = None
        self.valid.value = 0
        for field in self.fields.values():
            field.value = 0
        cocotb.start_soon(self._drive())

    def withdraw(self) -> None:
        """Offer nothing more of what was begun, as a side does that is reset."""
        self._offered = None
        self.valid.value = 0

    async def _drive(self) -> None:
        while True:
            if self._offered is None and not self.in_reset and self._use():
                self._offered = self._following()
                for name, value in (self._offered or {}).items():
                    self.fields[name].value = value
            self.valid.value = int(self._offered is not None)
            await ReadOnly()
            taken = self._offered if int(self.ready.value) else None
            await RisingEdge(self.dut.clk)
            if taken is not None:
                self._taken(taken)
                self._offered = None


class _Sink(_Channel):
    """Gives every transfer to ``on_transfer``; while ``patient``, raises ready only when something is offered."""

    def __init__(
        self, dut: Any, prefix: str, channel: str, *, on_transfer: Callable[[dict], None], use: Callable[[], bool]
    ):
        super().__init__(dut, prefix, channel)
        self._on_transfer, self.use = on_transfer, use
        self.may_withdraw = False  # a side that is about to be reset
        self.patient = False
        self.ready.value = 0
        cocotb.start_soon(self._take())

    async def _take(self) -> None:
        waiting = None
        while True:
            ready = self.use() and not (self.patient and waiting is None)
            self.ready.value = int(ready)
            await ReadOnly()
            offered = None
            if not self.in_reset and int(self.valid.value):
                offered = {name: int(field.value) for name, field in self.fields.items()}
            assert waiting is None or self.may_withdraw or offered == waiting, (
                f"{self.name} offered {waiting}, then {offered} before it was taken"
            )
            waiting = offered if not ready else None
            await RisingEdge(self.dut.clk)
            if offered is not None and ready:
                self._on_transfer(offered)


class ReadMaster:
    """Reads ``bursts`` in order; ``received[id]`` lists (data, response, last) of each beat."""

    def __init__(self, dut: Any, prefix: str, *, memory: Any, use: Callable[[], bool] = always):
        self.bursts: deque[Burst] = deque()
        self.received: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        self.beats = 0
        self._size = memory.beat_bytes.bit_length() - 1
        self.address = _Source(dut, prefix, "ar", following=self._following, use=use)
        self.response = _Sink(dut, prefix, "r", on_transfer=self._take, use=use)
        self.sinks = [self.response]

    def reset(self) -> None:
        """Forget everything."""
        self.bursts.clear()
        self.received.clear()
        self.beats = 0
        self.address.withdraw()

    def _following(self) -> dict | None:
        if not self.bursts:
            return None
        burst = self.bursts.popleft()
        return {"id": burst.id, "addr": burst.address, "len": burst.length, "size": self._size, "burst": 1}

    def _take(self, beat: dict) -> None:
        self.beats += 1
        self.received[beat["id"]].append((beat["data"], beat["resp"], beat["last"]))


class WriteMaster:
    """Writes ``bursts`` in order, data with no regard to addresses; ``received[id]`` lists the responses.

    ``data_limit`` ends the data after so many beats, as a master does that dies.
    """

    def __init__(self, dut: Any, prefix: str, *, memory: Any, use: Callable[[], bool] = always):
        self.received: dict[int, list[int]] = defaultdict(list)
        self.answers = 0
        self.data_limit: int | None = None
        self._addresses: deque[Burst] = deque()
        self._beats: deque[tuple[int, int, int]] = deque()
        self._size = memory.beat_bytes.bit_length() - 1
        self.address = _Source(dut, prefix, "aw", following=self._next_address, use=use)
        self.data = _Source(dut, prefix, "w", following=self._next_beat, use=use)
        self.response = _Sink(dut, prefix, "b", on_transfer=self._take, use=use)
        self.sinks = [self.response]

    def send(self, bursts: list[Burst]) -> None:
        """Queue bursts."""
        for burst in bursts:
            self._addresses.append(burst)
            self._beats.extend((data, strobes, int(n == burst.length)) for n, (data, strobes) in enumerate(burst.beats))

    def reset(self) -> None:
        """Forget everything."""
        self._addresses.clear()
        self._beats.clear()
        self.received.clear()
        self.answers = 0
        self.data_limit = None
        self.address.withdraw()
        self.data.withdraw()

    def _next_address(self) -> dict | None:
        if not self._addresses:
            return None
        burst = self._addresses.popleft()
        return {"id": burst.id, "addr": burst.address, "len": burst.length, "size": self._size, "burst": 1}

    def _next_beat(self) -> dict | None:
        if not self._beats or self.data_limit == 0:
            return None
        if self.data_limit is not None:
            self.data_limit -= 1
        data, strobes, last = self._beats.popleft()
        return {"data": data, "strb": strobes, "last": last}

    def _take(self, answer: dict) -> None:
        self.answers += 1
        self.received[answer["id"]].append(answer["resp"])


class AxiMemory:
    """Memory at a port. ``words`` maps beat addresses to data; what was never written reads as ``blank(address)``.

    Parameters
    ----------
    dut, prefix
        The port.
    memory : MemoryConfig
    rng : random.Random
        Chooses among IDs.
    use : callable
        Stall policy of every channel.
    respond : callable
        Response to an address, for each read beat and for the address of a write.
    channels : str
        ``"r"``, ``"w"`` or ``"rw"``.
    """

    def __init__(
        self,
        dut: Any,
        prefix: str,
        *,
        memory: Any,
        rng: random.Random,
        use: Callable[[], bool] = always,
        respond: Callable[[int], int] = lambda address: OKAY,
        channels: str = "rw",
    ):
        self.words: dict[int, int] = {}
        self.respond = respond
        self.reads: list[dict] = []
        self.writes: list[dict] = []
        self.written_beats: list[tuple[int, int, int]] = []
        self.beats_read = 0
        self.held = False  # answer nothing
        self.latency = 0  # cycles (of 10 ns) from the address of a read to its first beat
        self._memory, self._rng = memory, rng
        self._bytes = memory.beat_bytes
        self._read_bursts: dict[int, deque] = defaultdict(deque)
        self._write_bursts: deque[dict] = deque()
        self._early_beats: deque[dict] = deque()
        self._answers: dict[int, deque[int]] = defaultdict(deque)
        self.sinks: list[_Sink] = []
        if "r" in channels:
            self.sinks.append(_Sink(dut, prefix, "ar", on_transfer=self._on_read, use=use))
            _Source(dut, prefix, "r", following=self._next_beat, use=use, taken=self._on_beat)
        if "w" in channels:
            self.sinks.append(_Sink(dut, prefix, "aw", on_transfer=self._on_write, use=use))
            self.sinks.append(_Sink(dut, prefix, "w", on_transfer=self._on_data, use=use))
            _Source(dut, prefix, "b", following=self._next_answer, use=use)

    @property
    def busy(self) -> bool:
        """Whether any burst is open."""
        return any(self._read_bursts.values()) or bool(self._write_bursts) or any(self._answers.values())

    def blank(self, address: int) -> int:
        """Contents of a beat that was never written: random, but always the same."""
        return random.Random(address).getrandbits(8 * self._bytes)

    def word(self, address: int) -> int:
        """Contents of the beat at ``address``."""
        return self.words.get(address, self.blank(address))

    def _check(self, burst: dict) -> None:
        assert 1 << burst["size"] == self._bytes, f"size {burst['size']} is not a full beat"
        assert burst["burst"] == 1, f"burst type {burst['burst']} is not INCR"
        first, last = burst["addr"], burst["addr"] + (burst["len"] + 1) * self._bytes - 1
        assert first >> 12 == last >> 12, f"burst of {burst['len'] + 1} beats at {first:#x} crosses 4 KiB"

    def _on_read(self, burst: dict) -> None:
        self._check(burst)
        self.reads.append(burst)
        ready_at = get_sim_time("ns") + 10 * self.latency
        self._read_bursts[burst["id"]].append({**burst, "beat": 0, "ready_at": ready_at})

    def _next_beat(self) -> dict | None:
        now = get_sim_time("ns")
        open_ids = [number for number, bursts in self._read_bursts.items() if bursts and bursts[0]["ready_at"] <= now]
        if not open_ids or self.held:
            return None
        burst = self._read_bursts[self._rng.choice(open_ids)][0]
        address = burst["addr"] + burst["beat"] * self._bytes
        return {
            "id": burst["id"],
            "data": self.word(address),
            "resp": self.respond(address),
            "last": int(burst["beat"] == burst["len"]),
        }

    def _on_beat(self, beat: dict) -> None:
        self.beats_read += 1
        burst = self._read_bursts[beat["id"]][0]
        burst["beat"] += 1
        if beat["last"]:
            self._read_bursts[beat["id"]].popleft()

    def _on_write(self, burst: dict) -> None:
        self._check(burst)
        self.writes.append(burst)
        self._write_bursts.append({**burst, "beat": 0})
        self._join_data()

    def _on_data(self, beat: dict) -> None:
        self._early_beats.append(beat)
        self._join_data()

    def _join_data(self) -> None:
        while self._write_bursts and self._early_beats:
            burst, beat = self._write_bursts[0], self._early_beats.popleft()
            address = burst["addr"] + burst["beat"] * self._bytes
            is_last = burst["beat"] == burst["len"]
            assert beat["last"] == is_last, f"beat {burst['beat']} of {burst} has WLAST {beat['last']}"
            mask = sum(0xFF << 8 * n for n in range(self._bytes) if beat["strb"] >> n & 1)
            self.words[address] = self.word(address) & ~mask | beat["data"] & mask
            self.written_beats.append((address, beat["data"], beat["strb"]))
            burst["beat"] += 1
            if is_last:
                self._write_bursts.popleft()
                self._answers[burst["id"]].append(self.respond(burst["addr"]))

    def _next_answer(self) -> dict | None:
        open_ids = [number for number, answers in self._answers.items() if answers]
        if not open_ids or self.held:
            return None
        number = self._rng.choice(open_ids)
        return {"id": number, "resp": self._answers[number].popleft()}
