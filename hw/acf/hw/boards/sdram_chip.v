// What an SDRAM chip of 4 banks x 8192 rows x 512 columns x 16 bits does, for simulations of a board.
//
// It works at the falling edge of clk, as a chip does whose clock is inverted. Bursts of four words; CAS latency 2 or 3,
// as the mode register says. Nothing is checked: a bank that is not open reads and keeps nothing of use.
module acf_sdram_chip(
    input clk,
    input clock_enable,
    input [2:0] command,  // RAS, CAS, WE, each 1 where it is active
    input [1:0] bank,
    input [12:0] address,
    input [1:0] mask,
    input [15:0] dq_o,
    input dq_oe,
    output reg [15:0] dq_i
);
    localparam ACTIVE = 3'b001, READ = 3'b010, WRITE = 3'b110, PRECHARGE = 3'b101, MODE = 3'b111;
    localparam [15:0] NOTHING = 16'hdead;

    reg [15:0] cells [0:(1 << 24) - 1];
    reg [12:0] rows [0:3];
    reg [3:0] is_open = 0;
    reg [2:0] latency = 0;

    reg writes = 0;
    reg [2:0] left = 0;  // words of the burst, behind the one of this edge
    reg [23:0] place = 0;  // of the next word

    // The word of this edge, if there is one.
    wire begins = clock_enable && (command == READ || command == WRITE);
    wire [23:0] here = begins ? {bank, rows[bank], address[8:0]} : place;
    wire has_word = begins ? is_open[bank] : left != 0;
    wire writes_here = begins ? command == WRITE : writes;

    // Words of reads on their way to the pins: from the last edge, from the one before, and what is driven.
    reg [23:0] coming_place = 0, later_place = 0, driven_place = 0;
    reg coming = 0, later = 0, is_driven = 0;
    reg [1:0] mask_before = 0, driven_mask = 0;

    always @(negedge clk) begin
        if (clock_enable) begin
            if (command == ACTIVE) begin
                rows[bank] <= address;
                is_open[bank] <= 1;
            end
            if (command == PRECHARGE) is_open <= address[10] ? 0 : is_open & ~(4'b1 << bank);
            if (command == MODE) latency <= address[6:4];
        end
        left <= begins ? 3 : left != 0 ? left - 1 : 0;
        writes <= writes_here;
        place <= {here[23:2], here[1:0] + 2'd1};
        if (has_word && writes_here && dq_oe) begin
            if (!mask[0]) cells[here][7:0] <= dq_o[7:0];
            if (!mask[1]) cells[here][15:8] <= dq_o[15:8];
        end
        coming <= has_word && !writes_here;
        coming_place <= here;
        later <= coming;
        later_place <= coming_place;
        is_driven <= latency == 3 ? later : coming;
        driven_place <= latency == 3 ? later_place : coming_place;
        mask_before <= mask;
        driven_mask <= mask_before;
    end

    wire [15:0] word = is_driven ? cells[driven_place] : NOTHING;
    always @* dq_i = {driven_mask[1] ? NOTHING[15:8] : word[15:8], driven_mask[0] ? NOTHING[7:0] : word[7:0]};
endmodule
