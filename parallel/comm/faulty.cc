#include <algorithm>
#include <cstring>
#include <thread>
#include <vector>

#include "parallel/comm/backends.h"

namespace longspan {

namespace {

Tensor scratch_like(const Tensor& tensor) {
  const size_t num_bytes = tensor.num_bytes();
  std::shared_ptr<void> storage(new std::byte[num_bytes + 1], [](void* p) { delete[] static_cast<std::byte*>(p); });
  return Tensor(std::move(storage), num_bytes, tensor.shape(), tensor.dtype());
}

void copy_payload(const Tensor& from, const Tensor& to) {
  const size_t num_bytes = std::min(from.num_bytes(), to.num_bytes());
  if (num_bytes > 0) std::memcpy(to.raw(), from.raw(), num_bytes);
}

template <class T>
void double_elements(const Tensor& tensor) {
  T* data = tensor.data<T>();
  for (int64_t i = 0; i < tensor.num_elements(); ++i) data[i] += data[i];
}

void double_numbers(const Tensor& tensor) {
  if (tensor.dtype() == DType::kFloat64) double_elements<double>(tensor);
  if (tensor.dtype() == DType::kFloat32) double_elements<float>(tensor);
  if (tensor.dtype() == DType::kInt64) double_elements<int64_t>(tensor);
}

// Runs `spoil` once, when the transfer is done.
class SpoiledWork final : public Work::State {
 public:
  SpoiledWork(Work inner, std::function<void()> spoil) : inner_(std::move(inner)), spoil_(std::move(spoil)) {}

  bool test() override {
    const bool done = inner_.test();
    if (done) spoil();
    return done;
  }

  void wait() override {
    inner_.wait();
    spoil();
  }

 private:
  void spoil() {
    if (spoil_) std::exchange(spoil_, nullptr)();
  }

  Work inner_;
  std::function<void()> spoil_;
};

// Two transfers that arrive in scratch tensors; once both are there, each payload goes where the other belongs.
struct Swap {
  Work works[2];
  Tensor scratch[2], into[2];
  int num_posted = 0;
  bool delivered = false;

  void deliver() {
    if (std::exchange(delivered, true)) return;
    for (int i = 0; i < 2; ++i) copy_payload(scratch[1 - i], into[i]);
  }
};

class SwappedWork final : public Work::State {
 public:
  explicit SwappedWork(std::shared_ptr<Swap> swap) : swap_(std::move(swap)) {}

  bool test() override {
    if (swap_->num_posted < 2) return false;
    const bool first = swap_->works[0].test(), second = swap_->works[1].test();
    if (first && second) swap_->deliver();
    return first && second;
  }

  void wait() override {
    check(swap_->num_posted == 2, "a payload to be swapped with the next was waited for before the next was posted");
    for (Work& work : swap_->works) work.wait();
    swap_->deliver();
  }

 private:
  std::shared_ptr<Swap> swap_;
};

// Shared by a communicator and all that is split from it, so that the rank's calls are counted together.
struct FaultState {
  CommFaults faults;
  int num_calls = 0, num_sums = 0;
  std::vector<Tensor> sent;  // for send_earlier_of
  std::shared_ptr<Swap> swap;
};

class FaultyCommunicator final : public Communicator {
 public:
  FaultyCommunicator(Communicator& inner, std::shared_ptr<FaultState> state)
      : Communicator(Around{inner}),
        inner_(inner),
        state_(std::move(state)) {}
  FaultyCommunicator(std::unique_ptr<Communicator> inner, std::shared_ptr<FaultState> state)
      : FaultyCommunicator(*inner, std::move(state)) {
    owned_ = std::move(inner);
  }

 private:
  void do_all_reduce(Stream& stream, const Tensor& data, ReduceOp op) override {
    if (op == ReduceOp::kSum && state_->num_sums++ == state_->faults.count_twice_of) double_numbers(data);
    inner_.all_reduce(stream, data, op);
  }
  void do_broadcast(Stream& stream, const Tensor& data, int root) override { inner_.broadcast(stream, data, root); }
  void do_all_gather(Stream& stream, const Tensor& input, const Tensor& output) override {
    inner_.all_gather(stream, input, output);
  }
  void do_barrier(Stream& stream) override { inner_.barrier(stream); }
  void do_progress() override { inner_.progress(); }
  std::unique_ptr<Communicator> do_split(int color, int key, const std::string& name) override {
    return std::make_unique<FaultyCommunicator>(inner_.split(color, key, name), state_);
  }

  Work do_send_recv(Stream& stream, const SendRecv& message) override {
    const CommFaults& faults = state_->faults;
    const int call = state_->num_calls++;
    if (faults.delay.count() > 0) std::this_thread::sleep_for(faults.delay);
    if (call == faults.fail_at) {
      throw CommError(fmt::format("group '{}', rank {}: send_recv {} was made to fail", name(), rank(), call));
    }
    if (call == faults.corrupt_byte_of) return corrupted(stream, message);
    if (call == faults.deliver_stale_of) {
      SendRecv dropped = message;
      dropped.receive = scratch_like(message.receive);
      return inner_.send_recv(stream, dropped);
    }
    if (call == faults.keep_own_of) return kept(stream, message);
    if (call == faults.send_twice_of) {
      SendRecv doubled = message;
      doubled.send = scratch_like(message.send);
      copy_payload(message.send, doubled.send);
      double_numbers(doubled.send);
      return inner_.send_recv(stream, doubled);
    }
    if (faults.send_earlier_of >= 0) {
      state_->sent.push_back(message.send);
      if (call == faults.send_earlier_of) return sent_again(stream, message, call);
    }
    if (faults.swap_with_next_of >= 0) {
      const int place = call - faults.swap_with_next_of;
      if (place == 0 || place == 1) return swapped(stream, message, place);
    }
    return inner_.send_recv(stream, message);
  }

  Work corrupted(Stream& stream, const SendRecv& message) {
    return Work(std::make_shared<SpoiledWork>(inner_.send_recv(stream, message), [into = message.receive] {
      const size_t num_bytes = into.num_bytes();
      // The last byte of the eight in the middle.
      const size_t place = std::min(num_bytes / 2 | 7, num_bytes - 1);
      if (num_bytes > 0) static_cast<std::byte*>(into.raw())[place] ^= std::byte{0xff};
    }));
  }

  Work kept(Stream& stream, const SendRecv& message) {
    SendRecv diverted = message;
    diverted.receive = scratch_like(message.receive);
    return Work(std::make_shared<SpoiledWork>(
        inner_.send_recv(stream, diverted), [message] { copy_payload(message.send, message.receive); }));
  }

  Work sent_again(Stream& stream, const SendRecv& message, int call) {
    check(call >= 2, "send_recv {} has no other two before it", call);
    SendRecv wrong = message;
    wrong.send = scratch_like(message.send);
    copy_payload(message.send, wrong.send);  // where the earlier payload is shorter
    copy_payload(state_->sent[static_cast<size_t>(call - 2)], wrong.send);
    return inner_.send_recv(stream, wrong);
  }

  Work swapped(Stream& stream, const SendRecv& message, int place) {
    if (place == 0) state_->swap = std::make_shared<Swap>();
    const std::shared_ptr<Swap> swap = state_->swap;
    swap->into[place] = message.receive;
    swap->scratch[place] = scratch_like(message.receive);
    SendRecv diverted = message;
    diverted.receive = swap->scratch[place];
    swap->works[place] = inner_.send_recv(stream, diverted);
    ++swap->num_posted;
    return Work(std::make_shared<SwappedWork>(swap));
  }

  std::unique_ptr<Communicator> owned_;
  Communicator& inner_;
  std::shared_ptr<FaultState> state_;
};

}  // namespace

std::unique_ptr<Communicator> make_faulty_communicator(Communicator& inner, const CommFaults& faults) {
  auto state = std::make_shared<FaultState>();
  state->faults = faults;
  return std::make_unique<FaultyCommunicator>(inner, std::move(state));
}

}  // namespace longspan
