// The table of docs/operations.md: which backend has which operation in which dtypes. Each operation is called on small
// operands in every dtype and either runs or is refused by name; what happened must be what the page says.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <map>
#include <regex>

#include "attention/kernels/block_attention.h"
#include "core/kernels/backends.h"
#include "core/kernels/linear_algebra.h"
#include "tests/core/kernel_cases.h"
#include "tests/house/source_tree.h"
#include "tests/support/emulated_cuda.h"
#include "tests/support/tensors.h"

namespace longspan::test {
namespace {

const std::vector<std::string> kBackends = {"reference", "cpu", "cuda"};

// A family of the cuda backend that only a GPU can run: it is not called here.
const std::string kNotEmulated = "not emulated";
bool is_called(const std::string& backend, const KernelCase& one) {
  return backend != "cuda" || one.family != LinearAlgebra::kName;
}

Context context_of(const std::string& backend, DType dtype) {
  if (backend == "cuda") return emulated_cuda_context(dtype);
  auto kernels = std::make_shared<KernelSet>(backend);
  if (backend == "reference") {
    add_reference_kernels(*kernels);
    add_reference_attention(*kernels);
  } else {
    add_cpu_kernels(*kernels);
    add_cpu_attention(*kernels);
  }
  return Context({.device = {}, .compute_dtype = dtype, .num_threads = 1, .memory = nullptr, .kernels = kernels});
}

// Two tokens of one head, each seeing those up to itself.
struct AttentionCall {
  explicit AttentionCall(const Context& c) {
    const auto make = [&](const char* name) { return random_tensor(c, {2, 1, 4}, c.compute_dtype(), 1, name); };
    block = {.q = make("q"), .k = make("k"), .v = make("v"), .visible = &visible, .scale = 0.5};
    state = {c.zeros({2, 1, 4}, c.accumulator_dtype()), c.zeros({1, 2}, c.accumulator_dtype())};
    gradient = {.doutput = make("dy"),
                .lse = state.lse,
                .delta = c.zeros({1, 2}, c.accumulator_dtype()),
                .dq = c.zeros({2, 1, 4}, c.accumulator_dtype()),
                .dk = c.zeros({2, 1, 4}, c.accumulator_dtype()),
                .dv = c.zeros({2, 1, 4}, c.accumulator_dtype())};
  }
  const std::vector<IndexInterval> intervals = {{0, 1}, {0, 2}};
  const KeyIntervals visible{intervals, {{.start = 0, .stride = 1, .length = 2}}};
  AttentionBlock block;
  AttentionState state;
  AttentionGradient gradient;
};

std::vector<KernelCase> attention_cases() {
  return {{"block attention", "initial_state", {}, [](const Context& c, const std::vector<Tensor>&) {
             c.kernels<BlockAttention>().initial_state(c, 2, 1, 4);
           }},
          {"block attention", "clear", {}, [](const Context& c, const std::vector<Tensor>&) {
             c.kernels<BlockAttention>().clear(c, c.zeros({1, 2}, c.accumulator_dtype()));
           }},
          {"block attention", "forward", {}, [](const Context& c, const std::vector<Tensor>&) {
             const AttentionCall call(c);
             c.kernels<BlockAttention>().forward(c, call.block, call.state);
           }},
          {"block attention", "delta", {}, [](const Context& c, const std::vector<Tensor>&) {
             const AttentionCall call(c);
             c.kernels<BlockAttention>().delta(c, call.state.output, call.gradient.doutput, call.gradient.delta);
           }},
          {"block attention", "backward", {}, [](const Context& c, const std::vector<Tensor>&) {
             const AttentionCall call(c);
             c.kernels<BlockAttention>().backward(c, call.block, call.gradient);
           }}};
}

using Table = std::map<std::pair<std::string, std::string>, std::map<std::string, std::string>>;  // dtypes by backend

// Whether the backend does it; what it cannot do it refuses by name.
bool runs(const std::string& backend, const KernelCase& one, DType dtype) {
  try {
    run_case(context_of(backend, dtype), one, dtype);
    return true;
  } catch (const Error& e) {
    const std::string text = e.what(), refusal = fmt::format("backend {} has no {} kernels for ", backend, one.family);
    EXPECT_EQ(e.kind(), ErrorKind::kConfiguration) << text;
    // Some of a call's tensors are in the accumulator, and any may be the one that is named.
    EXPECT_TRUE(text.starts_with(refusal + std::string(name(dtype))) ||
                text.starts_with(refusal + std::string(name(accumulator(dtype)))))
        << one.name << ": " << text;
    return false;
  }
}

// A case's name begins with its operation's.
std::string operation_of(const KernelCase& one) { return one.name.substr(0, one.name.find(' ')); }

Table measured() {
  std::vector<KernelCase> cases = kernel_cases(2, 4);
  for (const KernelCase& one : attention_cases()) cases.push_back(one);
  cases.push_back(gemm_cases(2, 2, 2).front());
  cases.push_back({"linear algebra", "pack", {{{2, 2}}}, [](const Context& c, const std::vector<Tensor>& t) {
                     c.kernels<LinearAlgebra>().pack(c, Transpose::kYes, t.at(0));
                   }});
  Table table;
  for (const std::string& backend : kBackends) {
    for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16}) {
      std::map<std::pair<std::string, std::string>, bool> all;  // every case of an operation must run
      for (const KernelCase& one : cases) {
        const auto key = std::pair(one.family, operation_of(one));
        if (!is_called(backend, one)) {
          table[key][backend] = kNotEmulated;
          continue;
        }
        const bool ran = runs(backend, one, dtype);
        all[key] = ran && (!all.contains(key) || all[key]);
      }
      for (const auto& [key, ran] : all) {
        std::string& cell = table[key][backend];
        if (ran) cell += (cell.empty() ? "" : ", ") + std::string(name(dtype));
      }
    }
  }
  return table;
}

TEST(Operations, AreThoseOfThePage) {
  const Table table = measured();
  Table page;
  for (const auto& row : table_in(project_root() / "docs/operations.md", "family")) {
    for (size_t i = 0; i < kBackends.size(); ++i) page[{row.at(0), row.at(1)}][kBackends[i]] = row.at(2 + i);
  }
  for (const auto& [key, cells] : table) {
    std::string row = fmt::format("| {} | `{}` |", key.first, key.second);
    for (const std::string& backend : kBackends) row += fmt::format(" {} |", cells.at(backend));
    fmt::print("{}\n", row);
    EXPECT_EQ(page[key], cells) << "docs/operations.md should say\n" << row;
  }
  EXPECT_EQ(page.size(), table.size()) << "docs/operations.md names an operation that is none";
}

// An operation of a family's header that no case calls would be missing in the table.
TEST(Operations, OfTheHeadersAreAllInTheTable) {
  const std::regex declaration(R"((\w+)\(const Context& context\b)");
  std::set<std::string> declared, in_table;
  for (const std::string& file : sources_below({"core/kernels", "attention/kernels"})) {
    const std::string folder = file.substr(0, file.rfind('/'));
    if (!file.ends_with(".h") || (folder != "core/kernels" && folder != "attention/kernels")) continue;
    const std::string text = text_of(project_root() / file);
    for (std::sregex_iterator it(text.begin(), text.end(), declaration), end; it != end; ++it) {
      const std::string operation = (*it)[1];
      const bool computes = operation != "gradient_over";  // only says where a result goes
      if (computes && !operation.starts_with("do_")) declared.insert(operation);
    }
  }
  for (const auto& [key, cells] : measured()) in_table.insert(key.second);
  EXPECT_EQ(declared, in_table);
}

}  // namespace
}  // namespace longspan::test
