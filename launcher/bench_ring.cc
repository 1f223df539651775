#include "launcher/bench_ring.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>

#include "attention/kernels/block_attention.h"
#include "attention/ring_attention.h"
#include "core/base/random.h"
#include "core/kernels/backends.h"

namespace longspan {
namespace {

using Clock = std::chrono::steady_clock;

enum class Polling { kBetweenTiles, kNever };

struct Times {
  double seconds = INFINITY, exposed = 0;
};

Tensor random_tokens(const Context& context, const Shape& shape, const char* name) {
  const RandomStream random(1, name);
  Tensor x = context.empty(shape, DType::kFloat32);
  for (int64_t i = 0; i < x.num_elements(); ++i) {
    x.data<float>()[i] = static_cast<float>(random.normal(static_cast<uint64_t>(i)));
  }
  return x;
}

// Time of the slowest rank, with the largest wait of any.
Times slowest(Context& context, Communicator& world, double seconds, double waited) {
  const Tensor numbers = context.empty({2}, DType::kFloat64);
  numbers.data<double>()[0] = seconds;
  numbers.data<double>()[1] = waited;
  world.all_reduce(context.stream(), numbers, ReduceOp::kMax);
  return {numbers.data<double>()[0], numbers.data<double>()[1]};
}

template <class Body>
Times timed(Context& context, Communicator& world, const Body& body) {
  world.barrier(context.stream());
  const double waited = world.waited_seconds();
  const auto begin = Clock::now();
  body();
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  return slowest(context, world, seconds, world.waited_seconds() - waited);
}

void keep_best(Times& best, const Times& now) {
  if (now.seconds < best.seconds) best = now;
}

void run_mode(const BenchRingOptions& o, Communicator& world, Polling polling, std::ostream& out) {
  auto kernels = std::make_shared<KernelSet>("cpu");
  add_cpu_kernels(*kernels, o.level);
  add_cpu_attention(*kernels, o.level);
  Context context({.device = {},
                   .compute_dtype = DType::kFloat32,
                   .num_threads = o.num_threads,
                   .memory = std::make_shared<CachingResource>(std::make_shared<HostResource>()),
                   .kernels = kernels});
  if (polling == Polling::kNever) context.mute_progress();
  const SequenceLayout layout(LayoutType::kZigzag, world.size(), o.num_tokens, 1);
  const TileMap tiles(Masking::kCausal, layout, world.rank(), {0});
  const int64_t mine = layout.num_tokens(world.rank());
  const auto make = [&](const char* name, int64_t heads) { return random_tokens(context, {mine, heads, o.head_dim}, name); };
  const Tensor q = make("q", o.num_heads), k = make("k", o.num_kv_heads), v = make("v", o.num_kv_heads);
  const Tensor dy = make("dy", o.num_heads);
  const RingAttention attention(world, 1 / std::sqrt(static_cast<double>(o.head_dim)));
  Times forward, backward;
  for (int i = 0; i < o.repetitions; ++i) {
    AttentionStash stash;
    keep_best(forward, timed(context, world, [&] { attention.forward(context, q, k, v, tiles, &stash); }));
    keep_best(backward, timed(context, world, [&] { attention.backward(context, dy, tiles, stash); }));
  }
  if (world.rank() != 0) return;
  const double gflop = 2e-9 * static_cast<double>(o.num_heads * o.head_dim) * static_cast<double>(o.num_tokens) *
                       static_cast<double>(o.num_tokens);
  const auto print = [&](const char* direction, double work, const Times& t) {
    out << fmt::format("{:<8}  {} ranks  {} tokens  heads {}/{} x {}  {:<14}  {:>8.2f} ms  {:>6.1f} GFLOP/s a core  "
                       "exposed wait {:>5.2f}%\n",
                       direction, world.size(), o.num_tokens, o.num_heads, o.num_kv_heads, o.head_dim,
                       polling == Polling::kNever ? "not polled" : "polled", 1e3 * t.seconds,
                       work / t.seconds / world.size() / o.num_threads, 100 * t.exposed / t.seconds)
        << std::flush;
  };
  print("forward", gflop, forward);
  print("backward", 2.5 * gflop, backward);
}

}  // namespace

void bench_ring(const BenchRingOptions& options, Communicator& world, std::ostream& out) {
  if (options.num_threads < 1 || options.num_tokens < 1 || options.head_dim < 1 || options.num_kv_heads < 1 ||
      options.num_heads < 1 || options.num_heads % options.num_kv_heads != 0) {
    raise(ErrorKind::kConfiguration, "{} tokens with heads {}/{} x {} on {} threads cannot be measured",
          options.num_tokens, options.num_heads, options.num_kv_heads, options.head_dim, options.num_threads);
  }
  run_mode(options, world, Polling::kBetweenTiles, out);
  run_mode(options, world, Polling::kNever, out);
}

}  // namespace longspan
