// core/tensor: shapes, layouts, tensors and views.
#include "core/tensor/tensor.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/core/expect_error.h"

namespace longspan {
namespace {

using test::expect_error;

// 0, 1, 2 ... in float
Tensor counting(const Shape& shape) {
  auto storage = std::make_shared<std::vector<float>>(static_cast<size_t>(shape.num_elements()));
  for (size_t i = 0; i < storage->size(); ++i) (*storage)[i] = static_cast<float>(i);
  return Tensor(std::shared_ptr<void>(storage, storage->data()), storage->size() * sizeof(float), shape,
                DType::kFloat32);
}

TEST(Shape, CountsComparesAndPrints) {
  EXPECT_EQ(Shape().num_elements(), 1);
  EXPECT_EQ((Shape{2, 3, 4}).num_elements(), 24);
  EXPECT_EQ((Shape{2, 0, 4}).num_elements(), 0);
  EXPECT_EQ((Shape{2, 3}).to_string(), "[2, 3]");
  EXPECT_EQ(Shape().to_string(), "[]");
  EXPECT_FALSE((Shape{2, 3} == Shape{2, 3, 1}));
  EXPECT_FALSE((Shape{2, 3} == Shape{3, 2}));
  expect_error(ErrorKind::kInternal, {"at most 5"}, [] { Shape({1, 1, 1, 1, 1, 1}); });
}

TEST(Layout, RefusesNegativeDims) {
  expect_error(ErrorKind::kInternal, {"[2, -1]"}, [] { Layout::contiguous({2, -1}); });
}

TEST(Tensor, SlicesSelectsAndReshapes) {
  const Tensor t = counting({2, 3, 4});
  EXPECT_EQ((t.view<float, 3>()(1, 2, 3)), 23);
  const Tensor middle = t.slice(1, 1, 3);
  EXPECT_EQ(middle.shape(), (Shape{2, 2, 4}));
  EXPECT_EQ((middle.view<float, 3>()(1, 0, 2)), 18);
  EXPECT_FALSE(middle.layout().is_contiguous());
  const Tensor column = t.select(2, 1);
  EXPECT_EQ(column.shape(), (Shape{2, 3}));
  EXPECT_EQ((column.view<float, 2>()(1, 1)), 17);
  const Tensor flat = t.slice(0, 1, 2).reshape({12});
  EXPECT_EQ(flat.data<float>()[0], 12);
  EXPECT_EQ(flat.storage_id(), t.storage_id());
  EXPECT_EQ(flat.storage_bytes(), 24 * sizeof(float));
  const Tensor odd = counting({7, 2}).slice(0, 1, 6).every(0, 2);
  EXPECT_EQ(odd.shape(), (Shape{3, 2}));
  EXPECT_EQ((odd.view<float, 2>()(2, 1)), 11);
  EXPECT_EQ(t.slice(0, 1, 1).every(0, 3).shape(), (Shape{0, 3, 4}));
}

TEST(Tensor, KnowsWhenItIsContiguous) {
  const Tensor t = counting({4, 6});
  EXPECT_TRUE(t.slice(0, 1, 3).layout().is_contiguous());
  EXPECT_TRUE(t.slice(0, 2, 3).slice(1, 1, 4).layout().is_contiguous());  // one row
  EXPECT_TRUE(t.slice(1, 2, 2).layout().is_contiguous());                 // empty
  EXPECT_FALSE(t.slice(1, 0, 5).layout().is_contiguous());
}

TEST(Tensor, RefusesWhatItDoesNotHold) {
  const Tensor t = counting({4, 6});
  expect_error(ErrorKind::kInternal, {"float32", "bfloat16"}, [&] { t.data<bfloat16>(); });
  expect_error(ErrorKind::kInternal, {"[4, 6]", "3 dims"}, [&] { t.view<float, 3>(); });
  expect_error(ErrorKind::kInternal, {"[4, 5]", "contiguous"}, [&] { t.slice(1, 0, 5).data<float>(); });
  expect_error(ErrorKind::kInternal, {"[1, 5)", "[4, 6]"}, [&] { t.slice(0, 1, 5); });
  expect_error(ErrorKind::kInternal, {"dim 2"}, [&] { t.select(2, 0); });
  expect_error(ErrorKind::kInternal, {"[25]", "[4, 6]"}, [&] { t.reshape({25}); });
  expect_error(ErrorKind::kInternal, {"[4, 5]"}, [&] { t.slice(1, 0, 5).reshape({20}); });
  expect_error(ErrorKind::kInternal, {"without storage"}, [] { Tensor().raw(); });
  expect_error(ErrorKind::kInternal, {"64", "63"},
               [] { Tensor(std::make_shared<std::vector<char>>(63), 63, {16}, DType::kFloat32); });
}

TEST(Tensor, ExpectNamesBothSides) {
  const Tensor t = counting({4, 6});
  expect_error(ErrorKind::kInternal, {"gate", "[4, 6]", "[6, 4]"}, [&] { expect_shape(t, {6, 4}, "gate"); });
  expect_error(ErrorKind::kInternal, {"gate", "missing"}, [&] { expect_shape(Tensor(), {6, 4}, "gate"); });
  expect_error(ErrorKind::kInternal, {"gate", "float32", "int32"},
               [&] { expect_dtype(t, DType::kInt32, "gate"); });
}

TEST(DType, NamesSizesAndAccumulators) {
  EXPECT_EQ(size_bytes(DType::kBFloat16), 2u);
  EXPECT_EQ(size_bytes(DType::kInt64), 8u);
  EXPECT_EQ(name(DType::kUInt8), "uint8");
  EXPECT_EQ(accumulator(DType::kBFloat16), DType::kFloat32);
  EXPECT_EQ(accumulator(DType::kFloat64), DType::kFloat64);
}

}  // namespace
}  // namespace longspan
