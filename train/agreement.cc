#include "train/agreement.h"

#include <algorithm>
#include <cmath>
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

template <class T>
int64_t num_not_finite(const Tensor& tensor) {
  return std::count_if(tensor.data<T>(), tensor.data<T>() + tensor.num_elements(), [](T x) { return !std::isfinite(x); });
}

// The first gradient of this rank in which a number is not finite; empty: there is none. Takes the memory of
// one gradient on the host.
std::string not_finite_gradient(const Context& context, const ParameterSet& parameters) {
  for (const ParameterSet::Part& part : parameters.parts()) {
    const Tensor gradient = context.to_host(part.gradient);
    const bool wide = gradient.dtype() == DType::kFloat64;
    const int64_t count = wide ? num_not_finite<double>(gradient) : num_not_finite<float>(gradient);
    if (count == 0) continue;
    return fmt::format("{} of {} numbers of the gradient of {} are not finite", count, gradient.num_elements(),
                       part.parameter->name);
  }
  return {};
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

std::string broadcast_text(const Context& context, Communicator& world, const std::string& text, int root) {
  const Context& host = context.host();
  const Tensor size = host.zeros({1}, DType::kInt64, MemoryTag::kWorkspace);
  *size.data<int64_t>() = static_cast<int64_t>(text.size());
  world.broadcast(host.stream(), size, root);
  const Tensor bytes = host.zeros({*size.data<int64_t>()}, DType::kUInt8, MemoryTag::kWorkspace);
  if (world.rank() == root) std::copy(text.begin(), text.end(), bytes.data<uint8_t>());
  if (bytes.num_elements() > 0) world.broadcast(host.stream(), bytes, root);
  return {bytes.data<uint8_t>(), bytes.data<uint8_t>() + bytes.num_elements()};
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

void agree_on_programs(const Context& context, Communicator& world, const std::vector<Program>& programs) {
  uint32_t sum = 0;
  for (const Program& program : programs) {
    for (const Action& action : program) {
      const std::string text = action.to_string() + "\n";
      sum = crc32c(std::as_bytes(std::span(text)), sum);
    }
  }
  const Range range = range_over_ranks(context, world, sum);
  check(range.smallest == range.largest,
        "the ranks would run different programs of {} stages (fingerprints between {:x} and {:x})", programs.size(),
        range.smallest, range.largest);
}

void on_every_rank(const Context& context, Communicator& world, const std::function<void()>& body) {
  const std::optional<Error> failure = failure_of(body);
  const auto speaker = static_cast<int>(range_over_ranks(context, world, failure ? world.rank() : world.size()).smallest);
  if (speaker == world.size()) return;
  const bool speaks = world.rank() == speaker;
  // Rank 0 speaks for all in most cases; whoever else does says so.
  const std::string own = speaks ? (speaker > 0 ? fmt::format("rank {}: ", speaker) : "") + failure->what() : "";
  const std::string text = broadcast_text(context, world, own, speaker);
  const Tensor kind = context.host().zeros({1}, DType::kInt64, MemoryTag::kWorkspace);
  if (speaks) *kind.data<int64_t>() = static_cast<int64_t>(failure->kind());
  world.broadcast(context.host().stream(), kind, speaker);
  throw Error(static_cast<ErrorKind>(*kind.data<int64_t>()), text);
}

void on_rank_zero(const Context& context, Communicator& world, const std::function<void()>& body) {
  on_every_rank(context, world, [&] {
    if (world.rank() == 0) body();
  });
}

std::string text_of_rank_zero(const Context& context, Communicator& world, const std::string& text) {
  return broadcast_text(context, world, text, 0);
}

std::vector<std::string> texts_of_ranks(const Context& context, Communicator& world, const std::string& text) {
  const Context& host = context.host();
  const Tensor own = host.empty({1}, DType::kInt64, MemoryTag::kWorkspace);
  const Tensor sizes = host.empty({world.size(), 1}, DType::kInt64, MemoryTag::kWorkspace);
  *own.data<int64_t>() = static_cast<int64_t>(text.size());
  world.all_gather(host.stream(), own, sizes);
  const int64_t* size_of = sizes.data<int64_t>();
  const int64_t longest = *std::max_element(size_of, size_of + world.size());
  std::vector<std::string> texts(static_cast<size_t>(world.size()));
  if (longest == 0) return texts;
  const Tensor padded = host.zeros({longest}, DType::kUInt8, MemoryTag::kWorkspace);
  const Tensor all = host.empty({world.size(), longest}, DType::kUInt8, MemoryTag::kWorkspace);
  std::copy(text.begin(), text.end(), padded.data<uint8_t>());
  world.all_gather(host.stream(), padded, all);
  for (size_t rank = 0; rank < texts.size(); ++rank) {
    const uint8_t* begin = all.data<uint8_t>() + static_cast<int64_t>(rank) * longest;
    texts[rank].assign(begin, begin + size_of[rank]);
  }
  return texts;
}

void refuse_not_finite(const Context& context, Communicator& world, const RunSpec& spec, const StepReport& report,
                       const ParameterSet& parameters) {
  const bool imported = report.step == 1 && !spec.model_folder.empty();
  std::string mine;
  const std::optional<Error> failure = failure_of([&] { mine = not_finite_gradient(context, parameters); });
  if (failure) mine = fmt::format("a gradient could not be looked at: {}", failure->what());
  const std::vector<std::string> found = texts_of_ranks(context, world, mine);
  const auto first = std::find_if(found.begin(), found.end(), [](const std::string& text) { return !text.empty(); });
  const std::string where = first == found.end() ? "" : fmt::format("; on rank {}, {}", first - found.begin(), *first);
  raise(ErrorKind::kNumerical,
        "step {}: the loss is {} and the gradient norm on this rank {}{}; the weights of the step before are unchanged. {}",
        report.step, report.loss, report.grad_norm, where,
        imported ? "Are the weights in model.from_huggingface sound?"
                 : "Lower optimizer.learning_rate, or continue from an older checkpoint with other data");
}

}  // namespace longspan
