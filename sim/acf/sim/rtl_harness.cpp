// The Verilated fabric with its clock, its memory and its host, as a shared library for ctypes.
//
// One cycle of the harness: the inputs are set from the registers of the memory model, the design settles with clk low,
// all handshakes of the cycle are sampled, clk rises, and the memory model steps with what was sampled. The memory thus
// behaves as registered logic on the same clock: nothing passes through it combinationally.
//
// Timing of the memory. A read burst whose address is taken in cycle t gives its first beat in cycle t + latency or
// later; one beat per cycle follows, in the order of the addresses. The answer to a write comes write_latency cycles
// after its last beat. Beats of both directions share one bandwidth: a beat moves only while the balance is positive
// and takes a whole beat from it; each cycle adds `bandwidth` and lets no more than that be saved up. Random stalls,
// latency jitter and reordering between IDs are off unless asked for; all random choices come from one seed.
//
// Widths are taken from the ports of the generated class, so that one text serves every configuration.

#include <algorithm>
#include <chrono>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "Vacf.h"
#include "verilated.h"

#if ACF_TRACE_FST
#include "verilated_fst_c.h"
using Trace = VerilatedFstC;
#elif ACF_TRACE_VCD
#include "verilated_vcd_c.h"
using Trace = VerilatedVcdC;
#else
struct Trace {};
#endif
#define ACF_TRACE (ACF_TRACE_FST || ACF_TRACE_VCD)

namespace {

constexpr uint8_t kOkay = 0, kDecerr = 3;
constexpr uint8_t kIncrement = 1;
constexpr int64_t kBandwidthUnit = 65536;  // fractions of a byte in the balance

// Mirrored by acf.sim.harness.
struct Options {
    uint64_t latency;
    uint64_t write_latency;
    uint64_t bandwidth;    // 1/65536 bytes per cycle; 0 is unlimited
    uint64_t outstanding;  // bursts taken and not finished, per direction
    uint64_t jitter;       // up to this many cycles are added to each latency
    uint64_t stall;        // probability in 1/65536 of a stall, per handshake and cycle
    uint64_t reorder;      // bursts of different IDs may overtake each other
    uint64_t interleave;   // beats of different read bursts may mix; needs reorder
    uint64_t seed;
};

struct Statistics {
    uint64_t cycles;
    uint64_t read_bursts, read_beats;
    uint64_t write_bursts, write_beats;
    uint64_t bytes_written;  // strobes set
    uint64_t reads_outstanding, writes_outstanding;
    uint64_t refused;  // bursts answered with an error
};

enum RunResult { kInterrupt = 0, kCycleLimit = 1, kTimeSlice = 2, kProtocol = 3, kQuiet = 4 };
enum HostResult { kHostOkay = 0, kHostTimeout = -1, kHostProtocol = -2 };  // above 0: the AXI response

struct Fault {
    uint64_t first, last;
    uint8_t response;
};

struct Burst {
    uint32_t id;
    uint64_t address;  // of the next beat
    uint32_t beats;    // left
    uint8_t response;
    uint64_t due;
};

// What the design must hold still while it waits for ready.
struct Held {
    bool waiting = false;
    std::vector<uint8_t> payload;
};

class Harness {
  public:
    Harness(uint8_t* memory, uint64_t size, uint64_t base, const Options& options, const char* trace_path)
        : memory_(memory), size_(size), base_(base), options_(options), random_(options.seed * 2 + 1),
          context_(new VerilatedContext) {
        context_->randReset(0);
        context_->traceEverOn(ACF_TRACE);
        top_.reset(new Vacf(context_.get()));
#if ACF_TRACE
        if (trace_path && *trace_path) {
            trace_.reset(new Trace);
            top_->trace(trace_.get(), 99);
            trace_->open(trace_path);
        }
#else
        (void)trace_path;
#endif
        idle_inputs();
        reset(4);
    }

    ~Harness() {
#if ACF_TRACE
        if (trace_) trace_->close();
#endif
        top_->final();
    }

    void reset(uint64_t cycles) {
        top_->rst = 1;
        clear_memory_port();
        for (uint64_t n = 0; n < cycles; n++) {
            cycle();
            clear_memory_port();
        }
        top_->rst = 0;
        message_.clear();
    }

    int run(uint64_t max_cycles, uint64_t quiet_cycles, double max_seconds) {
        const auto begin = std::chrono::steady_clock::now();
        for (uint64_t n = 0; n < max_cycles; n++) {
            cycle();
            if (!message_.empty()) return kProtocol;
            if (interrupt_) return kInterrupt;
            if (quiet_cycles && now_ - std::max(moved_, quiet_from_) >= quiet_cycles) return kQuiet;
            if ((n & 63) == 63) {
                const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin;
                if (spent.count() > max_seconds) return kTimeSlice;
            }
        }
        return kCycleLimit;
    }

    // The port has to move within quiet_cycles from now on.
    void begin_run() { quiet_from_ = now_; }

    int write_register(uint32_t address, uint32_t value, uint64_t limit) {
        top_->s_axil_awaddr = address;
        top_->s_axil_awvalid = 1;
        top_->s_axil_wdata = value;
        top_->s_axil_wstrb = 0xF;
        top_->s_axil_wvalid = 1;
        top_->s_axil_bready = 1;
        int result = kHostTimeout;
        for (uint64_t n = 0; n < limit && result == kHostTimeout; n++) {
            cycle();
            if (!message_.empty()) result = kHostProtocol;
            if (host_aw_) top_->s_axil_awvalid = 0;
            if (host_w_) top_->s_axil_wvalid = 0;
            if (host_b_) result = host_response_;
        }
        top_->s_axil_awvalid = top_->s_axil_wvalid = top_->s_axil_bready = 0;
        return result;
    }

    int read_register(uint32_t address, uint32_t* value, uint64_t limit) {
        top_->s_axil_araddr = address;
        top_->s_axil_arvalid = 1;
        top_->s_axil_rready = 1;
        int result = kHostTimeout;
        for (uint64_t n = 0; n < limit && result == kHostTimeout; n++) {
            cycle();
            if (!message_.empty()) result = kHostProtocol;
            if (host_ar_) top_->s_axil_arvalid = 0;
            if (host_r_) {
                *value = host_data_;
                result = host_response_;
            }
        }
        top_->s_axil_arvalid = top_->s_axil_rready = 0;
        return result;
    }

    void add_fault(const Fault& fault) { faults_.push_back(fault); }
    void clear_faults() { faults_.clear(); }
    const char* message() const { return message_.c_str(); }
    bool interrupt() const { return interrupt_; }
    uint64_t beat_bytes() const { return kBeat; }

    Statistics statistics() const {
        Statistics s = statistics_;
        s.reads_outstanding = reads_.size();
        s.writes_outstanding = writes_.size() + answers_.size();
        return s;
    }

  private:
    static constexpr uint64_t kBeat = sizeof(std::remove_reference_t<decltype(Vacf::m_axi_rdata)>);

    // One clock cycle; see the head of the file.
    void cycle() {
        top_->clk = 0;
        top_->eval();
        dump();
        sample();
        top_->clk = 1;
        top_->eval();
        dump();
        statistics_.cycles++;
        now_++;
        drive();
    }

    void dump() {
#if ACF_TRACE
        if (trace_) trace_->dump(time_);
#endif
        time_ += 5;
    }

    uint64_t roll() {  // xorshift64*
        random_ ^= random_ >> 12;
        random_ ^= random_ << 25;
        random_ ^= random_ >> 27;
        return random_ * 0x2545F4914F6CDD1DULL >> 16;
    }
    bool stalled() { return options_.stall && (roll() & 0xFFFF) < options_.stall; }
    uint64_t jitter() { return options_.jitter ? roll() % (options_.jitter + 1) : 0; }

    void fail(const char* format, ...) {
        if (!message_.empty()) return;  // the first says most
        char text[256];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        message_ = "cycle " + std::to_string(now_) + ": " + text;
    }

    template <class... Signals>
    void check_held(Held& held, const char* channel, bool valid, bool ready, const Signals&... signals) {
        std::vector<uint8_t>& now = scratch_;
        now.clear();
        if (valid)
            (now.insert(now.end(), reinterpret_cast<const uint8_t*>(&signals),
                        reinterpret_cast<const uint8_t*>(&signals) + sizeof signals), ...);
        if (held.waiting && !valid) fail("%sVALID fell before %sREADY", channel, channel);
        if (held.waiting && valid && now != held.payload) fail("%s changed while it waited for %sREADY", channel, channel);
        held.waiting = valid && !ready;
        if (held.waiting) held.payload = now;
    }

    uint8_t response_of(uint64_t address, uint64_t bytes) const {
        const uint64_t first = address, last = address + bytes - 1;
        for (const Fault& fault : faults_)
            if (first <= fault.last && last >= fault.first) return fault.response;
        return first >= base_ && last - base_ < size_ ? kOkay : kDecerr;
    }

    Burst take_burst(const char* channel, uint32_t id, uint64_t address, uint32_t length, uint32_t size, uint32_t burst) {
        const uint64_t aligned = address & ~(kBeat - 1), bytes = (length + 1) * kBeat;
        if (burst != kIncrement) fail("%s asks for a burst of type %u, not INCR", channel, burst);
        if (1ULL << size != kBeat) fail("%s asks for beats of %llu bytes, not %llu", channel, 1ULL << size,
                                        static_cast<unsigned long long>(kBeat));
        if ((aligned >> 12) != ((aligned + bytes - 1) >> 12))
            fail("%s burst of %u beats at %#llx crosses a 4 KiB boundary", channel, length + 1,
                 static_cast<unsigned long long>(address));
        const uint8_t response = response_of(aligned, bytes);
        if (response != kOkay) statistics_.refused++;
        return Burst{id, aligned, length + 1, response, 0};
    }

    // The handshakes of this cycle, seen with clk low just before it rises.
    void sample() {
        Vacf& t = *top_;
        interrupt_ = t.__SYM__interrupt;  // as Verilator calls a signal whose name is a word of some C++ compilers
        host_aw_ = t.s_axil_awvalid && t.s_axil_awready;
        host_w_ = t.s_axil_wvalid && t.s_axil_wready;
        host_b_ = t.s_axil_bvalid && t.s_axil_bready;
        host_ar_ = t.s_axil_arvalid && t.s_axil_arready;
        host_r_ = t.s_axil_rvalid && t.s_axil_rready;
        if (host_b_) host_response_ = t.s_axil_bresp;
        if (host_r_) {
            host_response_ = t.s_axil_rresp;
            host_data_ = t.s_axil_rdata;
        }
        if (t.rst) return;

        check_held(held_ar_, "AR", t.m_axi_arvalid, t.m_axi_arready, t.m_axi_arid, t.m_axi_araddr, t.m_axi_arlen);
        check_held(held_aw_, "AW", t.m_axi_awvalid, t.m_axi_awready, t.m_axi_awid, t.m_axi_awaddr, t.m_axi_awlen);
        check_held(held_w_, "W", t.m_axi_wvalid, t.m_axi_wready, t.m_axi_wdata, t.m_axi_wstrb, t.m_axi_wlast);

        if ((t.m_axi_rvalid && t.m_axi_rready) || (t.m_axi_wvalid && t.m_axi_wready)) moved_ = now_;
        if (t.m_axi_rvalid && t.m_axi_rready) {
            statistics_.read_beats++;
            read_shown_ = false;
        }
        if (t.m_axi_bvalid && t.m_axi_bready) answer_shown_ = false;
        if (t.m_axi_arvalid && t.m_axi_arready) {
            reads_.push_back(take_burst("AR", t.m_axi_arid, t.m_axi_araddr, t.m_axi_arlen, t.m_axi_arsize, t.m_axi_arburst));
            reads_.back().due = now_ + options_.latency + jitter();
            statistics_.read_bursts++;
        }
        if (t.m_axi_awvalid && t.m_axi_awready) {
            writes_.push_back(take_burst("AW", t.m_axi_awid, t.m_axi_awaddr, t.m_axi_awlen, t.m_axi_awsize, t.m_axi_awburst));
            statistics_.write_bursts++;
        }
        if (t.m_axi_wvalid && t.m_axi_wready) take_write_beat();
    }

    void take_write_beat() {
        Vacf& t = *top_;
        Burst& burst = writes_.front();
        uint64_t strobes = 0;
        std::memcpy(&strobes, &t.m_axi_wstrb, sizeof t.m_axi_wstrb);
        statistics_.write_beats++;
        statistics_.bytes_written += __builtin_popcountll(strobes);
        balance_ -= static_cast<int64_t>(kBeat) * kBandwidthUnit;
        if (burst.response == kOkay) {
            const uint8_t* data = reinterpret_cast<const uint8_t*>(&t.m_axi_wdata);
            uint8_t* place = memory_ + (burst.address - base_);
            for (uint64_t n = 0; n < kBeat; n++)
                if (strobes >> n & 1) place[n] = data[n];
        }
        burst.address += kBeat;
        burst.beats--;
        if (bool(t.m_axi_wlast) != (burst.beats == 0)) fail("WLAST is %u with %u beats of the burst to come", t.m_axi_wlast, burst.beats);
        if (burst.beats == 0) {
            burst.due = now_ + options_.write_latency + jitter();
            answers_.push_back(burst);
            writes_.pop_front();
        }
    }

    // Index of the burst to serve now, or -1. In order unless reordering is on; then any that is due, the oldest of its ID.
    int choose(const std::deque<Burst>& bursts) {
        if (bursts.empty()) return -1;
        if (!options_.reorder) return bursts.front().due <= now_ ? 0 : -1;
        candidates_.clear();
        for (size_t n = 0; n < bursts.size(); n++) {
            const bool oldest = std::none_of(bursts.begin(), bursts.begin() + n,
                                             [&](const Burst& other) { return other.id == bursts[n].id; });
            if (oldest && bursts[n].due <= now_) candidates_.push_back(static_cast<int>(n));
        }
        return candidates_.empty() ? -1 : candidates_[roll() % candidates_.size()];
    }

    // Inputs of the coming cycle, from the state of the memory model.
    void drive() {
        Vacf& t = *top_;
        const bool limited = options_.bandwidth != 0;
        const int64_t rate = static_cast<int64_t>(options_.bandwidth);
        if (limited) balance_ = std::min(rate, balance_ + rate);
        const bool may_move = !limited || balance_ > 0;

        t.m_axi_arready = reads_.size() < options_.outstanding && !stalled();
        t.m_axi_awready = writes_.size() + answers_.size() < options_.outstanding && !stalled();
        t.m_axi_wready = !writes_.empty() && may_move && !stalled();

        if (!read_shown_) {
            t.m_axi_rvalid = 0;
            // A begun burst goes on to its end, unless beats may mix.
            if (read_current_ < 0 || options_.interleave) read_current_ = choose(reads_);
            if (read_current_ >= 0 && may_move && !stalled()) show_read();
        }
        if (!answer_shown_) {
            t.m_axi_bvalid = 0;
            const int n = choose(answers_);
            if (n >= 0 && !stalled()) {
                t.m_axi_bvalid = 1;
                t.m_axi_bid = answers_[n].id;
                t.m_axi_bresp = answers_[n].response;
                answers_.erase(answers_.begin() + n);
                answer_shown_ = true;
            }
        }
    }

    void show_read() {
        Vacf& t = *top_;
        Burst& burst = reads_[read_current_];
        uint8_t* data = reinterpret_cast<uint8_t*>(&t.m_axi_rdata);
        if (burst.response == kOkay)
            std::memcpy(data, memory_ + (burst.address - base_), kBeat);
        else
            std::memset(data, 0, kBeat);
        burst.address += kBeat;
        burst.beats--;
        t.m_axi_rvalid = 1;
        t.m_axi_rid = burst.id;
        t.m_axi_rresp = burst.response;
        t.m_axi_rlast = burst.beats == 0;
        if (options_.bandwidth) balance_ -= static_cast<int64_t>(kBeat) * kBandwidthUnit;
        if (burst.beats == 0) {
            reads_.erase(reads_.begin() + read_current_);
            read_current_ = -1;
        }
        read_shown_ = true;
    }

    void clear_memory_port() {
        Vacf& t = *top_;
        reads_.clear();
        writes_.clear();
        answers_.clear();
        read_current_ = -1;
        read_shown_ = answer_shown_ = false;
        held_ar_.waiting = held_aw_.waiting = held_w_.waiting = false;
        t.m_axi_arready = t.m_axi_awready = t.m_axi_wready = t.m_axi_rvalid = t.m_axi_bvalid = 0;
    }

    void idle_inputs() {
        Vacf& t = *top_;
        t.clk = 0;
        t.rst = 1;
        t.m_axi_rid = t.m_axi_bid = 0;
        t.m_axi_rresp = t.m_axi_bresp = t.m_axi_rlast = 0;
        std::memset(&t.m_axi_rdata, 0, kBeat);
        t.s_axil_awvalid = t.s_axil_wvalid = t.s_axil_bready = t.s_axil_arvalid = t.s_axil_rready = 0;
        t.s_axil_awaddr = t.s_axil_araddr = 0;
        t.s_axil_awprot = t.s_axil_arprot = 0;
        t.s_axil_wdata = t.s_axil_wstrb = 0;
    }

    uint8_t* memory_;
    uint64_t size_, base_;
    Options options_;
    uint64_t random_;
    std::unique_ptr<VerilatedContext> context_;
    std::unique_ptr<Vacf> top_;
    std::unique_ptr<Trace> trace_;
    uint64_t now_ = 0, time_ = 0, moved_ = 0, quiet_from_ = 0;
    int64_t balance_ = 0;
    std::deque<Burst> reads_, writes_, answers_;
    int read_current_ = -1;
    bool read_shown_ = false, answer_shown_ = false, interrupt_ = false;
    bool host_aw_ = false, host_w_ = false, host_b_ = false, host_ar_ = false, host_r_ = false;
    uint8_t host_response_ = 0;
    uint32_t host_data_ = 0;
    Held held_ar_, held_aw_, held_w_;
    std::vector<uint8_t> scratch_;
    std::vector<int> candidates_;
    std::vector<Fault> faults_;
    Statistics statistics_{};
    std::string message_;
};

}  // namespace

extern "C" {

void* acf_open(uint8_t* memory, uint64_t size, uint64_t base, const Options* options, const char* trace_path) {
    return new Harness(memory, size, base, *options, trace_path);
}
void acf_close(void* h) { delete static_cast<Harness*>(h); }
void acf_reset(void* h, uint64_t cycles) { static_cast<Harness*>(h)->reset(cycles); }
void acf_begin_run(void* h) { static_cast<Harness*>(h)->begin_run(); }
int acf_run(void* h, uint64_t max_cycles, uint64_t quiet_cycles, double max_seconds) {
    return static_cast<Harness*>(h)->run(max_cycles, quiet_cycles, max_seconds);
}
int acf_write_register(void* h, uint32_t address, uint32_t value, uint64_t limit) {
    return static_cast<Harness*>(h)->write_register(address, value, limit);
}
int acf_read_register(void* h, uint32_t address, uint32_t* value, uint64_t limit) {
    return static_cast<Harness*>(h)->read_register(address, value, limit);
}
void acf_add_fault(void* h, uint64_t first, uint64_t last, uint32_t response) {
    static_cast<Harness*>(h)->add_fault(Fault{first, last, static_cast<uint8_t>(response)});
}
void acf_clear_faults(void* h) { static_cast<Harness*>(h)->clear_faults(); }
const char* acf_message(void* h) { return static_cast<Harness*>(h)->message(); }
int acf_interrupt(void* h) { return static_cast<Harness*>(h)->interrupt(); }
uint64_t acf_beat_bytes(void* h) { return static_cast<Harness*>(h)->beat_bytes(); }
void acf_statistics(void* h, Statistics* statistics) { *statistics = static_cast<Harness*>(h)->statistics(); }
}
