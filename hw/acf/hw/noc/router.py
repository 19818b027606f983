"""The mesh router: five input ports, five outputs, and the crossbar between them."""

from amaranth.hdl import Cat, Module
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
    local_links : bool
        Whether the local output is a link for each virtual channel, which may all carry a flit in the same cycle.

    Members
    -------
    y, x : In(4)
        Where the router is; constant.
    north_i, east_i, south_i, west_i, local_i : In(link_signature)
    north_o, east_o, south_o, west_o, local_o : Out(link_signature)
        With ``local_links``, ``local_o`` is an array of ``virtual_channels`` of them.
    """

    def __init__(self, *, noc: NocConfig, routing: RoutingFunction = xy, local_links: bool = False):
        self._noc = noc
        self._routing = routing
        self._local_links = local_links
        link = link_signature(noc=noc)
        outputs = {f"{port.name.lower()}_o": Out(link) for port in Port}
        if local_links:
            outputs["local_o"] = Out(link).array(noc.virtual_channels)
        super().__init__(
            {
                "y": In(4),
                "x": In(4),
                **{f"{port.name.lower()}_i": In(link) for port in Port},
                **outputs,
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

        if self._local_links:
            self._send_by_channel(m, crossings.pop(Port.LOCAL))
        for port, branches in crossings.items():
            name = f"{port.name.lower()}_o"
            sender = LinkSender(noc=self._noc, sources=len(branches))
            m.submodules[name] = sender
            connect(m, sender.link, flipped(getattr(self, name)))
            for branch, source in zip(branches, sender.sources, strict=True):
                connect(m, branch, source)

        return m

    def _send_by_channel(self, m, branches):
        """Give each virtual channel of the local output a sender of its own, which knows no flits but its own."""
        grants = [[] for _ in branches]
        for channel, link in enumerate(self.local_o):
            sender = LinkSender(noc=self._noc, sources=len(branches))
            m.submodules[f"local_o_{channel}"] = sender
            connect(m, sender.link, flipped(link))
            for branch, source, granted in zip(branches, sender.sources, grants, strict=True):
                m.d.comb += [
                    source.request.eq(branch.request & branch.channels[channel]),
                    source.channels.eq(1 << channel),
                    source.flit.eq(branch.flit),
                    branch.may_send[channel].eq(source.may_send[channel]),
                ]
                granted.append(source.grant)
        for branch, granted in zip(branches, grants, strict=True):
            m.d.comb += branch.grant.eq(Cat(granted).any())
