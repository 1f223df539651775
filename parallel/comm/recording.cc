#include <numeric>

#include "parallel/comm/backends.h"

namespace longspan {

namespace {

using Kind = CommRecord::Kind;

class RecordedWork final : public Work::State {
 public:
  RecordedWork(Work inner, std::shared_ptr<CommLog> log, CommRecord record)
      : inner_(std::move(inner)), log_(std::move(log)), record_(std::move(record)) {}

  bool test() override {
    const bool done = inner_.test();
    if (done) note();
    return done;
  }

  void wait() override {
    inner_.wait();
    note();
  }

 private:
  void note() {
    if (!std::exchange(noted_, true)) log_->add(record_);
  }

  Work inner_;
  std::shared_ptr<CommLog> log_;
  CommRecord record_;
  bool noted_ = false;
};

class RecordingCommunicator final : public Communicator {
 public:
  RecordingCommunicator(Communicator& inner, std::shared_ptr<CommLog> log)
      : Communicator(Around{inner}), inner_(inner), log_(std::move(log)) {}
  RecordingCommunicator(std::unique_ptr<Communicator> inner, std::shared_ptr<CommLog> log)
      : RecordingCommunicator(*inner, std::move(log)) {
    owned_ = std::move(inner);
  }

 private:
  void do_all_reduce(Stream& stream, const Tensor& data, ReduceOp op) override {
    note(Kind::kAllReduce, data.num_bytes());
    inner_.all_reduce(stream, data, op);
  }

  void do_broadcast(Stream& stream, const Tensor& data, int root) override {
    note(Kind::kBroadcast, data.num_bytes());
    inner_.broadcast(stream, data, root);
  }

  void do_all_gather(Stream& stream, const Tensor& input, const Tensor& output) override {
    note(Kind::kAllGather, output.num_bytes());
    inner_.all_gather(stream, input, output);
  }

  Work do_send_recv(Stream& stream, const SendRecv& message) override {
    CommRecord record{.kind = Kind::kSendRecvPosted,
                      .what = name(),
                      .bytes_sent = message.send.num_bytes(),
                      .bytes_received = message.receive.num_bytes(),
                      .to = message.to,
                      .from = message.from};
    log_->add(record);
    record.kind = Kind::kSendRecvWaited;
    return Work(std::make_shared<RecordedWork>(inner_.send_recv(stream, message), log_, std::move(record)));
  }

  void do_barrier(Stream& stream) override {
    note(Kind::kBarrier, 0);
    inner_.barrier(stream);
  }

  std::unique_ptr<Communicator> do_split(int color, int key, const std::string& name) override {
    log_->add({.kind = Kind::kSplit, .what = name});
    return std::make_unique<RecordingCommunicator>(inner_.split(color, key, name), log_);
  }

  void do_progress() override { inner_.progress(); }

  void note(Kind kind, size_t num_bytes) {
    log_->add({.kind = kind, .what = name(), .bytes_sent = num_bytes, .bytes_received = num_bytes});
  }

  std::unique_ptr<Communicator> owned_;
  Communicator& inner_;
  std::shared_ptr<CommLog> log_;
};

}  // namespace

void CommLog::add(CommRecord record) {
  std::lock_guard lock(mutex_);
  records_.push_back(std::move(record));
}

std::vector<CommRecord> CommLog::records() const {
  std::lock_guard lock(mutex_);
  return records_;
}

size_t CommLog::bytes_received() const {
  std::lock_guard lock(mutex_);
  return std::accumulate(records_.begin(), records_.end(), size_t{0}, [](size_t sum, const CommRecord& record) {
    return sum + (record.kind == Kind::kSendRecvWaited ? record.bytes_received : 0);
  });
}

size_t CommLog::bytes_sent() const {
  std::lock_guard lock(mutex_);
  return std::accumulate(records_.begin(), records_.end(), size_t{0}, [](size_t sum, const CommRecord& record) {
    return sum + (record.kind == Kind::kSendRecvPosted ? record.bytes_sent : 0);
  });
}

void CommLog::clear() {
  std::lock_guard lock(mutex_);
  records_.clear();
}

std::unique_ptr<Communicator> make_recording_communicator(Communicator& inner, std::shared_ptr<CommLog> log) {
  check(log != nullptr, "a recording communicator of group '{}' needs a log", inner.name());
  return std::make_unique<RecordingCommunicator>(inner, std::move(log));
}

}  // namespace longspan
