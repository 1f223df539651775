#include "core/kernels/rotary.h"

#include "core/kernels/checks.h"

namespace longspan {

void Rotary::rotate(const Context& context, RotaryDirection direction, const Tensor& cosine,
                    const Tensor& sine, const Tensor& x) const {
  expect_floating(x, "x");
  expect_rank(x, 3, "x");
  const int64_t head_dim = x.size(2);
  check(head_dim % 2 == 0, "head_dim is {}, which is odd", head_dim);
  check(head_dim == 0 || x.layout().strides()[2] == 1, "the elements of a head are {} apart, not 1",
        x.layout().strides()[2]);
  expect_dense(cosine, {x.size(0), head_dim / 2}, accumulator(x.dtype()), "cosine");
  expect_dense(sine, {x.size(0), head_dim / 2}, accumulator(x.dtype()), "sine");
  if (x.num_elements() == 0) return;
  do_rotate(context, direction, cosine, sine, x);
}

}  // namespace longspan
