// NCCL on a virtual device (tests/support/virtual_device.h): bytes go from thread to thread, and take the time that a test says.
#pragma once

#include "parallel/comm/backends.h"
#include "parallel/comm/nccl/library.h"
#include "tests/support/virtual_device.h"

namespace longspan::test {

class VirtualClock final : public nccl::Clock {
 public:
  explicit VirtualClock(VirtualDevice& device) : device_(device) {}
  std::chrono::steady_clock::time_point now() override {
    return std::chrono::steady_clock::time_point{} + std::chrono::nanoseconds(device_.now_ns());
  }
  void rest() override { device_.now_ns(); }

 private:
  VirtualDevice& device_;
};

struct TransferPlan {
  int64_t ns = 0;  // of each send_recv, wherever its peers are in their own time
  bool on_compute_stream = false;
};

// NCCL is seen busy for two looks after each call.
class VirtualLink final : public nccl::Link {
 public:
  using Answer = nccl::Answer;
  VirtualLink(std::unique_ptr<Communicator> group, VirtualDevice& device, const TransferPlan& plan)
      : group_(std::move(group)), device_(device), plan_(plan) {}

  Answer state() override { return {.state = busy_-- > 0 ? Answer::State::kInProgress : Answer::State::kDone, .text = {}}; }
  Answer all_reduce(const Tensor& data, ReduceOp op) override {
    group_->all_reduce(*host_, data, op);
    return added();
  }
  Answer broadcast(const Tensor& data, int root) override {
    group_->broadcast(*host_, data, root);
    return added();
  }
  Answer all_gather(const Tensor& input, const Tensor& output) override {
    group_->all_gather(*host_, input, output);
    return added();
  }
  Answer send_recv(const SendRecv& message) override {
    works_->push_back(group_->send_recv(*host_, message));
    timeline().work(plan_.ns);
    return added();
  }
  Answer copy(void* into, const void* from, size_t num_bytes) override {
    std::memcpy(into, from, num_bytes);
    return added();
  }
  std::unique_ptr<nccl::Point> follow(Stream&) override {
    timeline().begin_after(device_.compute().end());
    return std::make_unique<Reached>(device_, device_.compute().end(), nullptr);
  }
  std::unique_ptr<nccl::Point> mark() override {
    return std::make_unique<Reached>(device_, timeline().end(), std::exchange(works_, std::make_shared<Works>()));
  }
  std::shared_ptr<const TimePoint> mark_time() override { return timeline().mark_time(); }
  Answer finalize() override { return added(); }
  void abort() noexcept override {}

 private:
  using Works = std::vector<Work>;
  // What is over in virtual time is waited for in that of the machine.
  class Reached final : public nccl::Point {
   public:
    Reached(VirtualDevice& device, int64_t at_ns, std::shared_ptr<Works> works)
        : device_(device), at_ns_(at_ns), works_(std::move(works)) {}
    Answer reached() override {
      if (!device_.has_passed(at_ns_)) return {.state = Answer::State::kInProgress, .text = {}};
      if (works_) std::for_each(works_->begin(), works_->end(), [](Work& work) { work.wait(); });
      return {};
    }

   private:
    VirtualDevice& device_;
    int64_t at_ns_;
    std::shared_ptr<Works> works_;
  };
  VirtualDevice::Timeline& timeline() { return plan_.on_compute_stream ? device_.compute() : own_; }
  Answer added() {
    busy_ = 2;
    return {.state = Answer::State::kInProgress, .text = {}};
  }

  std::unique_ptr<Communicator> group_;
  VirtualDevice& device_;
  TransferPlan plan_;
  VirtualDevice::Timeline own_{device_};
  std::shared_ptr<Works> works_ = std::make_shared<Works>();
  std::shared_ptr<Stream> host_ = Stream::make_inline();
  int busy_ = 2;
};

class VirtualLibrary final : public nccl::Library {
 public:
  VirtualLibrary(Communicator& world, VirtualDevice& device, const TransferPlan& plan)
      : world_(world), device_(device), plan_(plan) {}

  nccl::UniqueId new_id() override { return {}; }
  // For one group, that of all ranks.
  std::unique_ptr<nccl::Link> connect(const nccl::UniqueId&, int rank, int size, const std::string& name) override {
    check(size == world_.size() && rank == world_.rank(), "a group of {} of {} ranks", size, world_.size());
    return std::make_unique<VirtualLink>(world_.split(0, rank, name), device_, plan_);
  }
  bool is_of_device(const Stream& stream) const override { return stream.on_device(); }

 private:
  Communicator& world_;
  VirtualDevice& device_;
  TransferPlan plan_;
};

}  // namespace longspan::test
