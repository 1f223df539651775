#include "launcher/doctor/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

namespace longspan::doctor {
namespace {

constexpr double kPatience = 5;  // with a partner that was told to begin
constexpr int kRepeats = 3, kRoundTrips = 50;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <class Body>
double best_seconds(int repeats, const Body& body) {
  double best = INFINITY;
  for (int i = 0; i < repeats; ++i) {
    const double start = now();
    body();
    best = std::min(best, now() - start);
  }
  return best;
}

double latency(Dialogue& dialogue, int partner) {
  constexpr size_t kExchanges = 40;
  std::vector<double> seconds(kExchanges);
  for (double& one : seconds) one = best_seconds(1, [&] { dialogue.exchange(partner, {0}, kPatience); });
  std::nth_element(seconds.begin(), seconds.begin() + kExchanges / 2, seconds.end());
  return seconds[kExchanges / 2];
}

double seconds_of_exchange(Dialogue& dialogue, int partner, int64_t num_bytes, int repeats) {
  const Tensor send = dialogue.bytes(num_bytes), receive = dialogue.bytes(num_bytes);
  return best_seconds(repeats, [&] {
    Work work = dialogue.post(send, partner, receive, partner);
    dialogue.finish(work, partner, kPatience, Waiting::kBusy);
  });
}

}  // namespace

PairResult measure_pair(Dialogue& dialogue, int partner) {
  constexpr double kMost = 8 << 20, kLeast = 256 << 10, kSeconds = 0.05;
  PairResult result{.first = dialogue.rank(), .second = partner};
  result.latency_seconds = latency(dialogue, partner);
  const double trial = kLeast / seconds_of_exchange(dialogue, partner, static_cast<int64_t>(kLeast), 2);
  const double mine = std::clamp(trial * kSeconds, kLeast, kMost);
  const double theirs = dialogue.exchange(partner, {mine}, kPatience).front();
  const auto num_bytes = static_cast<int64_t>(std::min(mine, theirs));
  result.bytes_per_second =
      static_cast<double>(num_bytes) / seconds_of_exchange(dialogue, partner, num_bytes, kRepeats);
  return result;
}

double wall_clock() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// A round trip is two exchanges: the question, and the answer with the clock read in between.
ClockResult ask_clock(Dialogue& dialogue, int partner) {
  ClockResult result{.rank = partner, .uncertainty_seconds = INFINITY};
  for (int i = 0; i < kRoundTrips; ++i) {
    const double asked = wall_clock();
    dialogue.exchange(partner, {0}, kPatience);
    const double theirs = dialogue.exchange(partner, {0}, kPatience).front();
    const double answered = wall_clock();
    if ((answered - asked) / 2 >= result.uncertainty_seconds) continue;
    result.uncertainty_seconds = (answered - asked) / 2;
    result.offset_seconds = theirs - (asked + answered) / 2;
  }
  return result;
}

void answer_clock(Dialogue& dialogue, int partner, const std::function<double()>& clock) {
  for (int i = 0; i < kRoundTrips; ++i) {
    dialogue.exchange(partner, {0}, kPatience);
    dialogue.exchange(partner, {clock()}, kPatience);
  }
}

RingPass measure_ring(Dialogue& dialogue, int64_t num_bytes) {
  const int next = (dialogue.rank() + 1) % dialogue.size();
  const int previous = (dialogue.rank() + dialogue.size() - 1) % dialogue.size();
  const Tensor send = dialogue.bytes(num_bytes), receive = dialogue.bytes(num_bytes);
  const auto pass = [&](double pause) {
    Work work = dialogue.post(send, next, receive, previous);
    if (pause > 0) std::this_thread::sleep_for(std::chrono::duration<double>(pause));
    return best_seconds(1, [&] { dialogue.finish(work, previous, kPatience, Waiting::kBusy); });
  };
  pass(0);  // connections are made at the first message
  RingPass result{.seconds = best_seconds(kRepeats, [&] { pass(0); })};
  double waited = INFINITY;
  for (int i = 0; i < kRepeats; ++i) waited = std::min(waited, pass(2 * result.seconds + 1e-3));
  result.exposed = std::min(1.0, waited / result.seconds);
  return result;
}

}  // namespace longspan::doctor
