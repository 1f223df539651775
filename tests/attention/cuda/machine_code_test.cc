// What nvcc made of every kernel, for Ampere and for Hopper, held to what the kernels were written for. It needs no GPU, and
// cannot say how fast anything is; but a spill, a product without matrix instructions or a copy that goes word by word shows
// here.
#include "tests/support/machine_code.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <set>

namespace longspan::test {
namespace {

// Of one kernel. Nothing is ever spilt, and registers leave room for `blocks` of `threads` on a multiprocessor. Instructions that
// do the work are there as often as given, exactly in products (another number is a loop taken apart differently), at least so
// often in loads and stores.
struct Expected {
  const char *file, *kernel;
  int threads, blocks;
  Instructions exactly, at_least = {};
};

// The smallest number of blocks that hides latency, and that shared memory leaves room for too.
constexpr int kRowThreads = 256, kRowBlocks = 4;
Expected copies(const char* file, const char* kernel, int loads, int stores) {
  Instructions wide = {{"LDG.128", loads}};
  if (stores > 0) wide["STG.128"] = stores;
  return {file, kernel, kRowThreads, kRowBlocks, {}, wide};
}
Expected products(const char* file, const char* kernel, int blocks, int products, int loads, int copies) {
  return {file, kernel, 128, blocks, {{"HMMA", products}, {"LDSM", loads}, {"LDGSTS", copies}}};
}

const std::vector<Expected>& table() {
  static const std::vector<Expected> rows = {
      products("matrix_forward", "forward_kernel<64, 1>", 4, 64, 36, 5),
      products("matrix_forward", "forward_kernel<64, 2>", 2, 128, 40, 5),
      products("matrix_forward", "forward_kernel<96, 1>", 3, 96, 54, 5),
      products("matrix_forward", "forward_kernel<96, 2>", 2, 192, 60, 5),
      products("matrix_forward", "forward_kernel<128, 1>", 3, 128, 72, 5),
      products("matrix_forward", "forward_kernel<128, 2>", 2, 128, 48, 5),
      products("matrix_forward", "forward_kernel<192, 1>", 3, 96, 60, 5),
      products("matrix_forward", "forward_kernel<256, 1>", 2, 128, 80, 5),
      products("matrix_backward", "backward_queries_kernel<64>", 3, 96, 56, 6),
      products("matrix_backward", "backward_queries_kernel<96>", 3, 144, 84, 6),
      products("matrix_backward", "backward_queries_kernel<128>", 2, 192, 112, 6),
      products("matrix_backward", "backward_keys_kernel<64>", 2, 128, 72, 6),
      products("matrix_backward", "backward_keys_kernel<96>", 2, 96, 60, 6),
      products("matrix_backward", "backward_keys_kernel<128>", 2, 128, 80, 6),
      copies("state", "fill_kernel<4>", 0, 1),
      copies("state", "delta_kernel<bfloat16, bfloat16, 8>", 2, 0),
      copies("state", "delta_kernel<bfloat16, float, 8>", 3, 0),
      copies("state", "delta_kernel<float, bfloat16, 8>", 3, 0),
      copies("state", "delta_kernel<float, float, 8>", 4, 0),
      copies("activation", "swiglu_forward_kernel<bfloat16, 8>", 2, 1),
      copies("activation", "swiglu_forward_kernel<float, 4>", 2, 1),
      copies("activation", "swiglu_backward_kernel<bfloat16, 8>", 3, 2),
      copies("activation", "swiglu_backward_kernel<float, 4>", 3, 2),
      copies("elementwise", "row_sums_kernel<8, RowElements<bfloat16> >", 1, 0),
      copies("elementwise", "row_sums_kernel<4, RowElements<float> >", 1, 0),
      copies("elementwise", "add_kernel<bfloat16, bfloat16, bfloat16, 8>", 2, 1),
      copies("elementwise", "add_kernel<bfloat16, float, float, 8>", 3, 2),
      copies("elementwise", "add_kernel<float, float, float, 4>", 2, 1),
      copies("elementwise", "convert_kernel<bfloat16, bfloat16, 8>", 1, 1),
      copies("elementwise", "convert_kernel<bfloat16, float, 8>", 1, 2),
      copies("elementwise", "convert_kernel<float, bfloat16, 4>", 1, 0),  // four bfloat16 are 8 bytes
      copies("elementwise", "convert_kernel<float, float, 4>", 1, 1),
      copies("elementwise", "add_bias_kernel<bfloat16, 8>", 2, 1),
      copies("elementwise", "add_bias_kernel<float, 4>", 2, 1),
      copies("embedding", "gather_kernel<bfloat16, 8>", 1, 1),
      copies("embedding", "gather_kernel<float, 4>", 1, 1),
      copies("embedding", "scatter_add_kernel<bfloat16, 8>", 3, 2),
      copies("embedding", "scatter_add_kernel<float, 4>", 2, 1),
      copies("loss", "cross_entropy_kernel<bfloat16, 8, false>", 2, 0),
      copies("loss", "cross_entropy_kernel<bfloat16, 8, true>", 4, 1),
      copies("loss", "cross_entropy_kernel<float, 4, false>", 1, 0),
      copies("loss", "cross_entropy_kernel<float, 4, true>", 2, 1),
      copies("loss", "partial_kernel<8>", 2, 0),
      copies("loss", "partial_kernel<4>", 1, 0),
      copies("loss", "gradient_kernel<bfloat16, 8>", 2, 1),
      copies("loss", "gradient_kernel<float, 4>", 1, 1),
      copies("normalization", "row_sums_kernel<8, WeightGradient<bfloat16> >", 2, 0),
      copies("normalization", "row_sums_kernel<4, WeightGradient<float> >", 2, 0),
      copies("normalization", "rms_norm_forward_kernel<bfloat16, 8, false>", 3, 1),
      copies("normalization", "rms_norm_forward_kernel<bfloat16, 8, true>", 5, 2),
      copies("normalization", "rms_norm_forward_kernel<float, 4, false>", 3, 1),
      copies("normalization", "rms_norm_forward_kernel<float, 4, true>", 5, 2),
      copies("normalization", "rms_norm_backward_kernel<bfloat16, 8, false>", 6, 1),
      copies("normalization", "rms_norm_backward_kernel<bfloat16, 8, true>", 7, 1),
      copies("normalization", "rms_norm_backward_kernel<float, 4, false>", 6, 1),
      copies("normalization", "rms_norm_backward_kernel<float, 4, true>", 7, 1),
      copies("optimizer", "adamw_kernel<bfloat16, 4>", 4, 3),
      copies("optimizer", "adamw_kernel<float, 4>", 4, 4),
      copies("optimizer", "sum_of_squares_kernel<bfloat16, 8>", 1, 0),
      copies("optimizer", "sum_of_squares_kernel<float, 4>", 1, 0),
      copies("rotary", "rotate_kernel<bfloat16, 8>", 6, 2),
      copies("rotary", "rotate_kernel<float, 4>", 4, 2),
  };
  return rows;
}

// Kernels for what is not aligned, one element at a time, and those in fp32 without matrix instructions: only that nothing is
// spilt.
bool is_plain(const std::string& file, const std::string& kernel) {
  if (file.starts_with("matrix")) return false;
  return file == "plain" || kernel.find("<1>") != std::string::npos || kernel.find("<1, ") != std::string::npos ||
         kernel.find(", 1>") != std::string::npos || kernel.find(", 1, ") != std::string::npos || kernel == "add_parts_kernel" ||
         kernel == "combine_kernel";
}

// What is wrong with a kernel, empty if nothing.
std::string complaints(const MachineKernel& kernel, const Expected& expected) {
  constexpr int kRegisters = 65536, kRegisterStep = 8, kReservedSharedBytes = 1024;  // those Hopper keeps for itself
  std::string wrong;
  const auto count = [&](const std::string& name) {
    const auto found = kernel.instructions.find(name);
    return found == kernel.instructions.end() ? 0 : found->second;
  };
  if (kernel.stack_bytes > 0) wrong += fmt::format("{} bytes of stack; ", kernel.stack_bytes);
  for (const char* spill : {"LDL", "STL"})
    if (count(spill) > 0) wrong += fmt::format("{} {}; ", count(spill), spill);
  if (kernel.static_shared_bytes > kReservedSharedBytes) {
    wrong += fmt::format("{} bytes of static shared memory; ", kernel.static_shared_bytes);
  }
  if (kernel.most_threads > 0 && kernel.most_threads < expected.threads) {
    wrong += fmt::format("bounds of {} threads; ", kernel.most_threads);
  }
  const int of_thread = (kernel.registers + kRegisterStep - 1) / kRegisterStep * kRegisterStep;
  if (kernel.registers == 0 || of_thread * expected.threads * expected.blocks > kRegisters)
    wrong += fmt::format("{} registers, where {} blocks of {} threads have {}; ", kernel.registers, expected.blocks,
                         expected.threads, kRegisters);
  for (const auto& [name, wanted] : expected.exactly)
    if (count(name) != wanted) wrong += fmt::format("{} {} instead of {}; ", count(name), name, wanted);
  for (const auto& [name, wanted] : expected.at_least)
    if (count(name) < wanted) wrong += fmt::format("{} {}, at least {} expected; ", count(name), name, wanted);
  return wrong;
}

struct Named {
  std::string file;
  MachineKernel kernel;
};

std::vector<Named> all_kernels() {
  std::vector<Named> kernels;
  std::ifstream list(LS_CUDA_OBJECTS);
  for (std::string path; std::getline(list, path);) {
    constexpr const char* kEnd = ".cu.o";
    if (!path.ends_with(kEnd)) continue;
    std::ifstream object(path, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(object), {}};
    const std::string name = path.substr(path.rfind('/') + 1);
    for (MachineKernel& kernel : read_machine_code({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}))
      kernels.push_back({name.substr(0, name.size() - std::strlen(kEnd)), std::move(kernel)});
  }
  return kernels;
}

TEST(MachineCode, OfEveryKernel) {
  if (std::strlen(LS_CUDA_OBJECTS) == 0) {
    GTEST_SKIP() << "the CUDA backend is not built here: nvcc made nothing that could be read";
  }
  const std::vector<Named> kernels = all_kernels();
  std::map<const Expected*, std::set<int>> met;
  for (const auto& [file, kernel] : kernels) {
    SCOPED_TRACE(fmt::format("{}.cu, sm_{}: {}", file, kernel.architecture, kernel.name));
    const Expected* expected = nullptr;
    for (const Expected& row : table())
      if (file == row.file && kernel.name == row.kernel) expected = &row;
    if (expected) met[expected].insert(kernel.architecture);
    const Expected plain = {"", "", kernel.most_threads > 0 ? kernel.most_threads : kRowThreads, 1, {}};
    EXPECT_TRUE(expected || is_plain(file, kernel.name)) << "this kernel is not in the table";
    EXPECT_EQ(complaints(kernel, expected ? *expected : plain), "");
  }
  for (const Expected& row : table())
    EXPECT_EQ(met[&row], (std::set<int>{80, 90})) << row.file << ": " << row.kernel << " is not there for each GPU";
}

// One instruction of 16 bytes.
void add_instruction(std::vector<uint8_t>& code, uint64_t low, uint64_t high = 0) {
  for (const uint64_t word : {low, high})
    for (int byte = 0; byte < 8; ++byte) code.push_back(static_cast<uint8_t>(word >> 8 * byte));
}

// Encodings as nvdisasm shows them beside their names.
TEST(MachineCode, InstructionsAreCounted) {
  std::vector<uint8_t> code;
  add_instruction(code, 0x00000068645c723c, 0x000ff000000418ff);  // HMMA.16816.F32.BF16
  add_instruction(code, 0x00000000222b7fae, 0x000fea0000000200);  // LDGSTS
  add_instruction(code, 0x0000000401007387);                      // STL.128
  add_instruction(code, 0x0000040606107981, 0x000362000c1e1900);  // LDG.E
  add_instruction(code, 0x000004060610a981, 0x000362000c1e1d00);  // @P2 LDG.E.128
  add_instruction(code, 0x0000000000007918);                      // NOP
  EXPECT_EQ(count_instructions(code), (Instructions{{"HMMA", 1}, {"LDGSTS", 1}, {"STL", 1}, {"LDG", 2}, {"LDG.128", 1}}));
}

// Each fault alone is found, and the kernel without faults has none.
TEST(MachineCode, FaultsAreFound) {
  const Expected expected = {"", "", 128, 2, {{"HMMA", 64}}, {{"LDG.128", 2}}};
  const MachineKernel sound = {.name = "sound",
                               .architecture = 80,
                               .registers = 255,
                               .static_shared_bytes = 1024,
                               .most_threads = 128,
                               .instructions = {{"HMMA", 64}, {"LDG", 9}, {"LDG.128", 3}}};
  EXPECT_EQ(complaints(sound, expected), "");
  const auto complaint = [&](auto spoil) {
    MachineKernel kernel = sound;
    spoil(kernel);
    return complaints(kernel, expected);
  };
  EXPECT_EQ(complaint([](MachineKernel& k) { k.instructions["LDL"] = 3; }), "3 LDL; ");
  EXPECT_EQ(complaint([](MachineKernel& k) { k.instructions["STL"] = 1; }), "1 STL; ");
  EXPECT_EQ(complaint([](MachineKernel& k) { k.stack_bytes = 16; }), "16 bytes of stack; ");
  EXPECT_EQ(complaint([](MachineKernel& k) { k.static_shared_bytes = 2048; }), "2048 bytes of static shared memory; ");
  EXPECT_EQ(complaint([](MachineKernel& k) { k.registers = 257; }), "257 registers, where 2 blocks of 128 threads have 65536; ");
  EXPECT_EQ(complaint([](MachineKernel& k) { k.registers = 0; }), "0 registers, where 2 blocks of 128 threads have 65536; ");
  EXPECT_EQ(complaint([](MachineKernel& k) { k.most_threads = 64; }), "bounds of 64 threads; ");
  EXPECT_EQ(complaint([](MachineKernel& k) { k.instructions.erase("HMMA"); }), "0 HMMA instead of 64; ");
  EXPECT_EQ(complaint([](MachineKernel& k) { k.instructions["LDG.128"] = 1; }), "1 LDG.128, at least 2 expected; ");
}

TEST(MachineCode, OtherFilesAreRefused) {
  const std::vector<uint8_t> words(4096, 'x');
  EXPECT_THROW(read_machine_code(words), std::runtime_error);
  EXPECT_THROW(read_machine_code({}), std::runtime_error);
  std::ifstream self("/proc/self/exe", std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(self), {}};
  EXPECT_THROW(read_machine_code({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}), std::runtime_error);
}

}  // namespace
}  // namespace longspan::test
