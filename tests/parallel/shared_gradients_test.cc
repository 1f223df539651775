// Gradients of what several ranks hold: summed once over those that hold it, counted once in a norm.
#include "parallel/tensor/shared_gradients.h"

#include <gtest/gtest.h>

#include "parallel/comm/backends.h"
#include "parallel/tensor/head_split.h"
#include "tests/support/reference_context.h"
#include "tests/support/tensors.h"

namespace longspan {
namespace {

constexpr int64_t kHeads = 9, kKvHeads = 3, kColumns = 2, kNorm = 5;

Box rows(const Shape& whole, const TensorPiece& piece) { return Box::slice_of(whole, 0, piece.begin, piece.end); }

// A norm, a plain matrix, and one of key heads between two plain ones.
void add_parameters(ParameterSet& set, int num_ranks, int rank) {
  Parameter& norm = set.add("norm", {kNorm}, Initialization::kOnes);
  norm.shared = {norm.box};
  if (rank > 0) norm.counted = rows(norm.shape, {0, 0});
  const Shape matrix = {kHeads, kColumns}, keys = {kKvHeads, kColumns};
  set.add("q", rows(matrix, tensor_piece_of(kHeads, num_ranks, rank)), Initialization::kNormal);
  const HeadSplit split = split_heads(kHeads, kKvHeads, num_ranks, rank);
  Parameter& kv = set.add("k", rows(keys, split.kv), Initialization::kNormal);
  for (const TensorPiece& heads : shared_kv_heads(kHeads, kKvHeads, num_ranks)) kv.shared.push_back(rows(keys, heads));
  kv.counted = rows(keys, split.counted_kv);
  set.add("up", rows(matrix, tensor_piece_of(kHeads, num_ranks, rank)), Initialization::kNormal);
}

// What a rank has of an element before the sum: of row i and column j of a parameter.
double part_of(const std::string& name, int64_t i, int64_t j, int rank) {
  const bool shared = name == "norm" || name == "k";
  return static_cast<double>(name.size() * 1000 + static_cast<size_t>(10 * i + j)) * (shared ? rank + 1 : 1);
}

bool holds(int num_ranks, int rank, const std::string& name, int64_t row) {
  if (name == "norm") return true;
  const HeadSplit split = split_heads(kHeads, kKvHeads, num_ranks, rank);
  return split.kv.begin <= row && row < split.kv.end;
}

double sum_of(int num_ranks, const std::string& name, int64_t i, int64_t j) {
  if (name != "norm" && name != "k") return part_of(name, i, j, 0);
  double sum = 0;
  for (int rank = 0; rank < num_ranks; ++rank) sum += holds(num_ranks, rank, name, i) ? part_of(name, i, j, rank) : 0;
  return sum;
}

template <class Visit>
void for_each_element(const Parameter& p, Visit visit) {
  const int64_t columns = p.box.whole.rank() == 1 ? 1 : p.shape[1];
  for (int64_t i = 0; i < p.shape[0]; ++i) {
    for (int64_t j = 0; j < columns; ++j) visit(p.box.begin[0] + i, j, p.gradient.data<double>()[i * columns + j]);
  }
}

TEST(SharedGradients, AreSummedAndCountedOnce) {
  for (int num_ranks = 1; num_ranks <= 8; ++num_ranks) {
    SCOPED_TRACE(fmt::format("{} ranks", num_ranks));
    double want = 0;
    for (const auto& [name, count, columns] : {std::tuple<std::string, int64_t, int64_t>{"norm", kNorm, 1},
                                               {"q", kHeads, kColumns},
                                               {"k", kKvHeads, kColumns},
                                               {"up", kHeads, kColumns}}) {
      for (int64_t i = 0; i < count; ++i) {
        for (int64_t j = 0; j < columns; ++j) want += sum_of(num_ranks, name, i, j) * sum_of(num_ranks, name, i, j);
      }
    }
    run_in_process(num_ranks, [&](Communicator& inner) {
      const auto log = std::make_shared<CommLog>();
      const auto axis = make_recording_communicator(inner, log);
      Context context = test::make_context(DType::kFloat64);
      ParameterSet set;
      add_parameters(set, num_ranks, axis->rank());
      set.materialize(context, ParameterSet::Purpose::kTraining);
      for (const auto& p : set.all()) {
        for_each_element(*p, [&](int64_t i, int64_t j, double& g) { g = part_of(p->name, i, j, axis->rank()); });
      }
      SharedGradients shared(*axis, set);
      shared.reduce(context);
      int64_t summed = kNorm;
      for (const TensorPiece& heads : shared_kv_heads(kHeads, kKvHeads, num_ranks)) summed += heads.size() * kColumns;
      EXPECT_EQ(shared.num_elements(), summed);
      const auto records = log->records();
      ASSERT_EQ(records.size(), num_ranks == 1 ? 0u : 1u);
      for (const CommRecord& record : records) {
        EXPECT_EQ(record.kind, CommRecord::Kind::kAllReduce);
        EXPECT_EQ(record.bytes_sent + record.bytes_received, 2 * 8 * static_cast<size_t>(summed));
      }
      for (const auto& p : set.all()) {
        for_each_element(*p, [&](int64_t i, int64_t j, double g) { EXPECT_EQ(g, sum_of(num_ranks, p->name, i, j)) << p->name; });
      }
      const Tensor squares = context.zeros({1}, DType::kFloat64);
      for (const TensorPiece& range : counted_ranges(set)) {
        for (int64_t i = range.begin; i < range.end; ++i) {
          const double g = set.gradients().data<double>()[i];
          *squares.data<double>() += g * g;
        }
      }
      if (num_ranks == 1) {
        EXPECT_EQ(counted_ranges(set).size(), 1u);
      }
      inner.all_reduce(context.stream(), squares, ReduceOp::kSum);
      EXPECT_EQ(*squares.data<double>(), want);
    });
  }
}

}  // namespace
}  // namespace longspan
