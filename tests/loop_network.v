// Seven nodes in a row that send to themselves, each but the first with a fault of its own at packet 50 of one flit.
module loop_node #(parameter FAULT = 0) (
    input clk, input rst,
    input i_valid, output i_ready, input [65:0] i_payload,
    output reg o_valid, input o_ready, output reg [65:0] o_payload,
    output astray
);
    wire is_meant = i_valid && i_payload[55:24] == 50;
    reg again = 0, held = 0, stuck = 0;
    reg [65:0] kept;
    wire moves = !o_valid || o_ready;
    assign i_ready = moves && !again && !stuck;
    assign astray = FAULT == 5 && o_valid && o_payload[55:24] == 50;
    always @(posedge clk) begin
        if (moves) begin
            o_valid <= i_valid && i_ready;
            o_payload <= i_payload;
            again <= 0;
            if (is_meant && i_ready) begin
                if (FAULT == 1) o_valid <= 0;                              // loses it
                if (FAULT == 2) again <= 1;                                // doubles it
                if (FAULT == 3) o_payload <= i_payload ^ (66'd1 << 57);    // changes a bit
                if (FAULT == 4) begin                                      // lets the next one overtake it
                    held <= 1;
                    o_valid <= 0;
                end
                if (FAULT == 6) stuck <= 1;                                // takes nothing any more
                kept <= i_payload;
            end
            if (again) begin
                o_valid <= 1;
                o_payload <= kept;
            end
            if (held && o_valid) begin
                again <= 1;
                held <= 0;
            end
        end
        if (rst) begin
            o_valid <= 0;
            again <= 0;
            held <= 0;
            stuck <= 0;
        end
    end
endmodule

`define NODE(n) \
    input i_0_``n``_valid, output i_0_``n``_ready, input [65:0] i_0_``n``_payload, \
    output o_0_``n``_valid, input o_0_``n``_ready, output [65:0] o_0_``n``_payload

`define LOOP(n) \
    wire valid_``n, astray_``n; \
    wire [65:0] payload_``n; \
    loop_node #(n) node_``n (clk, rst, i_0_``n``_valid, i_0_``n``_ready, i_0_``n``_payload, \
        valid_``n, o_0_``n``_ready, payload_``n, astray_``n);

module loop_network (input clk, input rst, `NODE(0), `NODE(1), `NODE(2), `NODE(3), `NODE(4), `NODE(5), `NODE(6));
    `LOOP(0) `LOOP(1) `LOOP(2) `LOOP(3) `LOOP(4) `LOOP(5) `LOOP(6)
    assign o_0_0_valid = valid_0, o_0_0_payload = payload_0;
    assign o_0_1_valid = valid_1, o_0_1_payload = payload_1;
    assign o_0_2_valid = valid_2, o_0_2_payload = payload_2;
    assign o_0_3_valid = valid_3, o_0_3_payload = payload_3;
    assign o_0_4_valid = valid_4 || astray_5, o_0_4_payload = astray_5 ? payload_5 : payload_4;
    assign o_0_5_valid = valid_5 && !astray_5, o_0_5_payload = payload_5;
    assign o_0_6_valid = valid_6, o_0_6_payload = payload_6;
endmodule
