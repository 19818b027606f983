# amaranth: UnusedElaboratable=no
import re
import subprocess
import sys

import pytest
from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from acf.hw import blocks
from acf.hw.hierarchy import ModuleLibrary, convert, place, port_map
from acf.sim.toolchain import verilator_environment


class Counter(wiring.Component):
    """Counts the cycles in which ``enable`` is high."""

    def __init__(self, *, width: int, start: int = 0):
        self._start = start
        super().__init__({"enable": In(1), "o": Out(width)})

    def elaborate(self, platform):
        m = Module()
        count = Signal(len(self.o), init=self._start)
        with m.If(self.enable):
            m.d.sync += count.eq(count + 1)
        m.d.comb += self.o.eq(count)
        return m


class Inverter(wiring.Component):
    """No registers."""

    i: In(4)
    o: Out(4)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(~self.i)
        return m


class Pair(wiring.Component):
    """Two counters of one width, the second with an inverter behind it; ``clear`` resets the first only."""

    def __init__(self, *, widths: tuple[int, int] = (4, 4), library: ModuleLibrary | None):
        self._widths = widths
        self._library = library
        super().__init__({"enable": In(1), "clear": In(1), "a": Out(widths[0]), "b": Out(widths[1])})

    def elaborate(self, platform):
        m = Module()
        first, second = (Counter(width=width) for width in self._widths)
        inverter = Inverter()
        place(m, "first", first, library=self._library, key=(self._widths[0],), reset=self.clear)
        place(m, "second", second, library=self._library, key=(self._widths[1],))
        place(m, "inverter", inverter, library=self._library, key=())
        m.d.comb += [
            first.enable.eq(self.enable),
            second.enable.eq(self.enable),
            self.a.eq(first.o),
            inverter.i.eq(second.o),
            self.b.eq(inverter.o),
        ]
        return m


def generate(component, library):
    return convert(component, name="top") + library.verilog()


def modules(text):
    return re.findall(r"^module (\S+?)\(", text, re.MULTILINE)


def lint(text, folder):
    path = folder / "design.v"
    path.write_text(text)
    command = ["verilator", "--lint-only", "-Wno-fatal", "-Wno-WIDTH", "--top-module", "top", str(path)]
    return subprocess.run(command, env=verilator_environment(), capture_output=True, text=True, check=False)


def test_equal_components_share_one_module(tmp_path):
    library = ModuleLibrary()
    text = generate(Pair(library=library), library)
    assert sorted(modules(text)) == ["acf_counter", "acf_inverter", "top"]
    assert len(re.findall(r"^  acf_counter \w+ \(", text, re.MULTILINE)) == 2
    done = lint(text, tmp_path)
    assert done.returncode == 0, done.stderr


def test_different_components_have_modules_of_their_own(tmp_path):
    library = ModuleLibrary()
    text = generate(Pair(widths=(3, 4), library=library), library)
    assert sorted(modules(text)) == ["acf_counter", "acf_counter_2", "acf_inverter", "top"]
    assert lint(text, tmp_path).returncode == 0


def test_only_modules_with_registers_have_a_clock():
    library = ModuleLibrary()
    inverter = library.module_name(Inverter(), ())
    counter = library.module_name(Counter(width=4), (4,))
    assert library.module_ports(inverter) == {"i", "o"}
    assert library.module_ports(counter) == {"clk", "rst", "enable", "o"}

    class Wrapper(wiring.Component):
        i: In(4)
        o: Out(4)

        def elaborate(self, platform):
            m = Module()
            inverter = Inverter()
            place(m, "inverter", inverter, library=library, key=())
            m.d.comb += [inverter.i.eq(self.i), self.o.eq(inverter.o)]
            return m

    library.module_name(Wrapper(), ())
    assert library.module_ports("acf_wrapper") == {"i", "o"}


def test_key_that_leaves_out_an_argument_is_refused():
    library = ModuleLibrary()
    library.module_name(Counter(width=4), ())
    with pytest.raises(ValueError, match=r"key \(\) stands for two Counter with different ports"):
        library.module_name(Counter(width=5), ())


def test_module_names_keep_acronyms_together():
    class CSRFetch2D(Inverter):
        pass

    assert ModuleLibrary().module_name(CSRFetch2D(), ()) == "acf_csr_fetch2_d"


def test_ports_are_named_by_their_path():
    class Filter(wiring.Component):
        i: In(stream.Signature(8))
        o: Out(stream.Signature(8)).array(2)

        def elaborate(self, platform):
            return Module()

    ports = {name: is_input for name, (_, is_input) in port_map(Filter()).items()}
    assert ports == {
        "i_payload": True,
        "i_valid": True,
        "i_ready": False,
        "o_0_payload": False,
        "o_0_valid": False,
        "o_0_ready": True,
        "o_1_payload": False,
        "o_1_valid": False,
        "o_1_ready": True,
    }


def test_two_ports_of_one_name_are_refused():
    class Clash(wiring.Component):
        i_valid: In(1)
        i: In(stream.Signature(8))

        def elaborate(self, platform):
            return Module()

    with pytest.raises(ValueError, match="two ports of Clash are called 'i_valid'"):
        port_map(Clash())


def test_components_whose_module_exists_do_not_warn_as_unused():
    # In a process of its own: the first line of this file silences the warning here.
    program = """
import gc, warnings
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from acf.hw.hierarchy import ModuleLibrary

class Inner(wiring.Component):
    i: In(1)
    def elaborate(self, platform):
        return Module()

class Outer(wiring.Component):
    i: In(1)
    def __init__(self):
        super().__init__()
        self.inners = [Inner()]
    def elaborate(self, platform):
        m = Module()
        m.submodules += self.inners
        return m

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    library = ModuleLibrary()
    for _ in range(2):
        library.module_name(Outer(), ())
    gc.collect()
    print(len(caught))
    Outer()
    gc.collect()
    print(len(caught))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    placed, forgotten = map(int, done.stdout.split())
    assert placed == 0
    assert forgotten > 0, "the warning itself is gone: this test cannot fail"


@pytest.mark.parametrize("with_library", [False, True])
def test_plain_submodule_and_instance_reset_alike(with_library, tmp_path):
    """The extra reset clears the first counter only: in Amaranth's simulator, and in the generated Verilog."""
    cycles = [(1, 0), (1, 0), (1, 1), (1, 0), (0, 0), (1, 0)]
    golden, first, second = [], 0, 0
    for enable, clear in cycles:
        golden.append((first, ~second & 15))
        first = 0 if clear else (first + enable) & 15
        second = (second + enable) & 15

    dut = Pair(library=None)
    seen = []

    async def bench(ctx):
        for enable, clear in cycles:
            ctx.set(dut.enable, enable)
            ctx.set(dut.clear, clear)
            seen.append((ctx.get(dut.a), ctx.get(dut.b)))
            await ctx.tick()

    if with_library:
        library = ModuleLibrary()
        seen = run_icarus(generate(Pair(library=library), library), cycles, tmp_path)
    else:
        simulator = Simulator(dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()
    assert seen == golden


def run_icarus(text, cycles, folder):
    if subprocess.run(["which", "iverilog"], capture_output=True, check=False).returncode:
        pytest.skip("needs iverilog")
    steps = "\n".join(
        f'enable = {enable}; clear = {clear}; #1 $display("%0d %0d", a, b); #4 clk = 1; #5 clk = 0;'
        for enable, clear in cycles
    )
    bench = f"""
module bench;
  reg clk = 0, rst = 1, enable = 0, clear = 0;
  wire [3:0] a, b;
  top dut(.clk(clk), .rst(rst), .enable(enable), .clear(clear), .a(a), .b(b));
  initial begin
    #5 clk = 1; #5 clk = 0; rst = 0;
    {steps}
  end
endmodule
"""
    (folder / "design.v").write_text(text + bench)
    subprocess.run(["iverilog", "-g2005", "-o", "bench", "-s", "bench", "design.v"], cwd=folder, check=True)
    output = subprocess.run(["vvp", "-n", "bench"], cwd=folder, check=True, capture_output=True, text=True).stdout
    return [tuple(map(int, line.split())) for line in output.splitlines()]


class Fields(wiring.Component):
    """A constant field beside one that follows ``enable``."""

    def __init__(self, *, by_mux, constant=5):
        self._by_mux, self._constant = by_mux, constant
        fields = data.StructLayout({"low": 4, "middle": 4, "high": 4})
        super().__init__({"enable": In(1), "value": In(4), "o": Out(fields)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.o.low.eq(self._constant), self.o.high.eq(self.value)]
        if self._by_mux:
            m.d.comb += self.o.middle.eq(Mux(self.enable, self.value, 1))
        else:
            m.d.comb += self.o.middle.eq(1)
            with m.If(self.enable):
                m.d.comb += self.o.middle.eq(self.value)
        return m


def test_constants_that_would_never_be_assigned_are_refused():
    message = r"o\[3:0\] of fields is 4'h5 in a process of its own, which never runs"
    with pytest.raises(ValueError, match=message):
        convert(Fields(by_mux=False), name="fields")
    assert "4'h5" in convert(Fields(by_mux=True), name="fields")
    # A part that follows another signal is assigned whenever that changes.
    assert "o[3:0] = { value[2:0], 1'h0 }" in convert(Follower(), name="follower")


class Follower(Fields):
    def __init__(self):
        super().__init__(by_mux=False)
        self._constant = Cat(C(0, 1), self.value[:3])


def test_unknown_block_is_refused():
    from acf.config import preset

    with pytest.raises(ValueError, match=r"block must be one of mac, .*, not 'engine'"):
        blocks.generate("engine", config=preset("tiny"))
