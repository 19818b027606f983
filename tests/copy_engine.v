// Stand-in for the fabric in the tests of the harness: copies memory by up to 16 bursts of 16 beats, each with an ID of
// its own. It reads everything first, then writes everything, and counts the cycles of both.
module copy_engine (
    input clk, input rst, output interrupt,
    output [3:0] m_axi_arid, output reg [31:0] m_axi_araddr, output [7:0] m_axi_arlen, output [2:0] m_axi_arsize,
    output [1:0] m_axi_arburst, output reg m_axi_arvalid, input m_axi_arready,
    input [3:0] m_axi_rid, input [63:0] m_axi_rdata, input [1:0] m_axi_rresp, input m_axi_rlast, input m_axi_rvalid,
    output m_axi_rready,
    output [3:0] m_axi_awid, output reg [31:0] m_axi_awaddr, output [7:0] m_axi_awlen, output [2:0] m_axi_awsize,
    output [1:0] m_axi_awburst, output reg m_axi_awvalid, input m_axi_awready,
    output [63:0] m_axi_wdata, output [7:0] m_axi_wstrb, output m_axi_wlast, output reg m_axi_wvalid, input m_axi_wready,
    input [3:0] m_axi_bid, input [1:0] m_axi_bresp, input m_axi_bvalid, output m_axi_bready,
    input [11:0] s_axil_awaddr, input [2:0] s_axil_awprot, input s_axil_awvalid, output s_axil_awready,
    input [31:0] s_axil_wdata, input [3:0] s_axil_wstrb, input s_axil_wvalid, output s_axil_wready,
    output [1:0] s_axil_bresp, output reg s_axil_bvalid, input s_axil_bready,
    input [11:0] s_axil_araddr, input [2:0] s_axil_arprot, input s_axil_arvalid, output s_axil_arready,
    output [1:0] s_axil_rresp, output reg [31:0] s_axil_rdata, output reg s_axil_rvalid, input s_axil_rready
);
    // Host registers. Addresses from 0xF00 on are never answered.
    reg [31:0] source, target;    // 0x00, 0x04
    reg [7:0] length;             // 0x08: beats of a burst less one
    reg [4:0] bursts;             // 0x0C
    reg [7:0] strobes;            // 0x10
    reg [1:0] fault;              // 0x14: 1 drops ARVALID before ARREADY, 2 sends WLAST early, 3 never raises interrupt
    reg [31:0] read_cycles, write_cycles;  // 0x20, 0x24
    reg [1:0] read_response, write_response;  // 0x28, 0x2C: the worst seen
    reg [31:0] out_of_order;      // 0x30: read beats of another burst than the oldest one
    reg reading, writing, done;

    wire host_write = s_axil_awvalid & s_axil_wvalid & ~s_axil_bvalid & (s_axil_awaddr < 12'hF00);
    wire host_read = s_axil_arvalid & ~s_axil_rvalid & (s_axil_araddr < 12'hF00);
    wire start = host_write & (s_axil_awaddr == 12'h018);
    assign s_axil_awready = host_write;
    assign s_axil_wready = host_write;
    assign s_axil_arready = host_read;
    assign s_axil_bresp = 0;
    assign s_axil_rresp = s_axil_araddr == 12'h800 ? 2'b10 : 2'b00;
    assign interrupt = done & (fault != 3);

    reg [63:0] buffer [0:255];
    reg [3:0] beat_of [0:15];     // next beat of each ID
    reg [4:0] asked, begun, finished, answered;
    reg [7:0] read_beats;
    reg [3:0] write_beat;
    reg [3:0] oldest;

    assign m_axi_arid = asked[3:0];
    assign m_axi_arlen = length;
    assign m_axi_arsize = 3;
    assign m_axi_arburst = 1;
    assign m_axi_rready = 1;
    assign m_axi_awid = begun[3:0];
    assign m_axi_awlen = length;
    assign m_axi_awsize = 3;
    assign m_axi_awburst = 1;
    assign m_axi_wdata = buffer[{finished[3:0], write_beat}];
    assign m_axi_wstrb = strobes;
    assign m_axi_wlast = write_beat == length[3:0] || fault == 2;
    assign m_axi_bready = 1;

    integer n;
    always @(posedge clk) begin
        if (s_axil_bready) s_axil_bvalid <= 0;
        if (s_axil_rready) s_axil_rvalid <= 0;
        if (host_write) begin
            s_axil_bvalid <= 1;
            case (s_axil_awaddr)
                12'h000: source <= s_axil_wdata;
                12'h004: target <= s_axil_wdata;
                12'h008: length <= s_axil_wdata[7:0];
                12'h00C: bursts <= s_axil_wdata[4:0];
                12'h010: strobes <= s_axil_wdata[7:0];
                12'h014: fault <= s_axil_wdata[1:0];
                default: ;
            endcase
        end
        if (host_read) begin
            s_axil_rvalid <= 1;
            case (s_axil_araddr)
                12'h000: s_axil_rdata <= source;
                12'h020: s_axil_rdata <= read_cycles;
                12'h024: s_axil_rdata <= write_cycles;
                12'h028: s_axil_rdata <= read_response;
                12'h02C: s_axil_rdata <= write_response;
                12'h030: s_axil_rdata <= out_of_order;
                default: s_axil_rdata <= 0;
            endcase
        end

        // Reading counts from the cycle of the first ARVALID to that of the last beat, writing from the first AWVALID
        // to the last BVALID.
        if (reading) read_cycles <= read_cycles + 1;
        if (writing) write_cycles <= write_cycles + 1;
        if (m_axi_arvalid & m_axi_arready) begin
            m_axi_araddr <= m_axi_araddr + ((length + 1) << 3);
            asked <= asked + 1;
            if (asked + 1 == bursts) m_axi_arvalid <= 0;
        end else if (fault == 1) m_axi_arvalid <= 0;
        if (m_axi_rvalid) begin
            buffer[{m_axi_rid, beat_of[m_axi_rid]}] <= m_axi_rdata;
            beat_of[m_axi_rid] <= beat_of[m_axi_rid] + 1;
            read_response <= read_response | m_axi_rresp;
            if (m_axi_rid != oldest) out_of_order <= out_of_order + 1;
            if (m_axi_rlast) begin
                oldest <= oldest + 1;
                answered <= answered + 1;
                if (answered + 1 == bursts) begin
                    reading <= 0;
                    writing <= 1;
                    m_axi_awvalid <= 1;
                    m_axi_wvalid <= 1;
                    answered <= 0;
                end
            end
        end
        if (m_axi_awvalid & m_axi_awready) begin
            m_axi_awaddr <= m_axi_awaddr + ((length + 1) << 3);
            begun <= begun + 1;
            if (begun + 1 == bursts) m_axi_awvalid <= 0;
        end
        if (m_axi_wvalid & m_axi_wready) begin
            write_beat <= write_beat + 1;
            if (write_beat == length[3:0]) begin
                write_beat <= 0;
                finished <= finished + 1;
                if (finished + 1 == bursts) m_axi_wvalid <= 0;
            end
        end
        if (m_axi_bvalid) begin
            write_response <= write_response | m_axi_bresp;
            answered <= answered + 1;
            if (answered + 1 == bursts) begin
                writing <= 0;
                done <= 1;
            end
        end

        if (start) begin
            reading <= 1; writing <= 0; done <= 0;
            m_axi_araddr <= source; m_axi_awaddr <= target;
            m_axi_arvalid <= 1; m_axi_awvalid <= 0; m_axi_wvalid <= 0;
            asked <= 0; begun <= 0; finished <= 0; answered <= 0; write_beat <= 0; oldest <= 0;
            read_cycles <= 0; write_cycles <= 0; read_response <= 0; write_response <= 0; out_of_order <= 0;
            for (n = 0; n < 16; n = n + 1) beat_of[n] <= 0;
        end
        if (rst) begin
            reading <= 0; writing <= 0; done <= 0; fault <= 0;
            m_axi_arvalid <= 0; m_axi_awvalid <= 0; m_axi_wvalid <= 0; s_axil_bvalid <= 0; s_axil_rvalid <= 0;
        end
    end
endmodule
