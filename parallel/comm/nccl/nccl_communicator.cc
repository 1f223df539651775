#include "parallel/comm/nccl/nccl_communicator.h"

#include <cstring>
#include <vector>

#include "core/runtime/context.h"
#include "parallel/comm/nccl/guarded_link.h"

namespace longspan {

namespace {

using nccl::Answer;
using nccl::GuardedLink;
using nccl::Link;

std::string end_of(const Communicator& group) {
  return fmt::format("group '{}', rank {} of {}", group.name(), group.rank(), group.size());
}

int64_t bytes_of(const Tensor& tensor) { return static_cast<int64_t>(tensor.num_bytes()); }

// What the library says of a failure, with the group.
template <class Call>
auto connecting(const Communicator& group, Call call) {
  try {
    return call();
  } catch (const CommError& error) {
    throw CommError(fmt::format("connect in {}: {}", end_of(group), error.what()));
  }
}

// The id that the group's first rank makes. When it cannot, all ranks learn it now.
nccl::UniqueId shared_id(Communicator& bootstrap, nccl::Library& library) {
  const Context host(Context::Options{});
  nccl::UniqueId id{};
  const Tensor packet = host.zeros({1 + static_cast<int64_t>(id.size())}, DType::kUInt8);
  auto* bytes = packet.data<uint8_t>();
  std::exception_ptr failure;
  if (bootstrap.rank() == 0) {
    try {
      id = connecting(bootstrap, [&] { return library.new_id(); });
      bytes[0] = 1;
      std::memcpy(bytes + 1, id.data(), id.size());
    } catch (...) {
      failure = std::current_exception();
    }
  }
  bootstrap.broadcast(host.stream(), packet, 0);
  if (failure) std::rethrow_exception(failure);
  if (bytes[0] != 1) {
    throw CommError(fmt::format("connect in {}: rank 0 could not make an id for NCCL", end_of(bootstrap)));
  }
  std::memcpy(id.data(), bytes + 1, id.size());
  return id;
}

class NcclWork final : public Work::State {
 public:
  NcclWork(std::shared_ptr<GuardedLink> link, std::shared_ptr<nccl::Operation> operation)
      : link_(std::move(link)), operation_(std::move(operation)) {}
  bool test() override { return link_->test(*operation_); }
  void wait() override { link_->wait(*operation_); }
  bool finished() const noexcept override { return operation_->done() || link_->given_up(); }

 private:
  std::shared_ptr<GuardedLink> link_;
  std::shared_ptr<nccl::Operation> operation_;
};

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(Communicator& bootstrap, std::shared_ptr<nccl::Library> library, std::shared_ptr<nccl::Clock> clock)
      : Communicator(Around{bootstrap}),
        bootstrap_(bootstrap),
        library_(std::move(library)),
        clock_(std::move(clock)),
        everybody_(fmt::format("some of ranks 0 to {}", size() - 1)) {
    const nccl::UniqueId id = shared_id(bootstrap, *library_);
    auto link = connecting(*this, [&] { return library_->connect(id, rank(), size(), name()); });
    link_ = std::make_shared<GuardedLink>(std::move(link), end_of(*this), timeout(), clock_);
  }
  NcclCommunicator(std::unique_ptr<Communicator> bootstrap, std::shared_ptr<nccl::Library> library,
                   std::shared_ptr<nccl::Clock> clock)
      : NcclCommunicator(*bootstrap, std::move(library), std::move(clock)) {
    owned_ = std::move(bootstrap);
  }
  ~NcclCommunicator() override { link_.reset(); }  // before the bootstrap, over which peers may still meet

 private:
  void do_all_reduce(Stream& stream, const Tensor& data, ReduceOp op) override {
    if (!library_->is_of_device(stream)) return bootstrap_.all_reduce(stream, data, op);
    if (op == ReduceOp::kMax && data.dtype() != DType::kInt64) return maximum_through_host(stream, data);
    run(stream, "all_reduce", {data}, data, [&](Link& link) { return link.all_reduce(data, op); });
  }

  void do_broadcast(Stream& stream, const Tensor& data, int root) override {
    if (!library_->is_of_device(stream)) return bootstrap_.broadcast(stream, data, root);
    run(stream, "broadcast", {data}, data, [&](Link& link) { return link.broadcast(data, root); });
  }

  void do_all_gather(Stream& stream, const Tensor& input, const Tensor& output) override {
    if (!library_->is_of_device(stream)) return bootstrap_.all_gather(stream, input, output);
    run(stream, "all_gather", {input, output}, output, [&](Link& link) { return link.all_gather(input, output); });
  }

  Work do_send_recv(Stream& stream, const SendRecv& message) override {
    if (!library_->is_of_device(stream)) return send_recv_on_host(stream, message);
    const size_t sent = message.send.num_bytes(), received = message.receive.num_bytes();
    check(message.to != rank() || message.from != rank() || sent == received,
          "rank {} of group '{}' sends {} bytes to itself, but receives {}", rank(), name(), sent, received);
    if (sent == 0 && received == 0) return Work();
    auto operation = link_->start(stream,
                                  {.call = fmt::format("send_recv of {} bytes, receiving {},", sent, received),
                                   .peers = fmt::format("rank {} (to) or rank {} (from)", message.to, message.from),
                                   .held = {message.send, message.receive},
                                   .args = {.to = message.to, .from = message.from, .bytes = bytes_of(message.receive)}},
                                  [&](Link& link) { return link.send_recv(message); });
    return Work(std::make_shared<NcclWork>(link_, std::move(operation)));
  }

  void do_barrier(Stream& stream) override {
    stream.synchronize();
    const auto host = Stream::make_inline();
    bootstrap_.barrier(*host);
  }

  std::unique_ptr<Communicator> do_split(int color, int key, const std::string& name) override {
    return std::make_unique<NcclCommunicator>(bootstrap_.split(color, key, name), library_, clock_);
  }

  void do_progress() override { link_->progress(); }

  // On a stream without the tracer, which times the message for this group.
  Work send_recv_on_host(Stream& stream, const SendRecv& message) {
    stream.synchronize();
    const auto host = Stream::make_inline();
    return bootstrap_.send_recv(*host, message);
  }

  void run(Stream& stream, const char* call, std::vector<Tensor> held, const Tensor& counted,
           const std::function<Answer(Link&)>& add) {
    const auto operation = link_->start(
        stream, {.call = call, .peers = everybody_, .held = std::move(held), .args = {.bytes = bytes_of(counted)}}, add);
    link_->wait(*operation);
  }

  void maximum_through_host(Stream& stream, const Tensor& data) {
    const Context host(Context::Options{});
    const Tensor copy = host.empty(data.shape(), data.dtype());
    const auto move = [&](const Tensor& into, const Tensor& from) {
      run(stream, "all_reduce", {into, from}, into,
          [&](Link& link) { return link.copy(into.raw(), from.raw(), from.num_bytes()); });
    };
    move(copy, data);
    bootstrap_.all_reduce(host.stream(), copy, ReduceOp::kMax);
    move(data, copy);
  }

  std::unique_ptr<Communicator> owned_;
  Communicator& bootstrap_;
  std::shared_ptr<nccl::Library> library_;
  std::shared_ptr<nccl::Clock> clock_;
  std::string everybody_;
  std::shared_ptr<GuardedLink> link_;
};

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(Communicator& bootstrap, std::shared_ptr<nccl::Library> library,
                                                     std::shared_ptr<nccl::Clock> clock) {
  check(library != nullptr, "group '{}' needs a library to communicate over NCCL", bootstrap.name());
  return std::make_unique<NcclCommunicator>(bootstrap, std::move(library), std::move(clock));
}

}  // namespace longspan
