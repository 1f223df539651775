// The commands of this program as functions over plain data. Each is collective over `world`.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/base/cpu_level.h"
#include "core/runtime/context.h"
#include "parallel/comm/communicator.h"
#include "train/observer.h"
#include "train/processor.h"
#include "train/run_spec.h"

namespace longspan {

struct RankResources {
  Device device = {};
  int num_threads = 1;
  CpuLevel cpu_level = detect_cpu_level();  // of the kernels; one that runs here
  double peak_flop_per_second = 0;  // dense bfloat16 products of the device; 0: not known
  int64_t memory_bytes = 0;  // for this rank, at most; 0: not known
  std::shared_ptr<MemoryResource> memory = nullptr;  // default: a caching resource over the device's memory
  std::shared_ptr<const KernelSet> kernels = nullptr;  // default: those of the precision; tests plant errors in them
  // Of a device that is not the CPU (core/runtime/context.h); default: CUDA's own.
  std::shared_ptr<Stream> stream = nullptr;
  std::shared_ptr<MemoryResource> host_memory = nullptr;

  Processor processor() const { return {.level = cpu_level, .device = device.type}; }
};

enum class TrainOutcome {
  kDone,
  kStopped,  // asked to stop: a checkpoint was written, starting again continues
};

// Trains to spec.num_steps, from the newest valid checkpoint in spec.output_directory if there is one (and
// spec.checkpoint.resume allows), else from spec.model_folder or random weights. `stop_requested` is polled on every rank
// between steps; one rank's true stops all after a checkpoint. Raises Error; leaves nothing that looks like a result.
TrainOutcome train(const RunSpec& spec, Communicator& world, const RankResources& resources, TrainObserver& observer,
                   const std::function<bool()>& stop_requested);

struct DocumentLoss {
  std::string name;
  int64_t tokens = 0;            // all, predicted or not
  int64_t predicted_tokens = 0;
  double loss_sum = 0;           // nats
  // Bits for each byte of a byte model; a byte that nothing predicts (the first of a document) costs its full 8 bits.
  double bits_per_byte() const;
};

struct EvaluationResult {
  EvaluationReport report;
  std::vector<DocumentLoss> documents;  // in the order of the data
};

// The loss on held-out data of the newest checkpoint in spec.output_directory, or of spec.model_folder.
EvaluationResult evaluate(const RunSpec& spec, Communicator& world, const RankResources& resources,
                          TrainObserver& observer);

// Continues the prompt with the newest checkpoint or spec.model_folder, with a key-value cache, on one rank. Each new
// token goes to `emit` as it is drawn. Returns the new tokens.
std::vector<int32_t> generate(const RunSpec& spec, const RankResources& resources,
                              const std::function<void(int32_t)>& emit);

}  // namespace longspan
