#include "launcher/bench_loss.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/nn/tiled_loss.h"

namespace longspan {
namespace {

bool any_not_positive(const std::vector<int64_t>& numbers) {
  return std::any_of(numbers.begin(), numbers.end(), [](int64_t n) { return n < 1; });
}

struct Case {
  DType dtype;
  int64_t vocabulary_size, tile_tokens;
};

void run_case(const BenchLossOptions& options, const Case& c, ProductPeak& peaks, std::ostream& out) {
  const BenchMachine& machine = options.machine;
  Context context = machine.context(c.dtype);
  ParameterSet parameters;
  Parameter& head = parameters.add("head", {c.vocabulary_size, options.hidden_size}, Initialization::kNormal);
  head.multiplies = true;
  parameters.materialize(context, ParameterSet::Purpose::kTraining);
  parameters.initialize(context, 1, 0.02);
  const TiledLoss loss(head, c.tile_tokens);
  const Tensor x = random_tensor(context, {c.tile_tokens, options.hidden_size}, c.dtype, "x");
  const Tensor targets = spread_tokens(context, c.tile_tokens, c.vocabulary_size);
  const double before = peaks.measure();
  Stopwatch watch(context, [&] {
    TiledLoss::Stash stash;
    loss.forward(context, x, targets, 1 / static_cast<double>(c.tile_tokens), &stash);
  });
  const double seconds = watch.seconds_within(options.min_seconds), peak = std::max(before, peaks.measure());
  const double rate = 6 * static_cast<double>(c.tile_tokens) * static_cast<double>(head.shape.num_elements()) / seconds;
  out << fmt::format("loss  {:<8}  {:>5} tokens  {:>6} x {:<5}  {:>9.3f} ms  {}  {:>5.1f}% of {:.1f}\n", name(c.dtype),
                     c.tile_tokens, c.vocabulary_size, options.hidden_size, 1e3 * seconds, machine.rate_text(rate),
                     100 * rate / peak, machine.in_unit(peak))
      << std::flush;
}

}  // namespace

void bench_loss(const BenchLossOptions& options, std::ostream& out) {
  const BenchMachine& machine = options.machine;
  expect_measurable(machine, options.min_seconds);
  if (options.hidden_size < 1 || any_not_positive(options.tile_tokens) || any_not_positive(options.vocabulary_sizes)) {
    raise(ErrorKind::kConfiguration, "a loss of no tokens, no vocabulary or a hidden size of {} cannot be measured",
          options.hidden_size);
  }
  out << fmt::format("head, loss and their gradients, {}; the share is of {}\n", machine.description(),
                     machine.on_cpu() ? "what a core of this machine can multiply from registers"
                                      : fmt::format("a product of {0} x {0}", machine.square));
  for (const DType dtype : options.dtypes) {
    ProductPeak peaks(machine, dtype);
    for (const int64_t vocabulary_size : options.vocabulary_sizes) {
      for (const int64_t tile_tokens : options.tile_tokens) run_case(options, {dtype, vocabulary_size, tile_tokens}, peaks, out);
    }
  }
}

}  // namespace longspan
