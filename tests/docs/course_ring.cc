// Who holds what, what travels when, and what a rank computes with it.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <iostream>

#include "attention/kernels/block_attention.h"
#include "attention/ring_attention.h"
#include "parallel/comm/backends.h"
#include "parallel/comm/process_mesh.h"
#include "parallel/comm/ring_pass.h"
#include "tests/docs/course.h"
#include "tests/support/marked_attention.h"
#include "tests/support/reference_context.h"

namespace longspan::course {

namespace {

int num_ranks_of(const Words& words, size_t place) {
  return static_cast<int>(number(words, place, "the number of ranks", 1));
}

int64_t pairs_at(const SequenceLayout& layout, int rank, int hop) {
  const TileMap tiles(Masking::kCausal, layout, rank, {0});
  return tiles.keys_of((rank - hop + layout.num_ranks()) % layout.num_ranks()).num_pairs();
}

std::string joined(const std::vector<int64_t>& values) {
  std::string text;
  for (const int64_t value : values) {
    if (!text.empty()) text += ' ';
    text += std::to_string(value);
  }
  return text;
}

double score(const std::string& word) {
  return word.starts_with("ln") ? std::log(std::stod(word.substr(2))) : std::stod(word);
}

}  // namespace

void print_mesh(const Words& words) {
  const MeshShape shape = {.pipeline = 1,
                           .data = static_cast<int>(number(words, 0, "the data axis", 1)),
                           .context = static_cast<int>(number(words, 1, "the context axis", 1)),
                           .tensor = 1};
  std::vector<std::string> lines(static_cast<size_t>(shape.num_ranks()));
  run_in_process(shape.num_ranks(), [&](Communicator& world) {
    const Context context = test::make_context(DType::kFloat64);
    const ProcessMesh mesh(world, shape);
    const auto members = [&](Communicator& group) {
      const Tensor mine = context.empty({1}, DType::kInt64), all = context.empty({group.size(), 1}, DType::kInt64);
      *mine.data<int64_t>() = world.rank();
      group.all_gather(context.stream(), mine, all);
      return joined({all.data<int64_t>(), all.data<int64_t>() + group.size()});
    };
    const std::string ring = members(mesh.axis(Axis::kContext)), data = members(mesh.axis(Axis::kData));
    lines[static_cast<size_t>(world.rank())] =
        fmt::format("{:>4}  {:>4}  {:>7}  {{{}}}  {{{}}}", world.rank(), mesh.coordinate(Axis::kData),
                    mesh.coordinate(Axis::kContext), ring, data);
  });
  std::cout << "rank  data  context  its ring, its data group\n";
  for (const std::string& line : lines) std::cout << line << '\n';
}

void print_merge(const Words& words) {
  Context context = test::make_context(DType::kFloat64);
  const auto& kernel = context.kernels<BlockAttention>();
  const AttentionState state = kernel.initial_state(context, 1, 1, 1);
  const Tensor q = context.empty({1, 1, 1}, DType::kFloat64);
  *q.data<double>() = 1;
  const auto show = [&](const std::string& after) {
    std::cout << fmt::format("{:<24} O = {:<8.6g} LSE = {:.6g}\n", after, *state.output.data<double>(),
                             *state.lse.data<double>());
  };
  show("nothing seen");
  for (size_t begin = 0; begin < words.size();) {
    size_t end = begin;
    while (end < words.size() && words[end] != "/") ++end;
    const auto num_keys = static_cast<int64_t>(end - begin);
    const Tensor k = context.empty({num_keys, 1, 1}, DType::kFloat64);
    const Tensor v = context.empty({num_keys, 1, 1}, DType::kFloat64);
    std::string what = "after";
    for (size_t i = begin; i < end; ++i) {
      const size_t comma = words[i].find(',');
      if (comma == std::string::npos) raise(ErrorKind::kConfiguration, "\"{}\" is not SCORE,VALUE", words[i]);
      k.data<double>()[i - begin] = score(words[i].substr(0, comma));
      v.data<double>()[i - begin] = std::stod(words[i].substr(comma + 1));
      what += " " + words[i];
    }
    const IndexInterval all = {.begin = 0, .end = num_keys};
    const KeyIntervals visible({&all, 1}, {{.start = 0, .stride = 1, .length = num_keys}});
    kernel.forward(context, {.q = q, .k = k, .v = v, .visible = &visible, .scale = 1}, state);
    show(what);
    begin = end + 1;
  }
}

void print_layout(const Words& words) {
  const SequenceLayout layout(course::layout(words, 0), num_ranks_of(words, 1), number(words, 2, "the tokens", 0), 1);
  for (int rank = 0; rank < layout.num_ranks(); ++rank) {
    std::cout << fmt::format("rank {}:", rank);
    for (const int64_t index : indices(layout.ranges(rank))) std::cout << fmt::format(" {:>2}", index);
    std::cout << '\n';
  }
}

void print_hops(const Words& words) {
  const int num_ranks = num_ranks_of(words, 0);
  std::vector<std::vector<int>> owners(static_cast<size_t>(num_ranks));  // [rank][hop], as it arrives
  run_in_process(num_ranks, [&](Communicator& world) {
    Context context = test::make_context(DType::kFloat64);
    const Tensor own = context.empty({1}, DType::kFloat64);
    *own.data<double>() = world.rank();
    RingPass ring(context, world, {own}, [](int) { return std::vector<Shape>{{1}}; });
    for (const RingHop& hop : ring) {
      owners[static_cast<size_t>(world.rank())].push_back(static_cast<int>(*hop.tensors[0].data<double>()));
    }
  });
  std::cout << "      ";
  for (int rank = 0; rank < num_ranks; ++rank) std::cout << fmt::format("  rank {}", rank);
  std::cout << '\n';
  for (int hop = 0; hop < num_ranks; ++hop) {
    std::cout << fmt::format("hop {:<2}", hop);
    for (const auto& of_rank : owners) std::cout << fmt::format("  {:>6}", of_rank[static_cast<size_t>(hop)]);
    std::cout << '\n';
  }
}

void print_work(const Words& words) {
  const SequenceLayout layout(course::layout(words, 0), num_ranks_of(words, 1), number(words, 2, "the tokens", 1), 1);
  int64_t slowest = 0, all = 0;
  std::cout << "      ";
  for (int rank = 0; rank < layout.num_ranks(); ++rank) std::cout << fmt::format("  rank {}", rank);
  std::cout << "  slowest\n";
  for (int hop = 0; hop < layout.num_ranks(); ++hop) {
    int64_t most = 0;
    std::cout << fmt::format("hop {:<2}", hop);
    for (int rank = 0; rank < layout.num_ranks(); ++rank) {
      const int64_t pairs = pairs_at(layout, rank, hop);
      most = std::max(most, pairs);
      all += pairs;
      std::cout << fmt::format("  {:>6}", pairs);
    }
    slowest += most;
    std::cout << fmt::format("  {:>7}\n", most);
  }
  const double even = static_cast<double>(all) / layout.num_ranks();
  std::cout << fmt::format("{} pairs in all, {:g} a rank if even; the slowest ranks make it {} ({:.2f} times)\n", all,
                           even, slowest, static_cast<double>(slowest) / even);
}

void print_order(const Words& words) {
  const SequenceLayout layout(LayoutType::kZigzag, num_ranks_of(words, 0), 2 * num_ranks_of(words, 0), 1);
  run_in_process(layout.num_ranks(), [&](Communicator& world) {
    const auto log = std::make_shared<CommLog>();
    const auto ring = make_recording_communicator(world, log);
    const Context plain = test::make_context(DType::kBFloat16);
    Context context = test::marked_context(plain, log);
    const TileMap tiles(Masking::kCausal, layout, world.rank(), {0});
    const Tensor x = context.zeros({layout.num_tokens(world.rank()), 1, 2}, DType::kBFloat16);
    const RingAttention attention(*ring, 1);
    AttentionStash stash;
    log->mark("forward");
    attention.forward(context, x, x, x, tiles, &stash);
    log->mark("backward");
    attention.backward(context, x, tiles, stash);
    if (world.rank() != 0) return;
    bool second = false;
    for (const CommRecord& r : log->records()) {
      if (r.kind == CommRecord::Kind::kMark) {
        std::cout << (r.what == "compute" ? "  " : "") << r.what << '\n';
      } else if (!std::exchange(second, !second)) {  // messages come in pairs; keys have 2 bytes an element, sums 4
        std::cout << fmt::format("  {} {:<7} to {}, from {}\n",
                                 r.kind == CommRecord::Kind::kSendRecvPosted ? "post" : "wait",
                                 r.bytes_sent == x.num_bytes() ? "K, V" : "dK, dV", r.to, r.from);
      }
    }
  });
}

void print_bytes(const Words& words) {
  const SequenceLayout layout(LayoutType::kZigzag, num_ranks_of(words, 0), number(words, 1, "the tokens", 1), 1);
  const Shape heads = {number(words, 2, "the key heads", 1), number(words, 3, "the dims of a head", 2)};
  std::cout << "received by rank 0     forward    backward\n";
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    run_in_process(layout.num_ranks(), [&](Communicator& world) {
      const auto log = std::make_shared<CommLog>();
      const auto ring = make_recording_communicator(world, log);
      Context context = test::make_context(dtype);
      const TileMap tiles(Masking::kCausal, layout, world.rank(), {0});
      const Tensor x = context.zeros({layout.num_tokens(world.rank()), heads[0], heads[1]}, dtype);
      const RingAttention attention(*ring, 1);
      AttentionStash stash;
      attention.forward(context, x, x, x, tiles, &stash);
      const size_t forward = log->bytes_received();
      attention.backward(context, x, tiles, stash);
      if (world.rank() != 0) return;
      std::cout << fmt::format("{:<18} {:>11} {:>11}\n", name(dtype), forward, log->bytes_received() - forward);
    });
  }
}

void print_mask(const Words& words) {
  const int num_ranks = num_ranks_of(words, 1);
  const int rank = static_cast<int>(number(words, 2, "the rank", 0));
  std::vector<int64_t> begins;
  int64_t length = 0;
  for (size_t i = 3; i < words.size(); ++i) {
    begins.push_back(length);
    length += number(words, i, "the length of a document", 1);
  }
  const SequenceLayout layout(course::layout(words, 0), num_ranks, length, 1);
  const TileMap tiles(Masking::kCausal, layout, rank, begins);
  const auto queries = indices(layout.ranges(rank));
  for (int hop = 0; hop < num_ranks; ++hop) {
    const int owner = (rank - hop + num_ranks) % num_ranks;
    const KeyIntervals& keys = tiles.keys_of(owner);
    std::cout << fmt::format("hop {}, keys {} of rank {}\n", hop, joined(indices(layout.ranges(owner))), owner);
    for (size_t slot = 0; slot < queries.size(); ++slot) {
      const auto begin = static_cast<size_t>(keys.begin()[slot]), end = static_cast<size_t>(keys.end()[slot]);
      std::string row(static_cast<size_t>(keys.num_keys()), '.');
      row.replace(begin, end - begin, std::string(end - begin, '#'));
      std::cout << fmt::format("  query {:>2}  {}\n", queries[slot], row);
    }
  }
}

}  // namespace longspan::course
