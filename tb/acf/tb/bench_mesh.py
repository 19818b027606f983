"""A mesh, or one node of it: packets from every node to every node, in all classes and casts."""

import itertools
import random
from collections import Counter, deque

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from acf.isa import Cast, TrafficClass
from acf.tb.packets import Packet, Scoreboard, bench_noc, golden_receivers
from acf.tb.stream import start_clock

Node = tuple[int, int]


SIDES = ("north", "east", "south", "west")


class MeshBench:
    """Sends packets into the streams of all nodes and takes them from all nodes.

    Parameters
    ----------
    send, take : float
        Probability, per cycle, that a waiting packet stream offers its next flit, and that an output is ready.
    """

    def __init__(self, dut, *, send: float = 1.0, take: float = 1.0):
        self.dut = dut
        self.noc = bench_noc()
        self.nodes = self._find_nodes()
        self.height = 1 + max(y for y, _ in self.nodes)
        self.width = 1 + max(x for _, x in self.nodes)
        self.board = Scoreboard()
        # What is sent does not depend on when: only stalls draw from the module's own generator.
        self.rng = random.Random(random.getrandbits(64))
        self.number = 0
        self.cycle = 0
        self.ports = [(node, each) for node in self.nodes for each in TrafficClass]
        self.send_rate = dict.fromkeys(self.ports, send)
        self.take_rate = dict.fromkeys(self.ports, take)
        self.queues: dict[tuple[Node, TrafficClass], deque[int]] = {port: deque() for port in self.ports}
        self.entered: list[tuple[int, Node, TrafficClass]] = []
        self.left: list[tuple[int, Node, TrafficClass, int]] = []
        self._offers: set[tuple[Node, TrafficClass]] = set()
        self._signals = {port: self._find_signals(port) for port in self.ports}
        # What goes to the neighbours of a node that has none.
        self._never = [
            getattr(dut, f"{side}_{part}") for side in SIDES for part in ("o_valid", "i_credit") if self._is_one_node()
        ]
        self._quiet()

    def _is_one_node(self) -> bool:
        return hasattr(self.dut, "control_i_valid")

    def _find_nodes(self) -> list[Node]:
        if self._is_one_node():
            return [(0, 0)]
        return [(y, x) for y in range(16) for x in range(16) if hasattr(self.dut, f"control_i_{y}_{x}_valid")]

    def _find_signals(self, port):
        (y, x), traffic_class = port
        place = "" if self._is_one_node() else f"_{y}_{x}"
        name = traffic_class.name.lower()
        return [
            getattr(self.dut, f"{name}_{side}{place}_{part}") for side in "io" for part in ("valid", "ready", "payload")
        ]

    def _quiet(self):
        for i_valid, _, i_payload, _, o_ready, _ in self._signals.values():
            i_valid.value = 0
            i_payload.value = 0
            o_ready.value = 0
        if self._is_one_node():  # node: its neighbours are silent and never called upon
            self.dut.y.value, self.dut.x.value = 0, 0
            for side in SIDES:
                for part in ("i_valid", "i_flit", "i_channel", "o_credit"):
                    getattr(self.dut, f"{side}_{part}").value = 0

    async def start(self):
        """Reset the mesh and start driving."""
        await start_clock(self.dut)
        self.task = cocotb.start_soon(self._run())

    def send(self, source: Node, to: Node, traffic_class, *, cast: Cast = Cast.UNICAST, length: int = 1):
        """Queue a packet and expect its copies."""
        packet = Packet(
            source=source[0] << 4 | source[1],
            number=self.number,
            to=to,
            traffic_class=traffic_class,
            cast=cast,
            length=length,
        )
        self.number += 1
        self.queues[source, traffic_class].extend(packet.flits())
        self.board.expect(packet, [(node, traffic_class) for node in golden_receivers(source, to, cast)])

    def random_packet(self, *, longest: int = 9, to: Node | None = None):
        """Queue a packet of any class, length and cast from anywhere."""
        self.send(
            self.rng.choice(self.nodes),
            to or self.rng.choice(self.nodes),
            self.rng.choice(list(TrafficClass)),
            cast=self.rng.choice(list(Cast)),
            length=self.rng.randint(1, longest),
        )

    async def finish(self, *, cycles: int):
        """Wait until everything has come, and see that nothing more comes."""
        for _ in range(cycles):
            if self.board.done and not any(self.queues.values()):
                break
            await RisingEdge(self.dut.clk)
        assert self.board.done, f"not delivered after {cycles} cycles:\n{self.board.pending()}"
        for _ in range(10):
            await RisingEdge(self.dut.clk)

    async def _run(self):
        while True:
            self._drive()
            await FallingEdge(self.dut.clk)
            self._watch()
            await RisingEdge(self.dut.clk)
            self.cycle += 1

    def _drive(self):
        for port, (i_valid, _, i_payload, _, o_ready, _) in self._signals.items():
            queue = self.queues[port]
            if port not in self._offers:
                if queue and random.random() < self.send_rate[port]:
                    i_payload.value = queue[0]
                    i_valid.value = 1
                    self._offers.add(port)
                else:
                    i_valid.value = 0
            rate = self.take_rate[port]
            o_ready.value = int(rate >= 1 or random.random() < rate)

    def _watch(self):
        for signal in self._never:
            assert not int(signal.value), f"{signal._name} is {signal.value}, where nobody is"
        for port, (_, i_ready, _, o_valid, o_ready, o_payload) in self._signals.items():
            if port in self._offers and int(i_ready.value):
                self.queues[port].popleft()
                self._offers.discard(port)
                self.entered.append((self.cycle, *port))
            if int(o_valid.value) and int(o_ready.value):
                flit = int(o_payload.value)
                self.left.append((self.cycle, *port, flit))
                self.board.take(port, flit)


def routers_between(source: Node, to: Node) -> int:
    """Routers that a packet passes."""
    return 1 + abs(source[0] - to[0]) + abs(source[1] - to[1])


@cocotb.test()
async def random_traffic(dut):
    """Anything from anywhere to anywhere, with streams that stall at random."""
    bench = MeshBench(dut)
    await bench.start()
    for _ in range(5):
        for port in bench.ports:
            bench.send_rate[port] = bench.rng.choice([0.1, 0.5, 1.0])
            bench.take_rate[port] = bench.rng.choice([0.2, 0.6, 1.0])
        for _ in range(20 * len(bench.nodes)):
            bench.random_packet()
        await bench.finish(cycles=20000)


@cocotb.test()
async def all_to_all(dut):
    """Every node to every node in every class; the flits that enter are counted."""
    bench = MeshBench(dut, take=0.9)
    await bench.start()
    flits = 0
    for source in bench.nodes:
        for to in random.sample(bench.nodes, len(bench.nodes)):
            for traffic_class in TrafficClass:
                length = random.randint(1, 4)
                flits += length
                bench.send(source, to, traffic_class, length=length)
    await bench.finish(cycles=20000)
    assert len(bench.entered) == len(bench.left) == flits


@cocotb.test()
async def hot_spot(dut):
    """All nodes send to one, which takes slowly."""
    bench = MeshBench(dut)
    await bench.start()
    spot = bench.nodes[len(bench.nodes) // 2]
    for traffic_class in TrafficClass:
        bench.take_rate[spot, traffic_class] = 0.3
    for _ in range(20 * len(bench.nodes)):
        bench.random_packet(to=spot)
    await bench.finish(cycles=40000)


@cocotb.test()
async def zero_load_latency(dut):
    """A packet alone takes 2 cycles per router and 2 more; further flits follow at once."""
    bench = MeshBench(dut)
    await bench.start()
    ways = [(source, to) for source in bench.nodes for to in bench.nodes]
    for source, to in random.sample(ways, min(len(ways), 30)):
        for cast in Cast:
            length = random.randint(1, min(9, bench.noc.buffer_depth))
            bench.entered.clear()
            bench.left.clear()
            bench.send(source, to, random.choice(list(TrafficClass)), cast=cast, length=length)
            await bench.finish(cycles=200)
            start = bench.entered[0][0]
            assert [cycle - start for cycle, *_ in bench.entered] == list(range(length))
            for node in golden_receivers(source, to, cast):
                latency = 2 * routers_between(source, node) + 2
                cycles = [cycle - start for cycle, at, *_ in bench.left if at == node]
                assert cycles == list(range(latency, latency + length)), f"{source} to {node}, cast {cast.name}"


@cocotb.test()
async def straight_path_throughput(dut):
    """One class from one node keeps a whole row, and a whole column, busy in every cycle."""
    bench = MeshBench(dut)
    if bench.noc.buffer_depth < 4:
        return
    await bench.start()
    for to, casts in (
        ((0, bench.width - 1), (Cast.UNICAST, Cast.ROW)),
        ((bench.height - 1, 0), (Cast.UNICAST, Cast.COLUMN)),
    ):
        for cast in casts:
            for length in (1, 8, 64):
                bench.left.clear()
                for _ in range(64 // length):
                    bench.send((0, 0), to, TrafficClass.ENTRIES, cast=cast, length=length)
                await bench.finish(cycles=1000)
                for node in golden_receivers((0, 0), to, cast):
                    cycles = [cycle for cycle, at, *_ in bench.left if at == node]
                    assert cycles == list(range(cycles[0], cycles[0] + 64)), f"to {node}, cast {cast.name}, {length}"


@cocotb.test()
async def classes_share_a_way(dut):
    """Two classes in virtual channels of their own, from one node to one node, get half of the way each."""
    bench = MeshBench(dut)
    if bench.noc.buffer_depth < 4:
        return
    await bench.start()
    channels = bench.noc.class_channels
    for first, second in itertools.permutations(TrafficClass, 2):
        if channels[first] == channels[second]:
            continue
        for to in {(0, 0), bench.nodes[-1]}:
            bench.left.clear()
            for _ in range(3):
                for each in first, second:
                    bench.send((0, 0), to, each, length=16)
            # Only when all buffers are full do both wait for the same way in every cycle.
            for each in first, second:
                bench.take_rate[to, each] = 0.0
            for _ in range(100):
                await RisingEdge(dut.clk)
            for each in first, second:
                bench.take_rate[to, each] = 1.0
            await bench.finish(cycles=1000)
            middle = Counter(each for _, _, each, _ in bench.left[16:64])
            assert 20 <= middle[first] <= 28, f"{first.name} and {second.name} to {to}: {middle}"


@cocotb.test()
async def two_ways_out_of_a_node(dut):
    """Classes in different virtual channels leave a node in the same cycles, when they come from different sides."""
    bench = MeshBench(dut)
    channels = bench.noc.class_channels
    shared = channels[TrafficClass.ENTRIES] == channels[TrafficClass.OPERANDS]
    if shared or bench.noc.buffer_depth < 4 or bench.height < 2 or bench.width < 2:
        return
    await bench.start()
    for _ in range(4):
        bench.send((1, 0), (1, bench.width - 1), TrafficClass.ENTRIES, cast=Cast.ROW, length=32)
        bench.send((0, 1), (bench.height - 1, 1), TrafficClass.OPERANDS, cast=Cast.COLUMN, length=32)
    await bench.finish(cycles=1000)
    spans = []
    for each in TrafficClass.ENTRIES, TrafficClass.OPERANDS:
        cycles = [cycle for cycle, node, left, _ in bench.left if (node, left) == ((1, 1), each)]
        assert cycles == list(range(cycles[0], cycles[0] + 128)), f"{each.name} have to wait"
        spans.append(set(cycles))
    assert len(spans[0] & spans[1]) > 120


@cocotb.test()
async def multicast_enters_once(dut):
    """A multicast packet enters the network once and leaves it once at every node of its way."""
    bench = MeshBench(dut, take=0.7)
    await bench.start()
    copies: Counter[Node] = Counter()
    flits = 0
    for _ in range(30):
        y, x = random.choice(bench.nodes)
        length = random.randint(1, 9)
        for cast, to in ((Cast.ROW, (y, bench.width - 1)), (Cast.COLUMN, (bench.height - 1, x))):
            bench.send((y, x), to, TrafficClass.OPERANDS, cast=cast, length=length)
            flits += length
            for node in golden_receivers((y, x), to, cast):
                copies[node] += length
    await bench.finish(cycles=10000)
    assert len(bench.entered) == flits
    assert Counter(node for _, node, *_ in bench.left) == copies


@cocotb.test()
async def blocked_class_blocks_only_its_channel(dut):
    """Nobody takes one class: those in other virtual channels are delivered all the same."""
    bench = MeshBench(dut)
    await bench.start()
    for blocked in TrafficClass:
        channels = bench.noc.class_channels
        others = [each for each in TrafficClass if channels[each] != channels[blocked]]
        for node in bench.nodes:
            bench.take_rate[node, blocked] = 0.0
        bench.left.clear()
        for _ in range(6 * len(bench.nodes)):  # more than all buffers hold
            bench.send(random.choice(bench.nodes), random.choice(bench.nodes), blocked, length=8)
        for _ in range(100):
            await RisingEdge(dut.clk)
        flits = 0
        for _ in range(3 * len(bench.nodes)):
            for other in others:
                flits += 3
                bench.send(random.choice(bench.nodes), random.choice(bench.nodes), other, length=3)
        for _ in range(2000):
            if len(bench.left) == flits:
                break
            await RisingEdge(dut.clk)
        assert len(bench.left) == flits, f"{blocked.name} blocks others:\n{bench.board.pending()}"
        for node in bench.nodes:
            bench.take_rate[node, blocked] = 1.0
        await bench.finish(cycles=10000)


@cocotb.test()
async def reset_in_flight(dut):
    """After a reset amid traffic the network is empty and works."""
    bench = MeshBench(dut, take=0.3)
    await bench.start()
    for _ in range(3):
        for _ in range(10 * len(bench.nodes)):
            bench.random_packet()
        for _ in range(random.randint(20, 60)):
            await RisingEdge(dut.clk)
        assert not bench.board.done
        bench.task.cancel()
        bench._quiet()
        dut.rst.value = 1
        await RisingEdge(dut.clk)
        dut.rst.value = 0
        bench = MeshBench(dut, take=0.3)
        bench.task = cocotb.start_soon(bench._run())
        for _ in range(5 * len(bench.nodes)):
            bench.random_packet()
        await bench.finish(cycles=10000)
