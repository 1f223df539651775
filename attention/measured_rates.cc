#include "attention/measured_rates.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>

#include "attention/ring_attention.h"
#include "parallel/comm/backends.h"

namespace longspan {

namespace {

constexpr int kSamples = 3;

// The least of some samples, after one that does not count.
double least_seconds(const std::function<double()>& sample) {
  sample();
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kSamples; ++i) least = std::min(least, sample());
  return least;
}

double seconds_of(Context& context, const std::function<void()>& body) {
  context.stream().synchronize();
  const auto begin = std::chrono::steady_clock::now();
  body();
  context.stream().synchronize();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// A rank sends to one and receives from another; to itself: it takes no part.
struct Partners {
  int to, from;
};

// Within blocks of neighbours, which are on one host.
Partners inside_host(int rank, int num_ranks, int per_host) {
  const int first = rank / per_host * per_host, size = std::min(per_host, num_ranks - first), place = rank - first;
  return {first + (place + 1) % size, first + (place + size - 1) % size};
}

Partners across_hosts(int rank, int num_ranks, int per_host) {
  return {(rank + per_host) % num_ranks, (rank + num_ranks - per_host) % num_ranks};
}

LinkRate measure_link(Context& context, Communicator& ranks, const Partners& partners) {
  constexpr int64_t kNumbers = 1 << 18;  // a mebibyte
  const Tensor leaves = context.zeros({kNumbers}, DType::kFloat32, MemoryTag::kCommunication);
  const Tensor arrives = context.empty({kNumbers}, DType::kFloat32, MemoryTag::kCommunication);
  const auto seconds = [&](int64_t numbers) {
    return least_seconds([&] {
      ranks.barrier(context.stream());
      if (partners.to == ranks.rank()) return 0.0;
      return seconds_of(context, [&] {
        ranks.send_recv(context.stream(), {.send = leaves.slice(0, 0, numbers), .to = partners.to,
                                           .receive = arrives.slice(0, 0, numbers), .from = partners.from}).wait();
      });
    });
  };
  const double small = seconds(1), large = seconds(kNumbers);
  const double bytes = static_cast<double>(kNumbers) * sizeof(float);
  return {.latency_seconds = small, .bytes_per_second = bytes / std::max(large - small, 1e-9)};
}

struct KernelSeconds {
  double forward = std::numeric_limits<double>::infinity(), backward = forward;
};

KernelSeconds time_kernel(Context& context, const AttentionShape& shape, int64_t num_tokens) {
  const auto alone = make_self_communicator();
  const RingAttention attention(*alone, 1 / std::sqrt(static_cast<double>(shape.head_dim)));
  const TileMap tiles(Masking::kFull, SequenceLayout(LayoutType::kContiguous, 1, num_tokens, 1), 0, {0});
  const auto zeros = [&](int64_t heads) { return context.zeros({num_tokens, heads, shape.head_dim}, context.compute_dtype()); };
  const Tensor q = zeros(shape.num_heads), k = zeros(shape.num_kv_heads);
  KernelSeconds least;
  for (int i = 0; i <= kSamples; ++i) {
    AttentionStash stash;
    const double forward = seconds_of(context, [&] { attention.forward(context, q, k, k, tiles, &stash); });
    const double backward = seconds_of(context, [&] { attention.backward_unrounded(context, q, tiles, stash); });
    if (i == 0) continue;
    least = {std::min(least.forward, forward), std::min(least.backward, backward)};
  }
  return least;
}

// Enough for a rate, and done in milliseconds.
int64_t block_tokens(const Context& context, const AttentionShape& shape) {
  const double flops = context.device().type == DeviceType::kCpu ? 1e8 : 1e11;
  const double row = (kForwardFlops + kBackwardFlops) * static_cast<double>(shape.num_heads * shape.head_dim);
  return std::clamp(static_cast<int64_t>(std::sqrt(flops / row)), int64_t{16}, int64_t{4096});
}

}  // namespace

AttentionRates measure_rates(Context& context, Communicator& ranks, Communicator& world, const AttentionShape& shape) {
  const int num_ranks = ranks.size(), per_host = std::min(shape.ranks_per_host, num_ranks);
  const LinkRate inside = measure_link(context, ranks, inside_host(ranks.rank(), num_ranks, per_host));
  LinkRate across = inside;
  if (per_host < num_ranks) across = measure_link(context, ranks, across_hosts(ranks.rank(), num_ranks, per_host));
  const int64_t tokens = block_tokens(context, shape);
  const KernelSeconds block = time_kernel(context, shape, tokens), call = time_kernel(context, shape, 1);
  const double work = static_cast<double>(tokens * tokens * shape.num_heads * shape.head_dim);
  const double slowest[] = {inside.latency_seconds, 1 / inside.bytes_per_second,
                            across.latency_seconds, 1 / across.bytes_per_second,
                            std::max(block.forward - call.forward, 1e-9) / (kForwardFlops * work),
                            std::max(block.backward - call.backward, 1e-9) / (kBackwardFlops * work), call.forward};
  const Tensor agreed = context.host().empty({std::ssize(slowest)}, DType::kFloat64, MemoryTag::kWorkspace);
  std::copy(std::begin(slowest), std::end(slowest), agreed.data<double>());
  world.all_reduce(context.host().stream(), agreed, ReduceOp::kMax);
  const double* s = agreed.data<double>();
  return {.inside = {.latency_seconds = s[0], .bytes_per_second = 1 / s[1]},
          .across = {.latency_seconds = s[2], .bytes_per_second = 1 / s[3]},
          .forward_flops = 1 / s[4],
          .backward_flops = 1 / s[5],
          .call_seconds = s[6]};
}

}  // namespace longspan
