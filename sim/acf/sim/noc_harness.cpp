// A Verilated network alone with its clock, its sources and its sinks, as a shared library for ctypes.
//
// One cycle: every source decides whether it creates a packet and offers the oldest that it has, the design settles with
// clk low, all handshakes of the cycle are sampled, clk rises. A packet created in a cycle can be transferred in the same
// one. Its latency is the cycle in which its tail is taken minus the cycle in which it was created, so the time in the
// queue of its source, which has no end, counts.
//
// Every packet carries its source and a number among the packets of that source. What a sink takes is checked in every
// bit: a packet comes once, whole, to its destination, and (where the routing promises it) in the order of its flow. A
// packet for a group comes so to each of its members, those of a group in order, and has come when it is with the last.
// Where packets are on their way and no flit goes in or out for a long time, the watchdog calls that a deadlock.
//
// Instead of being created at random, packets can be queued before the first cycle. Then their latency counts from the
// cycle in which the one before them has left their source.
//
// Nodes come from the generated header "nodes.h": ACF_NODES(NODE) is NODE(y, x) for each node, row by row. It also
// defines ACF_BY_CLASS where policies of classes are inputs of the network, ACF_FUNCTIONS where one of several routing
// functions is among them, ACF_TABLES where it has tables, ACF_COUNTERS where it has statistics, and ACF_GROUPS and
// ACF_GROUP_FLITS where it has groups: how many, and the flits of a packet for one at most.

#include <algorithm>
#include <chrono>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "Vacf.h"
#include "nodes.h"
#include "verilated.h"

namespace {

constexpr unsigned kClasses = 4;
#ifdef ACF_GROUPS
constexpr unsigned kGroups = ACF_GROUPS, kGroupFlits = ACF_GROUP_FLITS;
#else
constexpr unsigned kGroups = 0, kGroupFlits = 1;
#endif
constexpr uint64_t kGroupCast = 3;

// Mirrored by acf.sim.noc_harness.
struct Options {
    uint64_t probability;  // of a new packet at a source in a cycle, in 1 / 2^32
    uint64_t stall;        // of a sink that does not take a flit in a cycle, in 1 / 2^32
    uint64_t gap;          // of a source that has a flit and does not offer it, in 1 / 2^32
    uint64_t shortest, longest;  // flits of a packet, each number as likely
    uint64_t seed;
    uint64_t warm_up, measure, drain;  // cycles; drain is the most
    uint64_t ordered;                  // classes whose packets of a flow must come in order, a bit for each
    uint64_t classes;                  // classes of packets, a bit for each; drawn for each packet
    uint64_t watchdog;                 // cycles in which something must move while packets are on their way; 0 for ever
};

struct Statistics {
    uint64_t cycles;                         // since the run began
    uint64_t flits_created;                  // of all packets
    uint64_t created, delivered;             // packets, since the run began
    uint64_t measured, measured_delivered;   // of them those created in the measuring phase
    uint64_t flits_injected, flits_ejected;  // in the measuring phase
    uint64_t source_stalls;                  // cycles x nodes of it in which a source offered a flit in vain
    uint64_t packet_cycles;                  // packets created and not yet delivered, summed over all cycles of the run
    uint64_t latency_sum;                    // of all packets delivered
    uint64_t out_of_order;                   // packets that came behind a later one of their flow
    uint64_t longest_silence;                // cycles in a row in which nothing moved while packets were on their way
    uint64_t finished;                       // cycles until the last packet had come
    uint64_t delivered_of[kClasses], latency_of[kClasses];  // of them by class, of those created in the measuring phase
    uint64_t finished_of[kClasses];                         // by class, cycles until the last packet had come
};

enum Status { kRunning = 0, kDone = 1, kDrainLimit = 2, kFault = 3 };

struct Record {
    uint64_t created;
    uint32_t to;  // a node or, behind the nodes, a group
    uint16_t left;  // receivers to which it has not come
    uint8_t flits, traffic_class;
    bool measured;
};

struct Node {
    CData *i_valid, *i_ready, *o_valid, *o_ready;
    VlWide<3> *i_payload, *o_payload;  // 64 bits of payload, head, tail
    uint64_t header;                   // of packets for this node
    uint64_t random, stalls, gaps, kinds;  // generators: of packets, of the sink, of the source, of classes
    uint64_t injected[kClasses], ejected[kClasses];  // flits since the run began
    bool offers;                       // a flit that has not been taken
    std::deque<uint32_t> queue;  // numbers of packets that have not left
    uint64_t sent_flits;         // of the first in the queue
    std::vector<Record> records;
    std::vector<int64_t> latest;  // by destination and class: number of the latest packet that came
    std::vector<int64_t> latest_of_groups;  // by group: number of the latest packet that this node took
    int64_t open_source, open_number;
    uint64_t open_flits;
};

class Harness {
  public:
    Harness() : context_(new VerilatedContext) {
        context_->randReset(0);
        top_.reset(new Vacf(context_.get()));
#define NODE(y, x)                                                                                                      \
    add_node(y, x, &top_->i_##y##_##x##_valid, &top_->i_##y##_##x##_ready, &top_->i_##y##_##x##_payload,                \
             &top_->o_##y##_##x##_valid, &top_->o_##y##_##x##_ready, &top_->o_##y##_##x##_payload);
        ACF_NODES(NODE)
#undef NODE
        Options none{};
        none.shortest = none.longest = none.classes = 1;
        begin(none, nullptr);
    }

    ~Harness() { top_->final(); }

    // Empty the network and forget all packets. `destinations` holds, for each source, the sums of the probabilities of
    // destinations up to each node, in 1 / 2^32; a source whose last sum is 0 sends nothing.
    void begin(const Options& options, const uint64_t* destinations) {
        options_ = options;
        destinations_.clear();
        if (destinations) destinations_.assign(destinations, destinations + nodes_.size() * (nodes_.size() + kGroups));
        is_queued_ = false;
        for (auto& of_classes : sent_to_) std::fill(of_classes.begin(), of_classes.end(), 0);
        message_.clear();
        statistics_ = Statistics{};
        latencies_.clear();
        member_latencies_.clear();
        in_system_ = 0;
        now_ = 0;
        silence_ = 0;
        for (size_t n = 0; n < nodes_.size(); n++) {
            Node& node = nodes_[n];
            node.random = options.seed * 0x9E3779B97F4A7C15ull + n;
            node.random = roll(node.random);
            node.stalls = roll(node.random);
            node.gaps = ~node.stalls;
            node.kinds = node.gaps ^ 0x5555;
            std::fill_n(node.injected, kClasses, 0);
            std::fill_n(node.ejected, kClasses, 0);
            node.offers = false;
            node.queue.clear();
            node.sent_flits = 0;
            node.records.clear();
            node.latest.assign(nodes_.size() * kClasses, -1);
            node.latest_of_groups.assign(kGroups, -1);
            node.open_source = -1;
            *node.i_valid = 0;
            *node.o_ready = 1;
        }
        top_->rst = 1;
        for (int n = 0; n < 4; n++) tick();
        top_->rst = 0;
    }

    // Queue a packet at its source, before the first cycle.
    void queue(uint32_t source, uint32_t to, uint8_t flits, uint8_t traffic_class) {
        is_queued_ = true;
        add(nodes_[source], to, flits, traffic_class, true);
    }

    // Go on until all packets of the measuring phase have come, at most for so long.
    int advance(double max_seconds) {
        const auto start = std::chrono::steady_clock::now();
        const uint64_t end_of_measure = options_.warm_up + options_.measure;
        for (uint64_t n = 0;; n++) {
            if (!message_.empty()) return kFault;
            if (now_ >= end_of_measure) {
                if (statistics_.measured_delivered == statistics_.measured) return kDone;
                if (now_ >= end_of_measure + options_.drain) return kDrainLimit;
            }
            if ((n & 63) == 63) {
                const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
                if (spent.count() > max_seconds) return kRunning;
            }
            const bool measures = now_ >= options_.warm_up && now_ < end_of_measure;
            cycle(true, measures);
        }
    }

    // Create nothing more, and go on until the network is empty or `limit` cycles have gone by.
    int flush(uint64_t limit) {
        for (uint64_t n = 0; n < limit && in_system_ && message_.empty(); n++) cycle(false, false);
        if (message_.empty())  // nothing may come behind the last one
            for (int n = 0; n < 32; n++) cycle(false, false);
        return message_.empty() ? (in_system_ ? kDrainLimit : kDone) : kFault;
    }

    // Latency of one packet in an empty network, or -1.
    int64_t alone(uint32_t source, uint32_t to, uint64_t flits, uint64_t limit) {
        options_.stall = options_.gap = 0;
        if (in_system_ || !message_.empty()) begin(options_, nullptr);
        for (Node& node : nodes_) *node.o_ready = 1;
        options_.shortest = options_.longest = flits;
        const uint64_t before = statistics_.latency_sum, delivered = statistics_.delivered;
        create(nodes_[source], to, false);
        for (uint64_t n = 0; n < limit && message_.empty(); n++) {
            cycle(false, false);
            if (statistics_.delivered != delivered) {
                const int64_t latency = static_cast<int64_t>(statistics_.latency_sum - before);
                for (int m = 0; m < 8; m++) cycle(false, false);  // until all credits are back
                return latency;
            }
        }
        return -1;
    }

    // How a class is treated from now on; the network must be empty.
    bool set_policy(unsigned traffic_class, unsigned function, unsigned channels, bool is_urgent) {
#ifdef ACF_BY_CLASS
#ifdef ACF_FUNCTIONS
        CData* const functions[] = {&top_->classes_0_function, &top_->classes_1_function, &top_->classes_2_function,
                                    &top_->classes_3_function};
        *functions[traffic_class] = function;
#endif
        CData* const sets[] = {&top_->classes_0_channels, &top_->classes_1_channels, &top_->classes_2_channels,
                               &top_->classes_3_channels};
        CData* const urgent[] = {&top_->classes_0_is_urgent, &top_->classes_1_is_urgent, &top_->classes_2_is_urgent,
                                 &top_->classes_3_is_urgent};
        *sets[traffic_class] = channels;
        *urgent[traffic_class] = is_urgent;
        return true;
#else
        return false;
#endif
    }

    bool set_table(unsigned y, unsigned x, unsigned to_y, unsigned to_x, unsigned port) {
#ifdef ACF_TABLES
        top_->table_write = 1;
        top_->table_y = y;
        top_->table_x = x;
        top_->table_to_y = to_y;
        top_->table_to_x = to_x;
        top_->table_port = port;
        tick();
        top_->table_write = 0;
        return true;
#else
        return false;
#endif
    }

    // The fork of a group at a router.
    bool set_fork(unsigned y, unsigned x, unsigned group, unsigned fork) {
#ifdef ACF_GROUPS
        top_->groups_write = 1;
        top_->groups_y = y;
        top_->groups_x = x;
        top_->groups_number = group;
        top_->groups_fork = fork;
        tick();
        top_->groups_write = 0;
        return true;
#else
        return false;
#endif
    }

    // Who must take packets for a group, a byte for each node.
    void set_members(unsigned group, const uint8_t* is_member) {
        members_[group].assign(is_member, is_member + nodes_.size());
    }

    // Flits, stalls and occupancy of an input of a router; takes two cycles, in which nothing goes in or out.
    bool read_counters(unsigned y, unsigned x, unsigned port, unsigned traffic_class, uint64_t* found) {
#ifdef ACF_COUNTERS
        top_->counters_y = y;
        top_->counters_x = x;
        top_->counters_port = port;
        top_->counters_traffic_class = traffic_class;
        for (Node& node : nodes_) *node.i_valid = *node.o_ready = 0;
        tick();
        tick();
        found[0] = top_->counters_flits;
        found[1] = top_->counters_stalls;
        found[2] = top_->counters_occupancy;
        return true;
#else
        return false;
#endif
    }

    uint64_t injected(unsigned node, unsigned traffic_class) const { return nodes_[node].injected[traffic_class]; }
    uint64_t ejected(unsigned node, unsigned traffic_class) const { return nodes_[node].ejected[traffic_class]; }

    uint64_t sent_to(unsigned group, unsigned traffic_class) const { return sent_to_[group][traffic_class]; }

    const char* message() const { return message_.c_str(); }
    const Statistics& statistics() const { return statistics_; }
    const std::vector<uint64_t>& latencies() const { return latencies_; }
    const std::vector<uint64_t>& member_latencies() const { return member_latencies_; }
    uint64_t nodes() const { return nodes_.size(); }

  private:
    void add_node(uint64_t y, uint64_t x, CData* i_valid, CData* i_ready, VlWide<3>* i_payload, CData* o_valid,
                  CData* o_ready, VlWide<3>* o_payload) {
        Node node{};
        node.i_valid = i_valid;
        node.i_ready = i_ready;
        node.i_payload = i_payload;
        node.o_valid = o_valid;
        node.o_ready = o_ready;
        node.o_payload = o_payload;
        node.header = x | y << 4;
        nodes_.push_back(node);
    }

    // SplitMix64: a generator of 64 bits for each source.
    static uint64_t roll(uint64_t& state) {
        uint64_t z = state += 0x9E3779B97F4A7C15ull;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
        return z ^ (z >> 31);
    }

    void fail(const char* format, ...) {
        char text[256];
        va_list arguments;
        va_start(arguments, format);
        std::vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        if (message_.empty()) message_ = "cycle " + std::to_string(now_) + ": " + text;
    }

    uint8_t draw_class(Node& node) {
        if (options_.classes == 1) return 0;
        for (;;) {
            const unsigned drawn = roll(node.kinds) >> 32 & (kClasses - 1);
            if (options_.classes >> drawn & 1) return drawn;
        }
    }

    void create(Node& node, uint32_t to, bool measured) {
        uint64_t flits = options_.longest;
        if (options_.shortest < flits) flits = options_.shortest + roll(node.random) % (flits - options_.shortest + 1);
        if (to >= nodes_.size()) flits = std::min<uint64_t>(flits, kGroupFlits);
        add(node, to, static_cast<uint8_t>(flits), draw_class(node), measured);
    }

    void add(Node& node, uint32_t to, uint8_t flits, uint8_t traffic_class, bool measured) {
        node.queue.push_back(static_cast<uint32_t>(node.records.size()));
        uint16_t receivers = 1;
        if (to >= nodes_.size()) {
            const auto& members = members_[to - nodes_.size()];
            receivers = static_cast<uint16_t>(std::count_if(members.begin(), members.end(), [](uint8_t is) { return is; }));
        }
        node.records.push_back(Record{now_, to, receivers, flits, traffic_class, measured});
        statistics_.created++;
        statistics_.flits_created += flits;
        statistics_.measured += measured;
        in_system_++;
    }

    void create_at_random(size_t n, bool measured) {
        Node& node = nodes_[n];
        const size_t count = nodes_.size() + kGroups;
        const uint64_t* sums = &destinations_[n * count];
        if (!sums[count - 1]) return;
        // Both are drawn in every cycle, so that packets of a higher load are those of a lower one and more.
        const uint64_t chance = roll(node.random) >> 32, place = roll(node.random) >> 32;
        if (chance >= options_.probability) return;
        create(node, static_cast<uint32_t>(std::upper_bound(sums, sums + count, place) - sums), measured);
    }

    // Bits of one flit: the header or, in a body, what is no header; source, number and place in the packet.
    uint64_t payload(uint64_t source, uint64_t number, uint64_t flit, uint64_t to) const {
        const uint64_t place = to < nodes_.size() ? nodes_[to].header : (to - nodes_.size()) | kGroupCast << 8;
        const uint64_t header = place | uint64_t{nodes_[source].records[number].traffic_class} << 10;
        const uint64_t low = flit ? (number * 40503 + flit * 10007) & 0xFFFF : header;
        return low | source << 16 | (number & 0xFFFFFFFF) << 24 | flit << 56;
    }

    void drive(bool creates, bool measures) {
        for (size_t n = 0; n < nodes_.size(); n++) {
            Node& node = nodes_[n];
            if (creates) create_at_random(n, measures);
            if (options_.stall) *node.o_ready = roll(node.stalls) >> 32 >= options_.stall;
            if (!node.queue.empty() && !node.offers)
                node.offers = !options_.gap || roll(node.gaps) >> 32 >= options_.gap;
            *node.i_valid = node.offers;
            if (!node.offers) continue;
            const uint32_t number = node.queue.front();
            const Record& record = node.records[number];
            const uint64_t bits = payload(n, number, node.sent_flits, record.to);
            VlWide<3>& words = *node.i_payload;
            words[0] = static_cast<uint32_t>(bits);
            words[1] = static_cast<uint32_t>(bits >> 32);
            words[2] = (node.sent_flits == 0) | (node.sent_flits + 1 == record.flits) << 1;
        }
    }

    // Whether a flit goes into or out of the network.
    bool sample(bool measures) {
        bool moves = false;
        for (size_t n = 0; n < nodes_.size(); n++) {
            Node& node = nodes_[n];
            if (*node.i_valid) {
                if (*node.i_ready) {
                    moves = true;
                    node.offers = false;
                    if (measures) statistics_.flits_injected++;
                    const Record& record = node.records[node.queue.front()];
                    node.injected[record.traffic_class]++;
                    if (record.to >= nodes_.size()) sent_to_[record.to - nodes_.size()][record.traffic_class]++;
                    if (++node.sent_flits == record.flits) {
                        node.sent_flits = 0;
                        node.queue.pop_front();
                        if (is_queued_ && !node.queue.empty()) node.records[node.queue.front()].created = now_ + 1;
                    }
                } else if (measures) {
                    statistics_.source_stalls++;
                }
            }
            if (*node.o_valid && *node.o_ready) {
                moves = true;
                if (measures) statistics_.flits_ejected++;
                take(static_cast<uint32_t>(n), node);
            }
        }
        return moves;
    }

    void watch(bool moves) {
        silence_ = moves || !in_system_ ? 0 : silence_ + 1;
        statistics_.longest_silence = std::max(statistics_.longest_silence, silence_);
        if (!options_.watchdog || silence_ <= options_.watchdog) return;
        uint64_t source = 0, oldest = ~0ull, number = 0;
        for (size_t n = 0; n < nodes_.size(); n++)
            for (size_t k = 0; k < nodes_[n].records.size(); k++) {
                const Record& record = nodes_[n].records[k];
                if (record.left && record.created < oldest) source = n, number = k, oldest = record.created;
            }
        fail("nothing has moved for %llu cycles, and %llu packets have not come; the oldest is packet %llu from %llu to %u",
             static_cast<unsigned long long>(silence_), static_cast<unsigned long long>(in_system_),
             static_cast<unsigned long long>(number), static_cast<unsigned long long>(source),
             nodes_[source].records[number].to);
    }

    void take(uint32_t at, Node& node) {
        const VlWide<3>& words = *node.o_payload;
        const uint64_t bits = words[0] | static_cast<uint64_t>(words[1]) << 32;
        const bool head = words[2] & 1, tail = words[2] >> 1 & 1;
        if (node.open_source < 0) {
            node.open_source = bits >> 16 & 0xFF;
            node.open_number = bits >> 24 & 0xFFFFFFFF;
            node.open_flits = 0;
        }
        const uint64_t source = node.open_source, number = node.open_number, flit = node.open_flits++;
        if (source >= nodes_.size() || number >= nodes_[source].records.size())
            return fail("node %u takes a flit that nobody sent: %016llx", at, static_cast<unsigned long long>(bits));
        Record& record = nodes_[source].records[number];
        const bool last = flit + 1 == record.flits;
        const bool is_grouped = record.to >= nodes_.size();
        const size_t group = is_grouped ? record.to - nodes_.size() : 0;
        const bool is_meant = is_grouped ? members_[group][at] : record.to == at;
        const bool is_new = is_grouped ? static_cast<int64_t>(number) > node.latest_of_groups[group] : record.left > 0;
        if (!is_meant || !is_new || bits != payload(source, number, flit, record.to) || head != (flit == 0) ||
            tail != last)
            return fail("node %u takes %016llx, head %d, tail %d, as flit %llu of packet %llu from %llu to %u%s", at,
                        static_cast<unsigned long long>(bits), head, tail, static_cast<unsigned long long>(flit),
                        static_cast<unsigned long long>(number), static_cast<unsigned long long>(source), record.to,
                        is_new ? "" : ", which has come before");
        const unsigned traffic_class = record.traffic_class;
        node.ejected[traffic_class]++;
        if (!last) return;
        node.open_source = -1;
        if (is_grouped) {
            node.latest_of_groups[group] = static_cast<int64_t>(number);
            if (record.measured) member_latencies_.push_back(now_ - record.created);
        }
        if (--record.left) return;
        if (!is_grouped) check_order(source, number, at, traffic_class);
        const uint64_t latency = now_ - record.created;
        statistics_.delivered++;
        statistics_.latency_sum += latency;
        statistics_.finished = statistics_.finished_of[traffic_class] = now_ + 1;
        in_system_--;
        if (record.measured) {
            statistics_.measured_delivered++;
            statistics_.delivered_of[traffic_class]++;
            statistics_.latency_of[traffic_class] += latency;
            latencies_.push_back(latency);
        }
    }

    void check_order(uint64_t source, uint64_t number, uint32_t at, unsigned traffic_class) {
        int64_t& latest = nodes_[source].latest[at * kClasses + traffic_class];
        if (static_cast<int64_t>(number) < latest) {
            statistics_.out_of_order++;
            if (options_.ordered >> traffic_class & 1)
                fail("packet %llu from %llu to %u comes behind packet %lld", static_cast<unsigned long long>(number),
                     static_cast<unsigned long long>(source), at, static_cast<long long>(latest));
        }
        latest = std::max(latest, static_cast<int64_t>(number));
    }

    void cycle(bool creates, bool measures) {
        drive(creates, measures);
        top_->clk = 0;
        top_->eval();
        const bool moves = sample(measures);
        statistics_.packet_cycles += in_system_;
        watch(moves);
        top_->clk = 1;
        top_->eval();
        now_++;
        statistics_.cycles = now_;
    }

    void tick() {
        top_->clk = 0;
        top_->eval();
        top_->clk = 1;
        top_->eval();
    }

    std::unique_ptr<VerilatedContext> context_;
    std::unique_ptr<Vacf> top_;
    std::vector<Node> nodes_;
    Options options_{};
    std::vector<uint64_t> destinations_;
    Statistics statistics_{};
    std::vector<uint64_t> latencies_;
    std::vector<uint64_t> member_latencies_;  // of measured packets for groups, at each of their members
    std::vector<std::vector<uint8_t>> members_ = std::vector<std::vector<uint8_t>>(kGroups);
    std::vector<std::vector<uint64_t>> sent_to_ =
        std::vector<std::vector<uint64_t>>(kGroups, std::vector<uint64_t>(kClasses));  // flits by group and class
    bool is_queued_ = false;
    uint64_t in_system_ = 0, now_ = 0, silence_ = 0;
    std::string message_;
};

}  // namespace

extern "C" {

void* noc_open() { return new Harness; }
void noc_close(void* h) { delete static_cast<Harness*>(h); }
void noc_begin(void* h, const Options* options, const uint64_t* destinations) {
    static_cast<Harness*>(h)->begin(*options, destinations);
}
int noc_advance(void* h, double max_seconds) { return static_cast<Harness*>(h)->advance(max_seconds); }
int noc_flush(void* h, uint64_t limit) { return static_cast<Harness*>(h)->flush(limit); }
int64_t noc_alone(void* h, uint32_t source, uint32_t to, uint64_t flits, uint64_t limit) {
    return static_cast<Harness*>(h)->alone(source, to, flits, limit);
}
const char* noc_message(void* h) { return static_cast<Harness*>(h)->message(); }
uint64_t noc_nodes(void* h) { return static_cast<Harness*>(h)->nodes(); }
void noc_statistics(void* h, Statistics* statistics) { *statistics = static_cast<Harness*>(h)->statistics(); }
int noc_policy(void* h, unsigned traffic_class, unsigned function, unsigned channels, int is_urgent) {
    return static_cast<Harness*>(h)->set_policy(traffic_class, function, channels, is_urgent);
}
int noc_table(void* h, unsigned y, unsigned x, unsigned to_y, unsigned to_x, unsigned port) {
    return static_cast<Harness*>(h)->set_table(y, x, to_y, to_x, port);
}
int noc_fork(void* h, unsigned y, unsigned x, unsigned group, unsigned fork) {
    return static_cast<Harness*>(h)->set_fork(y, x, group, fork);
}
void noc_members(void* h, unsigned group, const uint8_t* is_member) {
    static_cast<Harness*>(h)->set_members(group, is_member);
}
void noc_queue(void* h, uint64_t count, const uint32_t* packets) {
    for (uint64_t n = 0; n < count; n++, packets += 4)
        static_cast<Harness*>(h)->queue(packets[0], packets[1], packets[2], packets[3]);
}
uint64_t noc_sent_to(void* h, unsigned group, unsigned traffic_class) {
    return static_cast<Harness*>(h)->sent_to(group, traffic_class);
}
int noc_counters(void* h, unsigned y, unsigned x, unsigned port, unsigned traffic_class, uint64_t* found) {
    return static_cast<Harness*>(h)->read_counters(y, x, port, traffic_class, found);
}
uint64_t noc_injected(void* h, unsigned node, unsigned traffic_class) {
    return static_cast<Harness*>(h)->injected(node, traffic_class);
}
uint64_t noc_ejected(void* h, unsigned node, unsigned traffic_class) {
    return static_cast<Harness*>(h)->ejected(node, traffic_class);
}
uint64_t noc_latencies(void* h, uint64_t* place, uint64_t room) {
    const auto& found = static_cast<Harness*>(h)->latencies();
    std::copy_n(found.begin(), std::min<uint64_t>(room, found.size()), place);
    return found.size();
}
uint64_t noc_member_latencies(void* h, uint64_t* place, uint64_t room) {
    const auto& found = static_cast<Harness*>(h)->member_latencies();
    std::copy_n(found.begin(), std::min<uint64_t>(room, found.size()), place);
    return found.size();
}
}
