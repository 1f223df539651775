// A communicator in whose groups one number of one sum over the replicas comes out as not a number, on this rank alone: in the
// last piece that it is sent, which it passes on to nobody.
#pragma once

#include <cmath>
#include <memory>

#include "parallel/comm/communicator.h"

namespace longspan::test {

class NotANumberInASum final : public Communicator {
 public:
  // The `wrong`-th send_recv (from 0; -1: none) over the group of replicas.
  NotANumberInASum(Communicator& inner, int wrong) : NotANumberInASum(inner, std::make_shared<int>(wrong)) {}

 private:
  NotANumberInASum(Communicator& inner, std::shared_ptr<int> left)
      : Communicator(inner.rank(), inner.size(), inner.name(), inner.timeout()),
        inner_(inner),
        left_(std::move(left)) {}

  void do_all_reduce(Stream& stream, const Tensor& data, ReduceOp op) override { inner_.all_reduce(stream, data, op); }
  void do_broadcast(Stream& stream, const Tensor& data, int root) override { inner_.broadcast(stream, data, root); }
  void do_all_gather(Stream& stream, const Tensor& input, const Tensor& output) override {
    inner_.all_gather(stream, input, output);
  }
  Work do_send_recv(Stream& stream, const SendRecv& message) override {
    Work work = inner_.send_recv(stream, message);
    if (name() != "replicas" || (*left_)-- != 0) return work;
    work.wait();
    if (message.receive.dtype() == DType::kFloat32) *message.receive.data<float>() = std::nanf("");
    if (message.receive.dtype() == DType::kFloat64) *message.receive.data<double>() = std::nan("");
    return {};
  }
  void do_barrier(Stream& stream) override { inner_.barrier(stream); }
  std::unique_ptr<Communicator> do_split(int color, int key, const std::string& name) override {
    auto group = inner_.split(color, key, name);
    auto faulty = std::unique_ptr<NotANumberInASum>(new NotANumberInASum(*group, left_));
    faulty->owned_ = std::move(group);
    return faulty;
  }
  void do_progress() override { inner_.progress(); }

  std::unique_ptr<Communicator> owned_;
  Communicator& inner_;
  std::shared_ptr<int> left_;
};

}  // namespace longspan::test
