#include "parallel/comm/communicator.h"

#include <functional>
#include <thread>

namespace longspan {

namespace {

void check_tensor(const Communicator& group, const char* call, const char* what, const Tensor& tensor) {
  check(tensor.defined(), "{} in group '{}': {} holds no tensor", call, group.name(), what);
  check(tensor.layout().is_contiguous(), "{} in group '{}': {} of shape {} is not contiguous", call, group.name(), what,
        tensor.shape().to_string());
}

void check_rank(const Communicator& group, const char* call, const char* what, int rank) {
  check(0 <= rank && rank < group.size(), "{} in group '{}': {} is rank {}, the group has ranks 0 to {}", call,
        group.name(), what, rank, group.size() - 1);
}

void check_disjoint(const Communicator& group, const char* call, const Tensor& from, const Tensor& into) {
  if (from.num_bytes() == 0 || into.num_bytes() == 0) return;
  const auto* a = static_cast<const std::byte*>(from.raw());
  const auto* b = static_cast<const std::byte*>(into.raw());
  const std::less_equal<const std::byte*> not_after;  // a total order, for pointers into different storage, too
  check(not_after(a + from.num_bytes(), b) || not_after(b + into.num_bytes(), a),
        "{} in group '{}': the tensor of shape {} that is read and that of shape {} that is written overlap", call,
        group.name(), from.shape().to_string(), into.shape().to_string());
}

Shape gathered_shape(const Shape& input, int size) {
  Shape shape = {size};
  for (int dim = 0; dim < input.rank(); ++dim) shape.append(input[dim]);
  return shape;
}

int64_t bytes_of(const Tensor& tensor) { return static_cast<int64_t>(tensor.num_bytes()); }

TraceRange communication(const Stream& stream, const char* call, const TraceArgs& args = {}) {
  return TraceRange(stream.tracer().get(), TimeCategory::kCommunication, call, args);
}

}  // namespace

bool Work::test() {
  if (!state_) return true;
  const bool done = state_->test();
  if (done && times_) times_->finish(*state_);
  return done;
}

void Work::wait(const std::function<bool()>& meanwhile) {
  if (!state_) return;
  const TraceRange range(tracer_.get(), TimeCategory::kCommunication, "wait");
  const auto begin = std::chrono::steady_clock::now();
  while (meanwhile && !state_->test() && meanwhile()) std::this_thread::yield();  // ranks may be more than cores
  state_->wait();
  if (times_) {
    times_->finish(*state_);
    times_->add_wait(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  state_.reset();
}

Communicator::Communicator(int rank, int size, std::string name, std::chrono::milliseconds timeout)
    : rank_(rank), size_(size), name_(std::move(name)), timeout_(timeout) {
  check(0 <= rank && rank < size, "rank {} does not exist in group '{}' of {}", rank, name_, size);
  hosts_ = std::make_shared<const std::vector<int>>(static_cast<size_t>(size));
}

Communicator::Communicator(Around around)
    : rank_(around.inner.rank_),
      size_(around.inner.size_),
      name_(around.inner.name_),
      timeout_(around.inner.timeout_),
      hosts_(around.inner.hosts_) {}

void Communicator::place_on_hosts(std::vector<int> host_of_rank) {
  check(host_of_rank.size() == static_cast<size_t>(size_), "hosts of {} ranks for the {} of group '{}'", host_of_rank.size(),
        size_, name_);
  hosts_ = std::make_shared<const std::vector<int>>(std::move(host_of_rank));
}

void Communicator::finish_on_host(Stream& stream) const {
  check(!stream.on_device(), "group '{}' moves tensors of the host, and was called with the stream of a device", name_);
  stream.synchronize();
}

void Communicator::all_reduce(Stream& stream, const Tensor& data, ReduceOp op) {
  check_tensor(*this, "all_reduce", "data", data);
  check(data.dtype() == DType::kFloat64 || data.dtype() == DType::kFloat32 || data.dtype() == DType::kInt64,
        "all_reduce in group '{}' takes float64, float32 or int64, not {}", name_, longspan::name(data.dtype()));
  if (size_ == 1 || data.num_elements() == 0) return;
  const TraceRange range = communication(stream, "all_reduce", {.bytes = bytes_of(data)});
  do_all_reduce(stream, data, op);
}

void Communicator::broadcast(Stream& stream, const Tensor& data, int root) {
  check_tensor(*this, "broadcast", "data", data);
  check_rank(*this, "broadcast", "the root", root);
  if (size_ == 1 || data.num_elements() == 0) return;
  const TraceRange range = communication(stream, "broadcast", {.bytes = bytes_of(data)});
  do_broadcast(stream, data, root);
}

void Communicator::all_gather(Stream& stream, const Tensor& input, const Tensor& output) {
  check_tensor(*this, "all_gather", "input", input);
  check_tensor(*this, "all_gather", "output", output);
  expect_shape(output, gathered_shape(input.shape(), size_), "the output of all_gather");
  expect_dtype(output, input.dtype(), "the output of all_gather");
  check_disjoint(*this, "all_gather", input, output);
  if (input.num_elements() == 0) return;
  const TraceRange range = communication(stream, "all_gather", {.bytes = bytes_of(output)});
  do_all_gather(stream, input, output);
}

Work Communicator::send_recv(Stream& stream, const SendRecv& message) {
  check_tensor(*this, "send_recv", "send", message.send);
  check_tensor(*this, "send_recv", "receive", message.receive);
  check_rank(*this, "send_recv", "to", message.to);
  check_rank(*this, "send_recv", "from", message.from);
  check_disjoint(*this, "send_recv", message.send, message.receive);
  Work work = do_send_recv(stream, message);
  if (!work.state_) return work;
  work.times_ = times_;
  work.tracer_ = stream.tracer();
  if (work.tracer_) {
    times_->post(work.tracer_, work.state_,
                 {.to = message.to, .from = message.from, .bytes = bytes_of(message.receive)});
  }
  return work;
}

void Communicator::barrier(Stream& stream) {
  if (size_ == 1) return;
  const TraceRange range = communication(stream, "barrier");
  do_barrier(stream);
}

std::unique_ptr<Communicator> Communicator::split(int color, int key, const std::string& name) {
  check(color >= 0, "split of group '{}' into '{}': color {} is negative", name_, name, color);
  return do_split(color, key, name);
}

}  // namespace longspan
