#include "launcher/doctor/dialogue.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "core/base/error.h"

namespace longspan::doctor {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_until(Clock::time_point deadline) {
  return std::chrono::duration<double>(deadline - Clock::now()).count();
}

Clock::time_point after(double seconds) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

}  // namespace

Tensor Dialogue::bytes(int64_t count) {
  return context_.zeros(Shape{std::max<int64_t>(1, count)}, DType::kUInt8);
}

Work Dialogue::post(const Tensor& send, int to, const Tensor& receive, int from) {
  return world_.send_recv(context_.stream(), {.send = send, .to = to, .receive = receive, .from = from});
}

void Dialogue::finish(Work& work, int partner, double seconds, Waiting waiting) {
  const auto deadline = after(seconds);
  while (!work.test()) {
    if (Clock::now() > deadline)
      throw CommError(fmt::format("rank {} did not answer within {:.3g} s", partner, seconds));
    if (waiting == Waiting::kNapping) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    } else {
      std::this_thread::yield();
    }
  }
}

std::vector<double> Dialogue::exchange(int partner, const std::vector<double>& mine, double seconds, Waiting waiting) {
  const Shape shape = {static_cast<int64_t>(mine.size())};
  const Tensor send = context_.empty(shape, DType::kFloat64), receive = context_.empty(shape, DType::kFloat64);
  std::copy(mine.begin(), mine.end(), send.data<double>());
  Work work = post(send, partner, receive, partner);
  finish(work, partner, seconds, waiting);
  return {receive.data<double>(), receive.data<double>() + mine.size()};
}

std::string Dialogue::receive_text(int from, double seconds) {
  const auto deadline = after(seconds);
  const auto length = static_cast<int64_t>(exchange(from, {0}, seconds).front());
  const Tensor nothing = bytes(1), text = bytes(length);
  Work work = post(nothing, from, text, from);
  finish(work, from, std::max(1.0, seconds_until(deadline)), Waiting::kBusy);
  return {static_cast<const char*>(text.raw()), static_cast<size_t>(length)};
}

void Dialogue::send_text(const std::string& text, double seconds) {
  exchange(0, {static_cast<double>(text.size())}, seconds, Waiting::kNapping);
  const Tensor send = bytes(static_cast<int64_t>(text.size())), nothing = bytes(1);
  std::memcpy(send.raw(), text.data(), text.size());
  Work work = post(send, 0, nothing, 0);
  finish(work, 0, seconds, Waiting::kNapping);
}

std::vector<std::string> Dialogue::gather(const std::string& mine, double seconds, std::vector<int>& silent) {
  if (rank() != 0) {
    constexpr double kFirstRankIsBusy = 60;  // with the others
    send_text(mine, seconds + kFirstRankIsBusy);
    return {};
  }
  std::vector<std::string> texts = {mine};
  const auto deadline = after(seconds);
  for (int from = 1; from < size(); ++from) {
    texts.emplace_back();
    try {
      // Who comes after a silent one has had the same time.
      texts.back() = receive_text(from, std::max(0.2, seconds_until(deadline)));
    } catch (const CommError&) {
      silent.push_back(from);
    }
  }
  return texts;
}

}  // namespace longspan::doctor
