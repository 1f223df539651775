// What a benchmark runs on, and what that can do at most: the yardsticks of all benchmarks.
#pragma once

#include <memory>
#include <string>

#include "launcher/bench_tools.h"
#include "train/train.h"

namespace longspan {

struct BenchMachine {
  RankResources resources;  // a CPU's threads and level, or a device
  std::string name = {};    // of a device, as its maker calls it
  // What a device is measured with: products of square matrices and a copy, far larger than its caches, and heads of attention
  // that are so wide together.
  int64_t square = 8192, width = 2048;
  int64_t copy_bytes = int64_t{1} << 30;

  bool on_cpu() const { return resources.device.type == DeviceType::kCpu; }
  int num_threads() const { return resources.num_threads; }
  CpuLevel level() const { return resources.cpu_level; }
  Context context(DType compute_dtype) const;  // its memory is kept for the next tensor

  // How operations are counted: GFLOP/s of each core of a CPU, TFLOP/s of a device.
  double in_unit(double flop_per_second) const;
  const char* unit() const { return on_cpu() ? "GFLOP/s a core" : "TFLOP/s"; }
  std::string rate_text(double flop_per_second) const;  // "  123.4 GFLOP/s a core"
  // "1 thread, avx2 instructions", or the name of the device.
  std::string description() const;
};

// Products of a dtype, in FLOP/s: of a CPU what its best instructions do from registers alone, on all threads; the level decides
// only whether bfloat16 is multiplied by itself or as float32. Of a device its own product of square matrices, which are kept.
class ProductPeak {
 public:
  ProductPeak(const BenchMachine& machine, DType dtype);
  ~ProductPeak();
  double measure();  // now

 private:
  struct Square;
  const BenchMachine& machine_;
  DType dtype_;
  std::unique_ptr<Square> square_;  // of a device
};

// What a device does, for the top of a benchmark; of a CPU describe_peaks.
std::string describe_machine(const BenchMachine& machine, DType dtype);

// GB/s that a copy within the machine's memory reads and writes; for comparing within a moment.
class MemoryCopy {
 public:
  explicit MemoryCopy(const BenchMachine& machine);
  ~MemoryCopy();
  double once();
  std::string description();  // measures for some tenths of a second

 private:
  struct OnDevice;
  struct OnHost;
  const BenchMachine& machine_;
  std::unique_ptr<OnDevice> on_device_;
  std::unique_ptr<OnHost> on_host_;
};

// Raises Error(kConfiguration) unless there is a thread, and time.
void expect_measurable(const BenchMachine& machine, double min_seconds);

}  // namespace longspan
