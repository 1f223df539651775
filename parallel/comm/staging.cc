// Tensors of a device over a communicator of the host: each goes through a copy in the host's memory.
#include "core/runtime/context.h"
#include "parallel/comm/backends.h"

namespace longspan {

namespace {

// Copies of the host's own memory: what is read from it to a device may be freed at once (DeviceQueue::copy).
class Staging {
 public:
  Staging() : host_(Context::Options{}) {}

  Stream& stream() const { return host_.stream(); }

  Tensor room_for(const Tensor& tensor) const {
    return host_.empty(tensor.shape(), tensor.dtype(), MemoryTag::kCommunication);
  }

  Tensor fetched(Stream& device, const Tensor& tensor) const {
    const Tensor copy = room_for(tensor);
    device.copy(copy.raw(), tensor.raw(), tensor.num_bytes());
    device.synchronize();
    return copy;
  }

 private:
  Context host_;
};

void bring(Stream& device, const Tensor& from, const Tensor& to) { device.copy(to.raw(), from.raw(), from.num_bytes()); }

// What arrived is brought to the device by whoever sees first that it has.
class StagedWork final : public Work::State {
 public:
  StagedWork(Work inner, Stream& device, Tensor arriving, Tensor receive)
      : inner_(std::move(inner)), device_(device), arriving_(std::move(arriving)), receive_(std::move(receive)) {}

  bool test() override {
    if (!inner_.test()) return false;
    take();
    return true;
  }
  void wait() override {
    inner_.wait();
    take();
  }

 private:
  void take() {
    if (taken_) return;
    taken_ = true;
    bring(device_, arriving_, receive_);
  }

  Work inner_;
  Stream& device_;
  Tensor arriving_, receive_;
  bool taken_ = false;
};

class StagingCommunicator final : public Communicator {
 public:
  explicit StagingCommunicator(Communicator& inner)
      : Communicator(Around{inner}), inner_(inner) {}
  explicit StagingCommunicator(std::unique_ptr<Communicator> inner) : StagingCommunicator(*inner) {
    owned_ = std::move(inner);
  }

 private:
  void do_all_reduce(Stream& stream, const Tensor& data, ReduceOp op) override {
    if (!stream.on_device()) return inner_.all_reduce(stream, data, op);
    const Tensor staged = staging_.fetched(stream, data);
    inner_.all_reduce(staging_.stream(), staged, op);
    bring(stream, staged, data);
  }

  void do_broadcast(Stream& stream, const Tensor& data, int root) override {
    if (!stream.on_device()) return inner_.broadcast(stream, data, root);
    const Tensor staged = staging_.fetched(stream, data);
    inner_.broadcast(staging_.stream(), staged, root);
    bring(stream, staged, data);
  }

  void do_all_gather(Stream& stream, const Tensor& input, const Tensor& output) override {
    if (!stream.on_device()) return inner_.all_gather(stream, input, output);
    const Tensor staged = staging_.room_for(output);
    inner_.all_gather(staging_.stream(), staging_.fetched(stream, input), staged);
    bring(stream, staged, output);
  }

  Work do_send_recv(Stream& stream, const SendRecv& message) override {
    if (!stream.on_device()) return inner_.send_recv(stream, message);
    const Tensor arriving = staging_.room_for(message.receive);
    Work work = inner_.send_recv(staging_.stream(), {.send = staging_.fetched(stream, message.send),
                                                     .to = message.to,
                                                     .receive = arriving,
                                                     .from = message.from});
    return Work(std::make_shared<StagedWork>(std::move(work), stream, arriving, message.receive));
  }

  void do_barrier(Stream& stream) override {
    if (stream.on_device()) stream.synchronize();
    inner_.barrier(staging_.stream());
  }

  std::unique_ptr<Communicator> do_split(int color, int key, const std::string& name) override {
    return std::make_unique<StagingCommunicator>(inner_.split(color, key, name));
  }

  void do_progress() override { inner_.progress(); }

  std::unique_ptr<Communicator> owned_;
  Communicator& inner_;
  Staging staging_;
};

}  // namespace

std::unique_ptr<Communicator> make_staging_communicator(Communicator& inner) {
  return std::make_unique<StagingCommunicator>(inner);
}

}  // namespace longspan
