#include "train/agreement.h"

#include <cstring>
#include <filesystem>
#include <new>
#include <optional>

#include "train/formats/crc32c.h"

namespace longspan {

namespace {

struct Range {
  int64_t smallest, largest;
};

Range range_over_ranks(const Context& context, Communicator& world, int64_t mine) {
  const Context& host = context.host();
  const Tensor extremes = host.empty({2}, DType::kInt64, MemoryTag::kWorkspace);
  auto* e = extremes.data<int64_t>();
  e[0] = -mine;
  e[1] = mine;
  world.all_reduce(host.stream(), extremes, ReduceOp::kMax);
  return {-e[0], e[1]};
}

// What body raises, as an Error.
std::optional<Error> failure_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return Error(ErrorKind::kResource, "out of memory: use more ranks, a shorter sequence or smaller tiles");
  } catch (const std::filesystem::filesystem_error& error) {
    return Error(ErrorKind::kResource, error.what());
  } catch (const std::exception& error) {
    return Error(ErrorKind::kInternal, error.what());
  }
  return std::nullopt;
}

}  // namespace

void agree_on_configuration(const Context& context, Communicator& world, const RunSpec& spec) {
  const int64_t mine = crc32c(std::as_bytes(std::span(spec.resolved_configuration)));
  const Range range = range_over_ranks(context, world, mine);
  if (range.smallest == range.largest) return;
  raise(ErrorKind::kConfiguration,
        "the ranks were given different configurations (fingerprints between {:x} and {:x}, {:x} on rank {}): the file must "
        "be the same on every host",
        range.smallest, range.largest, mine, world.rank());
}

void agree_on_data(const Context& context, Communicator& world, const Dataset& data, const char* field) {
  const int64_t mine = data.fingerprint();
  const Range range = range_over_ranks(context, world, mine);
  if (range.smallest == range.largest) return;
  raise(ErrorKind::kData,
        "the ranks do not see the same files (fingerprints between {:x} and {:x}, {:x} on rank {}): {} must name the same "
        "files on every host",
        range.smallest, range.largest, mine, world.rank(), field);
}

void on_rank_zero(const Context& context, Communicator& world, const std::function<void()>& body) {
  std::optional<Error> failure;
  if (world.rank() == 0) failure = failure_of(body);
  const std::string message = failure ? failure->what() : "";
  const Context& host = context.host();
  const Tensor facts = host.zeros({3}, DType::kInt64, MemoryTag::kWorkspace);  // whether it failed, of which kind, message size
  auto* f = facts.data<int64_t>();
  if (failure) {
    f[0] = 1;
    f[1] = static_cast<int64_t>(failure->kind());
    f[2] = static_cast<int64_t>(message.size());
  }
  world.broadcast(host.stream(), facts, 0);
  if (f[0] == 0) return;
  const Tensor text = host.zeros({f[2] / 8 + 1}, DType::kInt64, MemoryTag::kWorkspace);
  std::memcpy(text.raw(), message.data(), message.size());
  world.broadcast(host.stream(), text, 0);
  throw Error(static_cast<ErrorKind>(f[1]), {reinterpret_cast<const char*>(text.raw()), static_cast<size_t>(f[2])});
}

void refuse_not_finite(const RunSpec& spec, const StepReport& report) {
  const bool imported = report.step == 1 && !spec.model_folder.empty();
  raise(ErrorKind::kNumerical,
        "step {}: the loss is {} and the gradient norm on this rank {}; the weights of the step before are unchanged. {}",
        report.step, report.loss, report.grad_norm,
        imported ? "Are the weights in model.from_huggingface sound?"
                 : "Lower optimizer.learning_rate, or continue from an older checkpoint with other data");
}

}  // namespace longspan
