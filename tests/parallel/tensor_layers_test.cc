// Layers whose weights ranks share against those of one rank, in double precision, and the bytes that they move.
#include <gtest/gtest.h>

#include <functional>

#include "core/kernels/loss.h"
#include "core/nn/tiled_loss.h"
#include "parallel/comm/backends.h"
#include "parallel/tensor/parallel_linear.h"
#include "parallel/tensor/repeated_heads.h"
#include "parallel/tensor/vocabulary_embedding.h"
#include "parallel/tensor/vocabulary_loss.h"
#include "tests/parallel/comm_support.h"
#include "tests/support/reference_context.h"
#include "tests/support/tensors.h"

namespace longspan {
namespace {

constexpr double kTolerance = 1e-12;
constexpr int64_t kIn = 5, kHidden = 6, kVocabulary = 13;
constexpr int64_t kTokens[] = {0, 1, 3, 11, 16};

// Elements of `whole` that are in the box, row-major.
std::vector<double> part(const std::vector<double>& whole, const Box& box) {
  std::vector<double> values(static_cast<size_t>(box.num_elements()));
  copy_overlap(Box::all_of(box.whole), whole.data(), box, values.data(), sizeof(double));
  return values;
}

Tensor random(const Context& context, const Shape& shape, const std::string& name) {
  return test::random_tensor(context, shape, context.compute_dtype(), 3, name);
}
// Rows of a tensor that all ranks draw alike.
Tensor piece(const Context& context, const Tensor& whole, const TensorPiece& rows) {
  const Tensor copied = context.empty(rows_of(whole, rows).shape(), whole.dtype());
  context.copy(rows_of(whole, rows), copied);
  return copied;
}
std::vector<double> row_values(const Tensor& tensor, const TensorPiece& rows) {
  return test::values(rows_of(tensor, rows));
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want, const char* what) {
  EXPECT_LT(test::relative_error(got, want), kTolerance) << what;
}

// body(context, axis, num_tokens) on each of `num_ranks`, for all numbers of tokens.
using RankBody = std::function<void(Context&, Communicator&, int64_t)>;
void on_ranks(int most_ranks, const RankBody& body) {
  for (int num_ranks = 1; num_ranks <= most_ranks; ++num_ranks) {
    for (const int64_t tokens : kTokens) {
      SCOPED_TRACE(fmt::format("{} ranks, {} tokens", num_ranks, tokens));
      run_in_process(num_ranks, [&](Communicator& axis) {
        Context context = test::make_context(DType::kFloat64);
        body(context, axis, tokens);
      });
      if (testing::Test::HasFailure()) return;
    }
  }
}

void make(Context& context, ParameterSet& set, uint64_t seed = 5) {
  for (const auto& p : set.all()) p->multiplies = p->shape.rank() == 2;
  set.materialize(context, ParameterSet::Purpose::kTraining);
  set.initialize(context, seed, 1);
}

TEST(ColumnParallel, EqualsLinears) {
  on_ranks(8, [](Context& context, Communicator& axis, int64_t n) {
    const int64_t outs[] = {11, 3};  // of which a rank may have none
    ParameterSet whole, held;
    std::vector<Linear> one, shared;
    for (const int64_t out : outs) {
      const Shape matrix = {out, kIn}, row = {out};
      const TensorPiece rows = tensor_piece_of(out, axis.size(), axis.rank());
      const std::string name = std::to_string(out);
      Parameter& w = whole.add("w" + name, matrix, Initialization::kNormal);
      Parameter& b = whole.add("b" + name, row, Initialization::kNormal);
      one.emplace_back(w, &b);
      Parameter& hw = held.add("w" + name, Box::slice_of(matrix, 0, rows.begin, rows.end), Initialization::kNormal);
      Parameter& hb = held.add("b" + name, Box::slice_of(row, 0, rows.begin, rows.end), Initialization::kNormal);
      shared.emplace_back(hw, &hb);
    }
    make(context, whole);
    make(context, held);
    const Tensor x = random(context, {n, kIn}, "x");
    const TensorPiece mine = tensor_piece_of(n, axis.size(), axis.rank());
    const ColumnParallel layer(axis, shared);
    ColumnParallel::Stash stash;
    const auto ys = layer.forward(context, piece(context, x, mine), n, &stash);
    Tensor dx;
    std::vector<Tensor> dys;
    for (size_t i = 0; i < 2; ++i) {
      Linear::Stash s;
      const Tensor y = one[i].forward(context, x, &s), dy = random(context, y.shape(), "dy" + std::to_string(i));
      const TensorPiece columns = tensor_piece_of(outs[i], axis.size(), axis.rank());
      const Box box = Box::slice_of(y.shape(), 1, columns.begin, columns.end);
      expect_near(test::values(ys[i]), part(test::values(y), box), "y");
      const auto of_columns = part(test::values(dy), box);
      dys.push_back(context.empty(ys[i].shape(), DType::kFloat64));
      std::copy(of_columns.begin(), of_columns.end(), dys.back().data<double>());
      if (i == 0) dx = one[i].backward_input(context, dy, s);
      else one[i].add_backward_input(context, dy, s, dx);
      one[i].backward_weight(context, s);
    }
    expect_near(test::values(layer.backward_input(context, dys, stash)), row_values(dx, mine), "dx");
    layer.backward_weight(context, stash);
    for (size_t i = 0; i < held.all().size(); ++i) {
      const Parameter &got = *held.all()[i], &want = *whole.all()[i];
      expect_near(test::values(got.gradient), part(test::values(want.gradient), got.box), got.name.c_str());
    }
  });
}

TEST(RowParallel, EqualsLinear) {
  on_ranks(8, [](Context& context, Communicator& axis, int64_t n) {
    const Shape shape = {kHidden, 11};
    const TensorPiece columns = tensor_piece_of(11, axis.size(), axis.rank());
    const TensorPiece mine = tensor_piece_of(n, axis.size(), axis.rank());
    ParameterSet whole, held;
    const Linear one(whole.add("w", shape, Initialization::kNormal), nullptr);
    Parameter& w = held.add("w", Box::slice_of(shape, 1, columns.begin, columns.end), Initialization::kNormal);
    const RowParallel layer(axis, w);
    make(context, whole);
    make(context, held);
    const Tensor x = random(context, {n, 11}, "x"), dy = random(context, {n, kHidden}, "dy");
    const Box box = Box::slice_of(x.shape(), 1, columns.begin, columns.end);
    const Tensor x_held = context.empty(box.extent, DType::kFloat64);
    const auto of_columns = part(test::values(x), box);
    std::copy(of_columns.begin(), of_columns.end(), x_held.data<double>());
    Linear::Stash s;
    RowParallel::Stash stash;
    const Tensor y = one.forward(context, x, &s), dx = one.backward_input(context, dy, s);
    one.backward_weight(context, s);
    expect_near(test::values(layer.forward(context, x_held, &stash)), row_values(y, mine), "y");
    expect_near(test::values(layer.backward_input(context, piece(context, dy, mine), stash)), part(test::values(dx), box), "dx");
    layer.backward_weight(context, stash);
    expect_near(test::values(w.gradient), part(test::values(whole.all()[0]->gradient), w.box), "dw");
  });
}

Tensor tokens_of(const Context& context, int64_t n, bool with_gaps) {
  const Tensor tokens = context.empty({n}, DType::kInt32);
  const RandomStream random(9, "tokens");
  for (int64_t t = 0; t < n; ++t) {
    const auto token = static_cast<int32_t>(random.below(static_cast<uint64_t>(t), kVocabulary));
    tokens.data<int32_t>()[t] = with_gaps && t % 3 == 1 ? kNoTarget : token;
  }
  return tokens;
}

TEST(VocabularyEmbedding, EqualsTokenEmbedding) {
  on_ranks(8, [](Context& context, Communicator& axis, int64_t n) {
    const Shape shape = {kVocabulary, kHidden};
    const TensorPiece rows = tensor_piece_of(kVocabulary, axis.size(), axis.rank());
    const TensorPiece mine = tensor_piece_of(n, axis.size(), axis.rank());
    ParameterSet whole, held;
    const TokenEmbedding one(whole.add("table", shape, Initialization::kNormal));
    Parameter& table = held.add("table", Box::slice_of(shape, 0, rows.begin, rows.end), Initialization::kNormal);
    const VocabularyEmbedding layer(axis, table);
    make(context, whole);
    make(context, held);
    const Tensor tokens = tokens_of(context, n, false), dy = random(context, {n, kHidden}, "dy");
    VocabularyEmbedding::Stash s, stash;
    EXPECT_EQ(test::values(layer.forward(context, tokens, &stash)), row_values(one.forward(context, tokens, &s), mine));
    one.backward_input(dy, s);
    one.backward_weight(context, s);
    layer.backward_input(piece(context, dy, mine), stash);
    layer.backward_weight(context, stash);
    expect_near(test::values(table.gradient), part(test::values(whole.all()[0]->gradient), table.box), "table");
  });
}

TEST(VocabularyLoss, EqualsTiledLoss) {
  for (const int64_t tile : {1, 4, 9, 100}) {
    SCOPED_TRACE(fmt::format("tiles of {}", tile));
    on_ranks(8, [tile](Context& context, Communicator& axis, int64_t n) {
      const Shape shape = {kVocabulary, kHidden};
      const TensorPiece rows = tensor_piece_of(kVocabulary, axis.size(), axis.rank());
      const TensorPiece mine = tensor_piece_of(n, axis.size(), axis.rank());
      ParameterSet whole, held;
      const TiledLoss one(whole.add("head", shape, Initialization::kNormal), tile);
      Parameter& head = held.add("head", Box::slice_of(shape, 0, rows.begin, rows.end), Initialization::kNormal);
      const VocabularyLoss layer(axis, head, tile);
      make(context, whole);
      make(context, held);
      const Tensor x = test::random_tensor(context, {n, kHidden}, DType::kFloat64, 3, "x", 10);
      const Tensor targets = tokens_of(context, n, true);
      VocabularyLoss::Stash s, stash;
      const Tensor want = one.forward(context, x, targets, 0.25, &s), own_x = piece(context, x, mine);
      expect_near(test::values(layer.forward(context, own_x, targets, 0.25, nullptr)), test::values(want), "losses alone");
      const Tensor got = layer.forward(context, own_x, targets, 0.25, &stash);
      expect_near(test::values(got), test::values(want), "losses");
      expect_near(test::values(layer.backward_input(stash)), row_values(one.backward_input(s), mine), "dx");
      expect_near(test::values(head.gradient), part(test::values(whole.all()[0]->gradient), head.box), "dw");
    });
  }
}

// The same bits and the same calls as Linear's on one rank, in every dtype: no copy and no wider sum.
TEST(TensorLayers, AreThoseOfOneRankToTheBit) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
    Context context = test::make_context(dtype);
    const auto alone = make_self_communicator();
    ParameterSet set;
    std::vector<Linear> weights;
    for (const char* name : {"a", "b"}) {
      Parameter& w = set.add(name, {24, 16}, Initialization::kNormal);
      weights.emplace_back(w, &set.add(std::string(name) + "b", {24}, Initialization::kNormal));
    }
    make(context, set);
    const Tensor x = random(context, {9, 16}, "x"), dy = random(context, {9, 24}, "dy");
    Linear::Stash s0, s1;
    const Tensor y0 = weights[0].forward(context, x, &s0), y1 = weights[1].forward(context, x, &s1);
    const Tensor dx = weights[0].backward_input(context, dy, s0);
    weights[1].add_backward_input(context, dy, s1, dx);
    weights[0].backward_weight(context, s0);
    weights[1].backward_weight(context, s1);
    const auto gradients = test::values(set.gradients());
    set.zero_gradients(context);
    const ColumnParallel columns(*alone, weights);
    ColumnParallel::Stash stash;
    const auto ys = columns.forward(context, x, 9, &stash);
    EXPECT_EQ(test::values(ys[0]), test::values(y0));
    EXPECT_EQ(test::values(ys[1]), test::values(y1));
    EXPECT_EQ(stash.x.raw(), x.raw());
    EXPECT_EQ(test::values(columns.backward_input(context, {dy, dy}, stash)), test::values(dx));
    columns.backward_weight(context, stash);
    EXPECT_EQ(test::values(set.gradients()), gradients);
  }
}

// The product that a row-parallel layer would have if the ranks' sums were rounded on their way.
TEST(TensorLayers, SumInTheAccumulator) {
  const int num_ranks = 4;
  run_in_process(num_ranks, [&](Communicator& axis) {
    Context context = test::make_context(DType::kBFloat16);
    ParameterSet set;
    const Shape shape = {kHidden, num_ranks};
    Parameter& w = set.add("w", Box::slice_of(shape, 1, axis.rank(), axis.rank() + 1), Initialization::kOnes);
    make(context, set);
    // 256 + 1 + 1 - 256 is 2, but 256 + 1 is 256 in bfloat16.
    const float terms[] = {256, 1, 1, -256};
    const Tensor x = context.empty({num_ranks, 1}, DType::kBFloat16);
    for (int64_t t = 0; t < num_ranks; ++t) x.data<bfloat16>()[t] = bfloat16(terms[axis.rank()]);
    const Tensor y = RowParallel(axis, w).forward(context, x, nullptr);
    for (const double value : test::values(y)) EXPECT_EQ(value, 2);
  });
}

struct Moved {
  size_t sent, received;
};

TEST(TensorLayers, MoveTheBytesOfTheFormula) {
  for (int num_ranks = 1; num_ranks <= 5; ++num_ranks) {
    run_in_process(num_ranks, [&](Communicator& inner) {
      const auto log = std::make_shared<CommLog>();
      const auto axis = make_recording_communicator(inner, log);
      Context context = test::make_context(DType::kBFloat16);
      const int64_t n = 13, rank = axis->rank(), hidden = 8;
      const auto pieces = tensor_pieces_of(n, num_ranks);
      const int64_t own = pieces[static_cast<size_t>(rank)].size();
      const int64_t next = pieces[static_cast<size_t>((rank + 1) % num_ranks)].size();
      const int64_t previous = pieces[static_cast<size_t>((rank + num_ranks - 1) % num_ranks)].size();
      const auto elements = [&](int64_t rows_left_out) { return num_ranks == 1 ? 0 : (n - rows_left_out) * hidden; };
      // Pieces go round but for the last hop; sums, in the accumulator, begin with the previous rank's.
      const Moved gather = {static_cast<size_t>(2 * elements(next)), static_cast<size_t>(2 * elements(own))};
      const Moved scatter = {static_cast<size_t>(4 * elements(own)), static_cast<size_t>(4 * elements(previous))};
      const auto expect = [&](const Moved& moved, const char* what) {
        EXPECT_EQ(log->bytes_sent(), moved.sent) << what << " on rank " << rank << " of " << num_ranks;
        EXPECT_EQ(log->bytes_received(), moved.received) << what << " on rank " << rank << " of " << num_ranks;
        for (const CommRecord& record : log->records()) {
          const bool is_hop =
              record.kind == CommRecord::Kind::kSendRecvPosted || record.kind == CommRecord::Kind::kSendRecvWaited;
          EXPECT_TRUE(is_hop) << what;
        }
        log->clear();
      };
      ParameterSet set;
      Parameter& up = set.add("up", {3, hidden}, Initialization::kNormal);
      Parameter& gate = set.add("gate", {3, hidden}, Initialization::kNormal);
      Parameter& down = set.add("down", {hidden, 3}, Initialization::kNormal);
      make(context, set);
      const Tensor x = random(context, {own, hidden}, "x");
      const ColumnParallel columns(*axis, {Linear(up, nullptr), Linear(gate, nullptr)});
      ColumnParallel::Stash cs;
      const auto ys = columns.forward(context, x, n, &cs);
      expect(gather, "forward by columns, once for both weights");
      columns.backward_input(context, ys, cs);
      expect(scatter, "backward by columns");
      columns.backward_weight(context, cs);
      expect(gather, "weight gradients by columns");
      const RowParallel rows(*axis, down);
      RowParallel::Stash rs;
      const Tensor y = rows.forward(context, ys[0], &rs);
      expect(scatter, "forward by rows");
      rows.backward_input(context, y, rs);
      expect(gather, "backward by rows");
      rows.backward_weight(context, rs);
      expect(gather, "weight gradient by rows");
    });
  }
}

// Marks each product in a log, and tells how often it called `progress` meanwhile.
class MarkedProducts final : public LinearAlgebra {
 public:
  MarkedProducts(const LinearAlgebra& inner, CommLog& log, const int& progress) : inner_(inner), log_(log), progress_(progress) {}
  mutable std::vector<int> progress_of_products;

 private:
  void do_gemm(const Context& context, const GemmOptions& options, const Tensor& a, const Tensor& b,
               const Tensor& c) const override {
    const int before = progress_;
    log_.mark("product");
    inner_.gemm(context, options, a, b, c);
    progress_of_products.push_back(progress_ - before);
  }
  const LinearAlgebra& inner_;
  CommLog& log_;
  const int& progress_;
};

// How many transfers had been posted when each product began.
std::vector<int> posted_before_products(const CommLog& log) {
  std::vector<int> posted;
  int so_far = 0;
  for (const CommRecord& record : log.records()) {
    if (record.kind == CommRecord::Kind::kSendRecvPosted) ++so_far;
    if (record.kind == CommRecord::Kind::kMark) posted.push_back(so_far);
  }
  return posted;
}

// A transfer is under way during each product that can hide one, and long products let it on.
TEST(TensorLayers, HideTransfersUnderProducts) {
  constexpr int kRanks = 3;
  constexpr int64_t kRows = 2100;  // of a piece: more than a strip of a product
  run_in_process(kRanks, [&](Communicator& inner) {
    const auto log = std::make_shared<CommLog>();
    const auto recording = make_recording_communicator(inner, log);
    test::ProgressCounter axis(*recording);
    const Context plain = test::make_context(DType::kFloat32);
    const auto products = std::make_shared<MarkedProducts>(plain.kernels<LinearAlgebra>(), *log, axis.num_calls);
    auto kernels = std::make_shared<KernelSet>("marked");
    add_cpu_kernels(*kernels);
    kernels->add<LinearAlgebra>(products);
    Context context({.device = {}, .compute_dtype = DType::kFloat32, .num_threads = 1, .memory = nullptr, .kernels = kernels});
    ParameterSet set;
    Parameter& up = set.add("up", {2, 3}, Initialization::kNormal);
    Parameter& down = set.add("down", {3, 2}, Initialization::kNormal);
    make(context, set);
    const auto expect = [&](const std::vector<int>& posted, const char* what) {
      EXPECT_EQ(posted_before_products(*log), posted) << what;
      EXPECT_EQ(products->progress_of_products.size(), posted.size());
      // Products of many rows of tokens; gradients of weights sum over them instead.
      const bool many_rows = std::string(what).find("weight") == std::string::npos;
      for (const int calls : products->progress_of_products) EXPECT_GE(calls, many_rows ? 2 : 1) << what;
      products->progress_of_products.clear();
      log->clear();
    };
    const std::vector<int> gathers = {1, 2, 2}, sums = {0, 1, 2};
    ColumnParallel::Stash cs;
    RowParallel::Stash rs;
    const ColumnParallel columns(axis, {Linear(up, nullptr)});
    const RowParallel rows(axis, down);
    const Tensor x = random(context, {kRows, 3}, "x");
    const auto ys = columns.forward(context, x, kRanks * kRows, &cs);
    expect(gathers, "forward by columns");
    const Tensor y = rows.forward(context, ys[0], &rs);
    expect(sums, "forward by rows");
    const Tensor d = rows.backward_input(context, y, rs);
    expect(gathers, "backward by rows");
    rows.backward_weight(context, rs);
    expect(gathers, "weight gradients by rows");
    columns.backward_input(context, {d}, cs);
    expect(sums, "backward by columns");
    columns.backward_weight(context, cs);
    expect(gathers, "weight gradients by columns");
  });
}

TEST(RepeatedHeads, RepeatAndSum) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
    Context context = test::make_context(dtype);
    const RepeatedHeads heads(split_heads(9, 3, 2, 0));  // the first head thrice, the second once
    const Tensor x = random(context, {5, 2, 4}, "x");
    const auto in = test::values(x), out = test::values(heads.repeat(context, x));
    ASSERT_EQ(out.size(), 5u * 4 * 4);
    for (size_t t = 0; t < 5; ++t) {
      for (size_t h = 0; h < 4; ++h) {
        for (size_t i = 0; i < 4; ++i) EXPECT_EQ(out[(t * 4 + h) * 4 + i], in[(t * 2 + (h == 3 ? 1 : 0)) * 4 + i]);
      }
    }
    const auto sums = test::values(heads.sum(context, heads.repeat(context, x)));
    for (size_t i = 0; i < sums.size(); ++i) EXPECT_NEAR(sums[i], in[i] * (i / 4 % 2 == 0 ? 3 : 1), 0.01 * std::abs(sums[i]));
    EXPECT_EQ(RepeatedHeads(split_heads(8, 4, 2, 0)).repeat(context, x).raw(), x.raw());
  }
}

// In the accumulator: 256 + 1 + 1 is 258, but 256 + 1 is 256 in bfloat16, in which each would have been rounded, too.
TEST(RepeatedHeads, SumGradientsAsTheyAre) {
  Context context = test::make_context(DType::kBFloat16);
  const RepeatedHeads heads(split_heads(9, 3, 2, 0));
  const Tensor dy = context.zeros({1, 4, 1}, DType::kFloat32);
  for (const auto& [head, value] : {std::pair<int64_t, float>{0, 256}, {1, 1.0009765625f}, {2, 1.0009765625f}}) {
    dy.data<float>()[head] = value;
  }
  const Tensor dx = heads.sum(context, dy);
  ASSERT_EQ(dx.dtype(), DType::kFloat32);
  EXPECT_EQ(test::values(dx), (std::vector<double>{258.001953125, 0}));
}

}  // namespace
}  // namespace longspan
