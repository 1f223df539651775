// Sources of GPU kernels are for two machines (core/kernels/cuda/ptx/device.h). What would run on a GPU but not, or unseen, in
// the emulator stands in the layer of PTX alone, as far as a regular expression can see.
#include <gtest/gtest.h>

#include <regex>
#include <set>

#include "tests/house/source_tree.h"

namespace longspan::test {
namespace {

const std::string kLayer = "core/kernels/cuda/ptx/";
const std::vector<std::string> kFolders = {"core/kernels/cuda", "attention/kernels/cuda", "tests/core/cuda",
                                           "tests/attention/cuda"};

std::vector<std::string> kernel_sources() {
  std::vector<std::string> files = sources_below(kFolders);
  std::erase_if(files, [](const std::string& file) { return file.starts_with(kLayer); });
  return files;
}

std::string code_of(const std::string& text) { return std::regex_replace(text, std::regex(R"(//[^\n]*)"), ""); }

const std::regex& words_of_the_layer() {
  static const std::regex pattern(
      R"(\b(asm|__asm__|__shared__|__constant__|__device__|__CUDA_ARCH__)\b)"
      R"(|\b(cooperative_groups|cuda_bf16|cuda_fp16|threadIdx|blockIdx|blockDim|gridDim|volatile)\b|<<<)"
      R"(|\b(__sync|__shfl|__ballot|__any_sync|__all_sync|__activemask|__match|__reduce)\w*)"
      R"(|\b(__threadfence|__nanosleep|__ldg|__ldc|__stc|__cvta|__trap|clock64)\w*)"
      R"(|\batomic[A-Z]\w*\s*\(|\b(printf|assert|malloc|free|new)\s*\()");
  return pattern;
}

struct DeviceFunction {
  std::set<std::string> pointers;  // its parameters that are
  std::string body;
};

// Kernels, and what they call.
std::vector<DeviceFunction> device_functions(const std::string& code) {
  static const std::regex head(
      R"((?:__global__|LS_DEVICE)[^(;{]*(?:__launch_bounds__\([^{;]*?\)[^(;{]*)?\(([^)]*)\)\s*(?:const\s*)?\{)"),
      pointer(R"(\*\s*(?:const\s+)?(\w+)\s*(?=,|$))");
  std::vector<DeviceFunction> functions;
  for (std::sregex_iterator it(code.begin(), code.end(), head), end; it != end; ++it) {
    DeviceFunction function;
    const std::string parameters = (*it)[1];
    for (std::sregex_iterator p(parameters.begin(), parameters.end(), pointer); p != end; ++p) function.pointers.insert((*p)[1]);
    const auto begin = static_cast<size_t>(it->position() + it->length());
    size_t last = begin;
    for (int depth = 1; last < code.size() && depth > 0; ++last) depth += (code[last] == '{') - (code[last] == '}');
    function.body = code.substr(begin, last - begin);
    functions.push_back(function);
  }
  return functions;
}

// Places where a function reads or writes memory without the layer, which the emulator does not see.
std::vector<std::string> raw_accesses(const DeviceFunction& function) {
  static const std::string unary = R"((?:[=({,;?:]|return)\s*\*\s*)";
  static const std::regex anywhere(R"(\*\s*(?:reinterpret|static)_cast<[^>]*\*\s*>|\ba\.\w+\s*\[|)" + unary + R"(\()");
  std::vector<std::string> found;
  const auto collect = [&](const std::regex& pattern) {
    const std::string& body = function.body;
    for (std::sregex_iterator it(body.begin(), body.end(), pattern), end; it != end; ++it) found.push_back(it->str());
  };
  collect(anywhere);
  for (const std::string& name : function.pointers) {
    collect(std::regex("[^&\\w.]" + name + R"(\s*\[)"));  // an address may be taken
    collect(std::regex(unary + name + R"(\b)"));
  }
  return found;
}

std::vector<std::string> raw_accesses(const std::string& code) {
  std::vector<std::string> found;
  for (const DeviceFunction& function : device_functions(code)) {
    for (const std::string& access : raw_accesses(function)) found.push_back(access);
  }
  return found;
}

TEST(KernelSources, AreWrittenInTheLayerAlone) {
  size_t num_kernels = 0;
  for (const std::string& file : kernel_sources()) {
    const std::string code = code_of(text_of(project_root() / file));
    num_kernels += code.find("__global__") != std::string::npos;
    std::smatch match;
    const bool found = std::regex_search(code, match, words_of_the_layer());
    EXPECT_FALSE(found) << file << ": " << match.str();
  }
  EXPECT_GE(num_kernels, 10u);
}

TEST(KernelSources, TouchMemoryThroughTheLayerAlone) {
  size_t num_pointers = 0;
  for (const std::string& file : kernel_sources()) {
    const std::string code = code_of(text_of(project_root() / file));
    for (const DeviceFunction& function : device_functions(code)) num_pointers += function.pointers.size();
    for (const std::string& access : raw_accesses(code)) ADD_FAILURE() << file << ": " << access;
  }
  EXPECT_GE(num_pointers, 30u);
}

// nvcc 13 cannot read fmt 9, which core/base/error.h needs.
TEST(KernelSources, IncludeNoErrors) {
  for (const std::string& file : kernel_sources()) {
    if (!file.ends_with(".cu")) continue;
    EXPECT_EQ(text_of(project_root() / file).find("core/base/error.h"), std::string::npos) << file;
  }
}

TEST(KernelSources, NothingElseIsForGpus) {
  const std::regex words(R"(\b(__global__|__shared__|__CUDA_ARCH__|threadIdx|cooperative_groups)\b|<<<)");
  for (const std::string& file : sources_below({"core", "parallel", "attention", "model", "train", "launcher"})) {
    if (file.find("/cuda/") != std::string::npos) continue;
    EXPECT_FALSE(std::regex_search(code_of(text_of(project_root() / file)), words)) << file;
  }
}

TEST(KernelSources, AreSeenWhereTheyBreakTheRules) {
  for (const char* line : {"asm volatile(\"bar.sync 0;\");", "__shared__ float sums[32];", "kernel<<<1, 32>>>(x);",
                           "namespace cg = cooperative_groups;", "#if defined(__CUDA_ARCH__)", "const int i = threadIdx.x;",
                           "__syncthreads();", "__shfl_down_sync(~0u, x, 1);", "atomicAdd(sum, 1.0f);", "__ldg(x + i);",
                           "__threadfence();", "#include <cuda_bf16.h>", "printf(\"%d\", i);"}) {
    EXPECT_TRUE(std::regex_search(std::string(line), words_of_the_layer())) << line;
  }
  EXPECT_FALSE(std::regex_search(code_of("load_global(x);  // no asm, no __shared__"), words_of_the_layer()));
  EXPECT_FALSE(std::regex_search(std::string("__global__ void __launch_bounds__(128) kernel(int n) {"), words_of_the_layer()));
  const std::string kernel = "__global__ void __launch_bounds__(kWarps * 32) add_kernel(int64_t n, const T* x, T* sum) {\n";
  ASSERT_EQ(device_functions(kernel).size(), 1u);
  EXPECT_EQ(device_functions(kernel).front().pointers, (std::set<std::string>{"x", "sum"}));
  for (const char* line : {"sum[i] = 1;", "float y = x[i];", "{ float y = x[i]; }", "return *x;", "y = *x + 1;",
                           "*reinterpret_cast<const float4*>(x + i);", "a.x[i] = 0;", "f(*(x + i));"}) {
    EXPECT_FALSE(raw_accesses(kernel + line + "\n}").empty()) << line;
  }
  for (const char* line :
       {"store_global(sum + i, y);", "y[i] = load_global(x + i);", "const int64_t z = i * n;", "load_global(&x[i].bits);",
        "int xs[2]; xs[1] = 2;", "y = n * static_cast<float>(i);", "y = 2 * (n + 1);", "} std::vector<float> x; x[1] = 2; {"}) {
    EXPECT_TRUE(raw_accesses(kernel + line + "\n}").empty()) << line;
  }
}

}  // namespace
}  // namespace longspan::test
