"""A router alone: every link driven and watched, credits kept on both sides."""

import random
from collections import deque
from itertools import pairwise

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from acf.isa import Cast, TrafficClass
from acf.tb.packets import Packet, Scoreboard, bench_noc
from acf.tb.stream import start_clock

PORTS = ("north", "east", "south", "west", "local")
HERE = (7, 6)
LATENCY = 2


def golden_branches(arrival: str, to: tuple[int, int], cast: Cast) -> set[str]:
    """The outputs that a packet takes."""
    y, x = HERE
    if to == HERE:
        return {"local"}
    if to[1] != x:
        onward = "east" if to[1] > x else "west"
        return {onward, "local"} if cast == Cast.ROW and arrival == "west" and to[0] == y else {onward}
    onward = "south" if to[0] > y else "north"
    return {onward, "local"} if cast == Cast.COLUMN and arrival == "north" else {onward}


def destinations(arrival: str) -> list[tuple[int, int]]:
    """Where packets that arrive by ``arrival`` may go: never back, never from a column into a row."""
    y, x = HERE
    rows = {"north": range(y, 16), "south": range(y + 1)}.get(arrival, range(16))
    columns = {"west": range(x, 16), "east": range(x + 1), "local": range(16)}.get(arrival, range(x, x + 1))
    return [(to_y, to_x) for to_y in rows for to_x in columns]


class RouterBench:
    """Sends packets into the five inputs, takes them from the five outputs.

    Parameters
    ----------
    send, free : float
        Probability, per cycle, that an input with a flit and a credit sends, and that a virtual channel behind an
        output frees a place.
    """

    def __init__(self, dut, *, send: float = 1.0, free: float = 1.0):
        self.dut = dut
        self.noc = bench_noc()
        self.send_rate: dict[str, float] = dict.fromkeys(PORTS, send)
        self.free_rate: dict[str, float] = dict.fromkeys(PORTS, free)
        self.cycle = 0
        self.number = 0
        channels = range(self.noc.virtual_channels)
        self.credits = {(port, channel): self.noc.buffer_depth for port in PORTS for channel in channels}
        self.queues: dict[tuple[str, int], deque[int]] = {key: deque() for key in self.credits}
        self.held = dict.fromkeys(self.credits, 0)  # places taken behind the outputs
        self.board = Scoreboard()
        self.sent: list[tuple[int, str, int]] = []  # cycle, port, flit
        self.taken: list[tuple[int, str, int, int]] = []  # cycle, port, channel, flit
        dut.y.value, dut.x.value = HERE
        self._quiet()

    def _quiet(self):
        for port in PORTS:
            for name in (f"{port}_i_valid", f"{port}_i_flit", f"{port}_i_channel", f"{port}_o_credit"):
                getattr(self.dut, name).value = 0

    async def start(self):
        """Reset the router and start driving."""
        await start_clock(self.dut)
        self._task = cocotb.start_soon(self._run())

    def send(self, arrival: str, to: tuple[int, int], *, channel: int = 0, cast=Cast.UNICAST, length: int = 1):
        """Queue a packet and expect it at its outputs."""
        packet = Packet(
            source=PORTS.index(arrival) << 4 | channel,
            number=self.number,
            to=to,
            traffic_class=TrafficClass(self.number % 4),
            cast=cast,
            length=length,
        )
        self.number += 1
        self.queues[arrival, channel].extend(packet.flits())
        self.board.expect(packet, [(port, channel) for port in golden_branches(arrival, to, cast)])

    async def finish(self, *, cycles: int):
        """Wait until everything has come and all credits are back."""
        for _ in range(cycles):
            if self.board.done and not any(self.queues.values()) and not any(self.held.values()):
                break
            await RisingEdge(self.dut.clk)
        assert self.board.done, f"not delivered after {cycles} cycles:\n{self.board.pending()}"
        for _ in range(4):
            await RisingEdge(self.dut.clk)
        missing = {key: self.noc.buffer_depth - credits for key, credits in self.credits.items()}
        assert not any(missing.values()), f"credits that never came back: {missing}"

    async def _run(self):
        while True:
            self._drive()
            await FallingEdge(self.dut.clk)
            self._watch()
            await RisingEdge(self.dut.clk)
            self.cycle += 1

    def _drive(self):
        dut = self.dut
        self.offered = {}
        for port in PORTS:
            ready = [
                channel
                for channel in range(self.noc.virtual_channels)
                if self.queues[port, channel] and self.credits[port, channel]
            ]
            if ready and random.random() < self.send_rate[port]:
                channel = random.choice(ready)
                flit = self.queues[port, channel].popleft()
                self.credits[port, channel] -= 1
                self.sent.append((self.cycle, port, flit))
                getattr(dut, f"{port}_i_flit").value = flit
                getattr(dut, f"{port}_i_channel").value = channel
                getattr(dut, f"{port}_i_valid").value = 1
            else:
                getattr(dut, f"{port}_i_valid").value = 0
            freed = 0
            for channel in range(self.noc.virtual_channels):
                if self.held[port, channel] and random.random() < self.free_rate[port]:
                    self.held[port, channel] -= 1
                    freed |= 1 << channel
            getattr(dut, f"{port}_o_credit").value = freed

    def _watch(self):
        dut = self.dut
        for port in PORTS:
            if int(getattr(dut, f"{port}_o_valid").value):
                channel = int(getattr(dut, f"{port}_o_channel").value)
                flit = int(getattr(dut, f"{port}_o_flit").value)
                self.held[port, channel] += 1
                assert self.held[port, channel] <= self.noc.buffer_depth, f"{port}_o: channel {channel} is overrun"
                self.taken.append((self.cycle, port, channel, flit))
                self.board.take((port, channel), flit)
            freed = int(getattr(dut, f"{port}_i_credit").value)
            for channel in range(self.noc.virtual_channels):
                self.credits[port, channel] += freed >> channel & 1
                assert self.credits[port, channel] <= self.noc.buffer_depth, f"{port}_i: one credit too many"

    def random_packets(self, count: int, *, longest: int = 9):
        """Queue packets from all inputs on all channels to anywhere, in all casts."""
        for _ in range(count):
            arrival = random.choice(PORTS)
            # Near and far alike, so that every branch is taken often.
            near = [to for to in destinations(arrival) if abs(to[0] - HERE[0]) + abs(to[1] - HERE[1]) <= 1]
            self.send(
                arrival,
                random.choice(random.choice([near, destinations(arrival)])),
                channel=random.randrange(self.noc.virtual_channels),
                cast=random.choice(list(Cast)),
                length=random.randint(1, longest),
            )


@cocotb.test()
async def random_traffic(dut):
    """Anything from anywhere, with inputs and outputs that stall at random."""
    bench = RouterBench(dut)
    await bench.start()
    for _ in range(8):
        for port in PORTS:
            bench.send_rate[port] = random.choice([0.2, 0.6, 1.0])
            bench.free_rate[port] = random.choice([0.1, 0.5, 1.0])
        bench.random_packets(60)
        await bench.finish(cycles=20000)


@cocotb.test()
async def latency_is_two_cycles(dut):
    """Every crossing, alone, on every channel."""
    bench = RouterBench(dut)
    await bench.start()
    y, x = HERE
    for arrival in PORTS:
        for to in destinations(arrival):
            if abs(to[0] - y) + abs(to[1] - x) > 1:
                continue
            for channel in range(bench.noc.virtual_channels):
                bench.sent.clear()
                bench.taken.clear()
                bench.send(arrival, to, channel=channel, length=2)
                await bench.finish(cycles=50)
                start = bench.sent[0][0]
                assert [cycle - start for cycle, *_ in bench.taken] == [LATENCY, LATENCY + 1]


@cocotb.test()
async def full_throughput(dut):
    """A packet alone, and packets of one flit, keep an output busy in every cycle; multicast too."""
    bench = RouterBench(dut)
    await bench.start()
    y, x = HERE
    for arrival, to, cast in (
        ("west", (y, x + 3), Cast.UNICAST),
        ("north", HERE, Cast.UNICAST),
        ("west", (y, x + 3), Cast.ROW),
        ("north", (y + 2, x), Cast.COLUMN),
    ):
        for length in (1, 60):
            bench.taken.clear()
            for _ in range(60 // length):
                bench.send(arrival, to, cast=cast, length=length)
            await bench.finish(cycles=1000)
            for output in golden_branches(arrival, to, cast):
                cycles = [cycle for cycle, port, *_ in bench.taken if port == output]
                # This bench gives a credit back at once, so that a place is used again after 3 cycles.
                span = 59 if bench.noc.buffer_depth > 2 else 29 * 3 + 1
                assert cycles[-1] - cycles[0] == span, f"{arrival} to {output}, cast {cast.name}, length {length}"


@cocotb.test()
async def all_outputs_at_once(dut):
    """Five inputs to five outputs without conflict: five flits a cycle."""
    bench = RouterBench(dut)
    if bench.noc.buffer_depth < 4:
        return
    await bench.start()
    y, x = HERE
    ways = {
        "north": (y + 1, x),
        "south": (y - 1, x),
        "west": (y, x + 1),
        "east": HERE,
        "local": (y, x - 1),
    }
    for arrival, to in ways.items():
        for _ in range(50):
            bench.send(arrival, to)
    await bench.finish(cycles=1000)
    assert bench.taken[-1][0] - bench.taken[0][0] == 49


@cocotb.test()
async def hot_output_is_shared_fairly(dut):
    """All inputs to one output: it is always busy, and nobody gets more than one flit ahead."""
    bench = RouterBench(dut)
    if bench.noc.buffer_depth < 4:
        return
    await bench.start()
    for arrival in PORTS:
        for _ in range(40):
            bench.send(arrival, HERE)
    await bench.finish(cycles=1000)
    cycles = [cycle for cycle, *_ in bench.taken]
    assert cycles == list(range(cycles[0], cycles[0] + 200))
    shares = dict.fromkeys(range(len(PORTS)), 0)
    for _, _, _, flit in bench.taken[5:-5]:
        shares[flit >> 20 & 0xF] += 1
        assert max(shares.values()) - min(shares.values()) <= 1, f"flits by input: {shares}"


@cocotb.test()
async def channels_take_turns_on_a_link(dut):
    """Two long packets in two channels, from each input and from two, alternate flit by flit on the link."""
    bench = RouterBench(dut)
    if bench.noc.virtual_channels < 2 or bench.noc.buffer_depth < 4:
        return
    await bench.start()
    y, x = HERE
    cases = [((port, port), HERE, "local") for port in PORTS]
    cases += [
        (("north", "west"), (y + 1, x), "south"),
        (("south", "local"), (y - 1, x), "north"),
        (("west", "local"), (y, x + 1), "east"),
        (("local", "east"), (y, x - 1), "west"),
        (("east", "south"), HERE, "local"),
    ]
    for arrivals, to, departure in cases:
        for channels in ((0, 1), (1, 0)):
            bench.taken.clear()
            bench.free_rate[departure] = 0.0
            for channel, arrival in zip(channels, arrivals, strict=True):
                bench.send(arrival, to, channel=channel, length=40)
            for _ in range(60):  # let both fill their buffers
                await RisingEdge(dut.clk)
            before = len(bench.taken)
            bench.free_rate[departure] = 1.0
            await bench.finish(cycles=1000)
            turns = [channel for _, _, channel, _ in bench.taken[before + 2 : before + 22]]
            assert all(a != b for a, b in pairwise(turns)), f"{arrivals} to {departure}, channels in turn: {turns}"


@cocotb.test()
async def packets_do_not_mix_in_a_channel(dut):
    """Long packets from all inputs to one output and channel come out one after the other."""
    bench = RouterBench(dut, send=0.7, free=0.7)
    await bench.start()
    for _ in range(6):
        for arrival in PORTS:
            bench.send(arrival, HERE, length=random.randint(2, 9))
    await bench.finish(cycles=5000)  # the books insist on it


@cocotb.test()
async def branches_are_taken_independently(dut):
    """A branch that is blocked holds up the packet, but not the copy of the flit that waits."""
    bench = RouterBench(dut)
    await bench.start()
    y, x = HERE
    depth = bench.noc.buffer_depth
    bench.free_rate["east"] = 0.0
    for _ in range(depth):  # uses up the credits of the east output
        bench.send("west", (y, x + 1))
    for _ in range(6 * depth + 20):
        await RisingEdge(dut.clk)
    bench.taken.clear()
    bench.sent.clear()
    bench.send("west", (y, x + 2), cast=Cast.ROW, length=2)
    for _ in range(20):
        await RisingEdge(dut.clk)
    start = bench.sent[0][0]
    assert [(cycle - start, port) for cycle, port, *_ in bench.taken] == [(LATENCY, "local")]
    bench.free_rate["east"] = 1.0
    await bench.finish(cycles=100)
    assert [port for _, port, *_ in bench.taken if port == "local"] == ["local"] * 2


@cocotb.test()
async def blocked_channel_blocks_no_other(dut):
    """Nothing is taken from one channel; all others go on."""
    bench = RouterBench(dut)
    if bench.noc.virtual_channels < 2:
        return
    await bench.start()
    y, x = HERE
    for arrival in ("west", "local"):
        for _ in range(30):
            bench.send(arrival, (y, x + 1), channel=0, length=3)
    bench.free_rate["east"] = 0.0
    for _ in range(100):  # both inputs are now full of channel 0
        await RisingEdge(dut.clk)
    bench.taken.clear()
    depth = bench.noc.buffer_depth
    for _ in range(depth):
        bench.send("west", (y, x + 1), channel=1)
    for _ in range(4 * depth + 10):
        await RisingEdge(dut.clk)
    assert [channel for _, port, channel, _ in bench.taken if port == "east"] == [1] * depth
    bench.free_rate["east"] = 1.0
    await bench.finish(cycles=2000)


@cocotb.test()
async def reset_in_flight(dut):
    """After a reset amid traffic the router is empty and has all credits."""
    bench = RouterBench(dut, free=0.3)
    await bench.start()
    for _ in range(3):
        bench.random_packets(80)
        for _ in range(random.randint(20, 120)):
            await RisingEdge(dut.clk)
        bench._task.cancel()
        bench._quiet()
        dut.rst.value = 1
        await RisingEdge(dut.clk)
        dut.rst.value = 0
        bench = RouterBench(dut, free=0.3)
        bench._task = cocotb.start_soon(bench._run())
        bench.random_packets(30)
        await bench.finish(cycles=5000)
