"""Which sums are the largest of their block, a bit for each, to memory."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from acf.config import FabricConfig
from acf.hw.mem.axi import BURST_INCREMENT, axi_write_signature, beat_size
from acf.hw.mem.burst_tracker import BurstTracker
from acf.hw.mem.fault_report import fault_signature, raise_fault
from acf.isa import CANDIDATE_WORD, LARGEST_BLOCK, ErrorCode

__all__ = ["CandidateWriter"]

_KEY = 16
_BYTES = CANDIDATE_WORD // 8


class CandidateWriter(wiring.Component):
    """Compares pairs of float32 sums that follow each other, and writes a word of bits when it is complete.

    A pair a cycle, and two cycles for a word, as long as memory takes it. Sums are compared by exponent and the highest
    eight bits of the fraction; of equal ones the first is the largest.

    Parameters
    ----------
    config : FabricConfig

    Members
    -------
    start : In(1)
        Takes the next three; only while ``idle``.
    address : In(32)
        Of the byte in which the bit of the first sum is bit 0. Its lowest bits say where in a word and in a block the
        sum stands.
    count : In(16)
        Sums that there are.
    block : In(3)
        Sums in a block, as a power of two, ``LARGEST_BLOCK`` at most.
    sums : In(64)
        Two sums, the first in the low half.
    valid : In(1)
        Takes them; only while ``room``. Those behind ``count`` are left out.
    room : Out(1)
    write : Out(axi_write)
        ID 0. Only bytes with bits of sums.
    idle : Out(1)
        Nothing is held but what is missing to a word, and every burst has been answered.
    fault : Out(fault_signature)
        WRITE_RESPONSE.
    halt : In(1)
        No more bursts are begun; those begun are finished.
    """

    def __init__(self, *, config: FabricConfig):
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "address": In(32),
                "count": In(16),
                "block": In(3),
                "sums": In(64),
                "valid": In(1),
                "room": Out(1),
                "write": Out(axi_write_signature(memory=config.memory)),
                "idle": Out(1),
                "fault": Out(fault_signature),
                "halt": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        memory = self._config.memory
        place_bits, byte_bits = exact_log2(CANDIDATE_WORD), exact_log2(_BYTES)
        item_layout = data.StructLayout({"valid": 1, "key": _KEY, "place": place_bits})

        # Sums, by their place in a word.
        word = Signal(32 - byte_bits)  # number of the word in memory
        place = Signal(place_bits)
        left = Signal(16)
        block = Signal(3)
        best = Signal(item_layout)
        bits, touched = Signal(CANDIDATE_WORD), Signal(_BYTES)
        last, here, ends_word = Signal(), Signal(), Signal()
        items = []
        for n in range(2):
            item = Signal(item_layout, name=f"item_{n}")
            key = self.sums[32 * n + 31 - _KEY : 32 * n + 31]
            m.d.comb += [item.valid.eq(left > n), item.key.eq(key), item.place.eq(place | n)]
            items.append(item)

        def larger(first, second, name):
            winner = Signal(item_layout, name=name)
            wins = second.valid & (~first.valid | (second.key > first.key))
            m.d.comb += winner.eq(Mux(wins, second, first))
            return winner

        # The larger of the pair first, that of its block in the next cycle.
        place_end = place | 1
        within = Cat(n < block for n in range(LARGEST_BLOCK))  # what is all ones in the last place of a block
        pair_layout = data.StructLayout(
            {"larger": item_layout, "valid": 2, "place": place_bits, "ends_block": 1, "ends_word": 1}
        )
        pair, pair_valid = Signal(pair_layout), Signal()
        m.d.comb += [
            here.eq(self.valid & (left != 0)),
            last.eq(left <= 2),
        ]
        m.d.sync += pair_valid.eq(here)
        with m.If(here):
            m.d.sync += [
                place.eq(place + 2),
                left.eq(Mux(last, 0, left - 2)),
                pair.larger.eq(larger(items[0], items[1], "of_pair")),
                pair.valid.eq(Cat(item.valid for item in items)),
                pair.place.eq(place),
                pair.ends_block.eq((place_end | ~within).all() | last),
                pair.ends_word.eq(place_end.all() | last),
            ]

        winner = larger(best, pair.larger, "winner")
        chosen, new_bits, new_touched = Signal(CANDIDATE_WORD), Signal(CANDIDATE_WORD), Signal(_BYTES)
        m.d.comb += [
            ends_word.eq(pair_valid & pair.ends_word),
            new_bits.eq(bits | chosen),
            new_touched.eq(touched | (1 << pair.place[3:])),
        ]
        with m.If(block == 0):
            m.d.comb += chosen.eq(pair.valid << pair.place)
        with m.Elif(pair.ends_block & winner.valid):
            m.d.comb += chosen.eq(1 << winner.place)
        with m.If(pair_valid):
            m.d.sync += [
                best.eq(winner),
                best.valid.eq(winner.valid & ~pair.ends_block),
                bits.eq(Mux(ends_word, 0, new_bits)),
                touched.eq(Mux(ends_word, 0, new_touched)),
                word.eq(word + ends_word),
            ]
        with m.If(self.start):
            m.d.sync += [
                word.eq(self.address >> byte_bits),
                place.eq(self.address[:byte_bits] << 3),
                left.eq(self.count),
                block.eq(self.block),
            ]

        # Words, a burst of one beat each.
        write = self.write
        m.submodules.tracker = tracker = BurstTracker(
            depth=self._config.feeder.outstanding, address_width=memory.address_width
        )
        beat_bits = exact_log2(memory.beat_bytes)
        pending, issue = Signal(), Signal()
        full_word, full_bits, full_touched = Signal.like(word), Signal.like(bits), Signal.like(touched)
        address = Signal(32)
        m.d.comb += [
            self.room.eq(~pending & ~ends_word),
            address.eq(Cat(Const(0, beat_bits), full_word[beat_bits - byte_bits :])),
            issue.eq(
                pending & (~write.awvalid | write.awready) & (~write.wvalid | write.wready) & tracker.ready & ~self.halt
            ),
            tracker.issue.eq(issue),
            tracker.issue_address.eq(address),
            tracker.finish.eq(write.bvalid),
            write.awid.eq(0),
            write.awlen.eq(0),
            write.awsize.eq(beat_size(memory=memory)),
            write.awburst.eq(BURST_INCREMENT),
            write.wlast.eq(1),
            write.bready.eq(1),
            self.idle.eq(~pair_valid & ~pending & tracker.idle),
        ]
        with m.If(write.awready):
            m.d.sync += write.awvalid.eq(0)
        with m.If(write.wready):
            m.d.sync += write.wvalid.eq(0)
        with m.If(issue):
            part = full_word[: beat_bits - byte_bits]
            words = memory.beat_bytes // _BYTES
            strobe = (
                Cat(full_touched & (part == n).replicate(_BYTES) for n in range(words)) if words > 1 else full_touched
            )
            m.d.sync += [
                pending.eq(0),
                write.awvalid.eq(1),
                write.awaddr.eq(address),
                write.wvalid.eq(1),
                write.wdata.eq(full_bits.replicate(words)),
                write.wstrb.eq(strobe),
            ]
        with m.If(ends_word):
            m.d.sync += [
                pending.eq(1),
                full_word.eq(word),
                full_bits.eq(new_bits),
                full_touched.eq(new_touched),
            ]
        with m.If(write.bvalid & write.bresp[1]):
            m.d.comb += raise_fault(self.fault, ErrorCode.WRITE_RESPONSE, address=tracker.address)

        return m
