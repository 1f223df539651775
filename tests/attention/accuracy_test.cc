// How exact every level is, over random and adversarial inputs (tests/attention/accuracy.h says what is held to what). Each
// test prints its figures: for bf16 the error over that of an exact softmax on rounded inputs, for fp32 the error itself.
#include "tests/attention/accuracy.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "attention/kernels/key_factors.h"
namespace longspan {
namespace {

using test::AccuracyTable;
using test::Inputs;
using test::Problem;
using Kind = Problem::Kind;

using Parts = std::set<std::string>;
const Parts kQueriesAndKeys = {"dQ", "dK"};

// Where all scores are small, LSE is the logarithm of the number of keys.
const Parts kLogSumExp = {"LSE"};

// Where a case takes seconds, as in the emulator: fewer of them, and smaller.
bool slow() { return test::context_makers().front().slow; }

TEST(Accuracy, OfEveryHeadSize) {
  AccuracyTable table;
  const int64_t elements = slow() ? 512 : 4096;
  for (const int64_t head_dim : {1, 16, 64, 80, 128}) {
    for (const int64_t n : {1, 2, 17, 64, 131, 257}) {
      if (slow() && (n == 64 || n > 131)) continue;
      const int64_t num_heads = std::max<int64_t>(1, elements / n / head_dim);
      table.expect_accurate({.name = fmt::format("{} x {}", n, head_dim),
                             .problem = {n, n, num_heads, num_heads, head_dim},
                             .cancels = test::parts_that_cancel(n)},
                            1);
    }
    if (!slow()) table.expect_accurate({fmt::format("307 x {}", head_dim), {307, 307, 1, 1, head_dim}}, 2);
  }
  if (slow()) {  // the widths of matrix kernels, and what none of them takes
    for (const int64_t head_dim : {40, 96, 100, 192, 256}) {
      table.expect_accurate({fmt::format("70 x {}", head_dim), {70, 70, 1, 1, head_dim}}, 2);
    }
  }
  table.conclude("head sizes");
}

TEST(Accuracy, OfEveryMaskAndGrouping) {
  AccuracyTable table;
  const char* names[] = {"causal", "full", "documents", "window", "scattered"};
  for (const Kind kind : {Kind::kCausal, Kind::kFull, Kind::kDocuments, Kind::kWindow, Kind::kScattered}) {
    for (const auto& [heads, kv_heads] : {std::pair<int64_t, int64_t>{2, 2}, {4, 2}, {5, 1}}) {
      if (slow() && heads < 5) continue;
      const auto title = fmt::format("{} {}/{}", names[static_cast<int>(kind)], heads, kv_heads);
      if (slow()) {
        table.expect_accurate({title, {70, 131, heads, kv_heads, 24, kind}}, 3);
        table.expect_accurate({title + " short", {97, 35, heads, kv_heads, 33, kind}}, 4);
        continue;
      }
      table.expect_accurate({title, {139, 251, heads, kv_heads, 20, kind}}, 3);
      table.expect_accurate({title + " short", {211, 67, heads, kv_heads, 33, kind}}, 4);  // the first rows see nothing
    }
  }
  table.conclude("masks and groups");
}

// Inputs whose first dimension carries a logit for each key, of size 4 x 1/4.
template <double (*kLogit)(int64_t)>
void with_logits(const Inputs& t) {
  for (int64_t i = 0; i < t.q.size(0); ++i) t.q.view<float, 3>()(i, 0, 0) = 4;
  for (int64_t j = 0; j < t.k.size(0); ++j) t.k.view<float, 3>()(j, 0, 0) = static_cast<float>(kLogit(j));
}
double growing(int64_t j) { return 0.5 * static_cast<double>(j); }
double growing_slowly(int64_t j) { return 0.03 * static_cast<double>(j); }
double falling(int64_t j) { return -0.5 * static_cast<double>(j); }
double steps(int64_t j) { return 7.9 * static_cast<double>(j / 64); }  // of which no block alone needs a new maximum
double one_hot(int64_t j) { return j % 131 == 130 ? 500 : 0; }
double cliff(int64_t j) { return j < 200 ? -3000 : 3000; }
double deep(int64_t) { return -600; }

void outlier_keys(const Inputs& t) {
  for (int64_t j = 5; j < t.k.size(0); j += 97) {
    for (int64_t d = 0; d < t.k.size(2); ++d) t.k.view<float, 3>()(j, 0, d) *= 30;
  }
}
void outlier_values(const Inputs& t) {
  for (int64_t j = 5; j < t.v.size(0); j += 97) {
    for (int64_t d = 0; d < t.v.size(2); ++d) t.v.view<float, 3>()(j, 0, d) *= 1000;
  }
}
void outlier_dimension(const Inputs& t) {
  for (int64_t i = 0; i < t.q.size(0); ++i) t.q.view<float, 3>()(i, 0, 3) *= 50;
  for (int64_t j = 0; j < t.k.size(0); ++j) t.k.view<float, 3>()(j, 0, 3) *= 10;
}
void keys_alike(const Inputs& t) {
  for (int64_t j = 1; j < t.k.size(0); ++j) std::copy_n(t.k.data<float>(), t.k.size(2), &t.k.view<float, 3>()(j, 0, 0));
}
void values_alike(const Inputs& t) {
  for (int64_t j = 1; j < t.v.size(0); ++j) std::copy_n(t.v.data<float>(), t.v.size(2), &t.v.view<float, 3>()(j, 0, 0));
}
void tiny_gradients(const Inputs& t) {
  for (int64_t i = 0; i < t.dy.num_elements(); ++i) t.dy.data<float>()[i] *= 1e-20f;
}

TEST(Accuracy, OfAdversarialInputs) {
  AccuracyTable table;
  struct Shape {
    const char* title;
    void (*shape)(const Inputs&);
    Parts cancels = {};
  };
  bool pieces = false;  // where slow, cases are taken in turn in one piece and in several
  // Of large numbers that many keys share, dQ is a multiple of their sum of ds, which is 0. Where one p is 1 to the last bit, or
  // all values are alike, ds is 0.
  const Shape shapes[] = {{"growing", with_logits<growing>},
                          {"growing slowly", with_logits<growing_slowly>},
                          {"falling", with_logits<falling>},
                          {"steps", with_logits<steps>, {"dQ"}},
                          {"one-hot", with_logits<one_hot>, kQueriesAndKeys},
                          {"cliff", with_logits<cliff>, {"dQ"}},
                          {"deep", with_logits<deep>, {"dQ"}},
                          {"outlier keys", outlier_keys},
                          {"outlier values", outlier_values},
                          {"outlier dimension", outlier_dimension},
                          {"values alike", values_alike, kQueriesAndKeys},
                          {"tiny gradients", tiny_gradients}};
  for (const Kind kind : {Kind::kCausal, Kind::kFull}) {
    if (slow() && kind == Kind::kFull) continue;
    for (const auto& [title, shape, cancels] : shapes) {
      pieces = !pieces;
      table.expect_accurate({.name = title,
                             .problem = {200, 301, 1, 1, 16, kind},
                             .shape = shape,
                             .whole = !slow() || !pieces,
                             .pieces = !slow() || pieces,
                             .cancels = cancels},
                            5);
    }
    for (const double scale : {0.001, 0.1}) {
      table.expect_accurate({.name = fmt::format("logits x {}", scale),
                             .problem = {130, 201, slow() ? 2 : 8, slow() ? 1 : 4, 64, kind, scale},
                             .cancels = kLogSumExp},
                            6);
    }
    for (const double scale : {4.0, 20.0, 300.0}) {
      table.expect_accurate({fmt::format("logits x {}", scale), {slow() ? 64 : 130, 201, 2, 1, 32, kind, scale}}, 6);
    }
  }
  // Without a mask every p would be one number, and all would hang on how far that is from a bfloat16.
  table.expect_accurate({.name = "keys alike",
                         .problem = {slow() ? 150 : 300, slow() ? 257 : 401, 1, 1, 16, Kind::kCausal},
                         .shape = keys_alike,
                         .cancels = {"dQ"}},
                        5);
  table.conclude("adversarial inputs");
}

// Whatever p is, of queries that spread evenly over keys, rounding p times the keys' factors costs no more than is allowed beside
// what rounding the inputs does; nor where it is a power of two and one key's alone.
TEST(Accuracy, OfWeightsTimesTheirKeysFactors) {
  const auto error = [](double x) { return static_cast<float>(bfloat16(static_cast<float>(x))) / x - 1; };
  constexpr double kOfInputs = 0.425 * 0x1p-8, kMost = 1.5;
  double worst = 0;
  for (int i = 0; i < 16384; ++i) {
    double squares = 0;
    for (const float factor : kFactorOfKey) squares += std::pow(error((1 + i / 16384.0) * factor), 2);
    worst = std::max(worst, std::hypot(1, std::sqrt(squares / kKeyFactors) / kOfInputs));
  }
  EXPECT_LE(worst, kMost);
  for (const float factor : kFactorOfKey) EXPECT_LE(std::hypot(1, error(factor) / kOfInputs), kMost) << factor;
  EXPECT_EQ(kFactorOfKey[0], 1);
}

// All p of a query are close to one number, which may be where rounding is coarsest, or off by the same: just above a power of
// two, or above that over a constant that a kernel could multiply p with.
TEST(Accuracy, OfEvenWeights) {
  AccuracyTable table;
  uint64_t seed = 1;
  for (const Kind kind : {Kind::kCausal, Kind::kFull}) {
    for (const int64_t n : {127, 180, 200, 220, 250, 255, 260, 320, 448, 511}) {
      if (slow() && n != 127 && n != 220 && n != 255) continue;
      for (const double scale : {0.001, 0.03}) {
        if (slow() && (scale < 0.01) != (kind == Kind::kFull)) continue;
        const auto title = fmt::format("{} {} x {}", kind == Kind::kFull ? "full" : "causal", n, scale);
        table.expect_accurate({.name = title,
                               .problem = {n, n, 2, 2, 32, kind, scale},
                               .cancels = kLogSumExp,
                               .few_numbers = {"O", "dV"}},
                              seed++);
      }
    }
  }
  table.conclude("even weights");
}

}  // namespace
}  // namespace longspan
