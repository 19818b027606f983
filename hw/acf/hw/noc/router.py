"""The mesh router: five input ports, five outputs, and the crossbar between them."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from acf.config import NocConfig
from acf.hw.noc.flit import link_signature
from acf.hw.noc.input_port import InputPort
from acf.hw.noc.link_sender import LinkSender
from acf.hw.noc.routing import Port, RoutingFunction, departures, xy

__all__ = ["Router"]


class Router(wiring.Component):
    """A wormhole router with virtual channels, credit-based flow control and multicast.

    In every cycle each input chooses one of its virtual channels whose next flit can go on into at least one of its
    branches, and each output takes a flit from one of the inputs that ask for it; both serve who has waited longest.
    A flit with several branches takes each on its own, once, and leaves its buffer with the last. From head to tail a
    packet owns its virtual channel at an output; on the link, virtual channels take turns flit by flit.

    Latency is two cycles from ``valid`` at an input to ``valid`` at an output. Throughput is one flit a cycle for every
    output, and for one packet alone when ``buffer_depth`` is at least 4: four cycles after a flit was granted for a
    link, its place behind the link can be used again.

    A packet must have a destination in the mesh, and one by which the routing function has it arrive where it does;
    others may be lost. After reset the router is empty and has all credits: neighbours must be reset with it.

    Parameters
    ----------
    noc : NocConfig
    routing : RoutingFunction
        Decides which crossings of the crossbar exist.

    Members
    -------
    y, x : In(4)
        Where the router is; constant.
    north_i, east_i, south_i, west_i, local_i : In(link_signature)
    north_o, east_o, south_o, west_o, local_o : Out(link_signature)
    """

    def __init__(self, *, noc: NocConfig, routing: RoutingFunction = xy):
        self._noc = noc
        self._routing = routing
        link = link_signature(noc=noc)
        super().__init__(
            {
                "y": In(4),
                "x": In(4),
                **{f"{port.name.lower()}_i": In(link) for port in Port},
                **{f"{port.name.lower()}_o": Out(link) for port in Port},
            }
        )

    def elaborate(self, platform):
        m = Module()

        crossings = {port: [] for port in Port}  # by output
        for port in Port:
            name = f"{port.name.lower()}_i"
            inward = InputPort(noc=self._noc, arrival=port, routing=self._routing)
            m.submodules[name] = inward
            connect(m, flipped(getattr(self, name)), inward.link)
            m.d.comb += [inward.y.eq(self.y), inward.x.eq(self.x)]
            for branch, output in zip(inward.branches, departures(self._routing, port), strict=True):
                crossings[output].append(branch)

        for port, branches in crossings.items():
            name = f"{port.name.lower()}_o"
            sender = LinkSender(noc=self._noc, sources=len(branches))
            m.submodules[name] = sender
            connect(m, sender.link, flipped(getattr(self, name)))
            for branch, source in zip(branches, sender.sources, strict=True):
                connect(m, branch, source)

        return m
