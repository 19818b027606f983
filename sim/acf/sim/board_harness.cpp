// A Verilated board with its clock, and the far end of its UART, as a shared library for ctypes.
//
// The top module has clk, rst (synchronous, active high), rx and tx. Bytes for the board wait in a queue and are put on
// rx bit by bit; what the board sends on tx is sampled in the middle of each bit. acf_board_serve moves bytes between
// the pins and a file descriptor, as a USB adapter does between the pins and a host.

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "Vacf.h"
#include "verilated.h"

namespace {

// Cycles for which the clock goes on after the last bit on either line; the host asks again for a program that runs on.
constexpr uint64_t kQuiet = 20000;

enum ServeResult { kServed = 0, kHostGone = 1, kFailed = 2 };

class Board {
  public:
    explicit Board(uint64_t cycles_per_bit) : bit_(cycles_per_bit), context_(new VerilatedContext) {
        context_->randReset(0);
        top_.reset(new Vacf(context_.get()));
        top_->clk = 0;
        top_->rx = 1;
        top_->rst = 1;
        for (int n = 0; n < 4; n++) tick();
        top_->rst = 0;
    }
    ~Board() { top_->final(); }

    void send(const uint8_t* bytes, uint64_t count) { outgoing_.insert(outgoing_.end(), bytes, bytes + count); }

    // Up to `cycles` cycles; ends early when a byte has come, if asked to.
    void run(uint64_t cycles, bool until_byte) {
        const uint64_t end = now_ + cycles;
        while (now_ < end && !(until_byte && !incoming_.empty())) cycle();
    }

    uint64_t receive(uint8_t* bytes, uint64_t most) {
        uint64_t count = 0;
        for (; count < most && !incoming_.empty(); count++) {
            bytes[count] = incoming_.front();
            incoming_.pop_front();
        }
        return count;
    }

    uint64_t now() const { return now_; }

    int serve(int file, double seconds) {
        const auto begin = std::chrono::steady_clock::now();
        uint8_t buffer[4096];
        while (std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() < seconds) {
            const bool sleeps = outgoing_.empty() && now_ - moved_ > kQuiet;
            struct pollfd waiting = {file, POLLIN, 0};
            if (poll(&waiting, 1, sleeps ? 50 : 0) < 0 && errno != EINTR) return kFailed;
            if (waiting.revents & POLLIN) {
                const ssize_t count = read(file, buffer, sizeof buffer);
                if (count > 0) {
                    send(buffer, static_cast<uint64_t>(count));
                    moved_ = now_;
                }
            } else if (waiting.revents & POLLHUP) {
                incoming_.clear();
                return kHostGone;
            }
            if (sleeps && outgoing_.empty()) continue;
            run(1000, false);
            while (!incoming_.empty()) {
                const uint64_t count = receive(buffer, sizeof buffer);
                for (uint64_t done = 0; done < count;) {
                    const ssize_t written = write(file, buffer + done, count - done);
                    if (written > 0) done += static_cast<uint64_t>(written);
                    else if (errno == EAGAIN) usleep(1000);
                    else if (errno != EINTR) return errno == EIO ? kHostGone : kFailed;
                }
            }
        }
        return kServed;
    }

  private:
    void tick() {
        top_->clk = 0;
        top_->eval();
        top_->clk = 1;
        top_->eval();
    }

    void cycle() {
        // Towards the board: ten bits, the start bit first.
        if (rx_bits_ == 0 && !outgoing_.empty()) {
            rx_frame_ = static_cast<uint32_t>(outgoing_.front()) << 1 | 1u << 9;
            outgoing_.pop_front();
            rx_bits_ = 10;
            rx_wait_ = bit_;
        }
        if (rx_bits_) {
            top_->rx = rx_frame_ & 1;
            moved_ = now_;
            if (--rx_wait_ == 0) {
                rx_wait_ = bit_;
                rx_frame_ >>= 1;
                rx_bits_--;
            }
        } else {
            top_->rx = 1;
        }
        tick();
        now_++;
        // From the board.
        if (tx_bits_ == 0) {
            if (!top_->tx) {
                tx_bits_ = 10;
                tx_wait_ = bit_ / 2;
                tx_frame_ = 0;
            }
        } else if (--tx_wait_ == 0) {
            tx_wait_ = bit_;
            tx_frame_ |= static_cast<uint32_t>(top_->tx) << (10 - tx_bits_);
            moved_ = now_;
            if (--tx_bits_ == 0 && (tx_frame_ >> 9 & 1)) incoming_.push_back(tx_frame_ >> 1 & 0xFF);
        }
    }

    uint64_t bit_;
    std::unique_ptr<VerilatedContext> context_;
    std::unique_ptr<Vacf> top_;
    uint64_t now_ = 0, moved_ = 0;
    std::deque<uint8_t> outgoing_, incoming_;
    uint32_t rx_frame_ = 0, tx_frame_ = 0;
    uint64_t rx_wait_ = 0, tx_wait_ = 0;
    int rx_bits_ = 0, tx_bits_ = 0;
};

}  // namespace

extern "C" {

void* acf_board_open(uint64_t cycles_per_bit) { return new Board(cycles_per_bit); }
void acf_board_close(void* b) { delete static_cast<Board*>(b); }
void acf_board_send(void* b, const uint8_t* bytes, uint64_t count) { static_cast<Board*>(b)->send(bytes, count); }
void acf_board_run(void* b, uint64_t cycles, int until_byte) { static_cast<Board*>(b)->run(cycles, until_byte != 0); }
uint64_t acf_board_receive(void* b, uint8_t* bytes, uint64_t most) { return static_cast<Board*>(b)->receive(bytes, most); }
uint64_t acf_board_now(void* b) { return static_cast<Board*>(b)->now(); }
int acf_board_serve(void* b, int file, double seconds) { return static_cast<Board*>(b)->serve(file, seconds); }
}
