#include "parallel/comm/backends.h"

namespace longspan {

namespace {

// What a device's stream does later is as good as done for all that is given to it after.
void finish(Stream& stream) {
  if (!stream.on_device()) stream.synchronize();
}

class SelfCommunicator final : public Communicator {
 public:
  explicit SelfCommunicator(const std::string& name) : Communicator(0, 1, name, kDefaultTimeout) {}

 private:
  void do_all_reduce(Stream&, const Tensor&, ReduceOp) override {}
  void do_broadcast(Stream&, const Tensor&, int) override {}
  void do_barrier(Stream&) override {}

  void do_all_gather(Stream& stream, const Tensor& input, const Tensor& output) override {
    stream.copy(output.raw(), input.raw(), input.num_bytes());
    finish(stream);
  }

  Work do_send_recv(Stream& stream, const SendRecv& message) override {
    const size_t num_bytes = message.send.num_bytes();
    check(num_bytes == message.receive.num_bytes(), "group '{}' sends {} bytes to itself, but receives {}", name(),
          num_bytes, message.receive.num_bytes());
    stream.copy(message.receive.raw(), message.send.raw(), num_bytes);
    finish(stream);
    return Work();
  }

  std::unique_ptr<Communicator> do_split(int, int, const std::string& name) override {
    return std::make_unique<SelfCommunicator>(name);
  }
};

}  // namespace

std::unique_ptr<Communicator> make_self_communicator() { return std::make_unique<SelfCommunicator>("self"); }

}  // namespace longspan
