// DataSpec: which tokens a run reads, and how they become sequences. Part of RunSpec (train/run_spec.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace longspan {

enum class DataFormat { kText, kTokensU16, kTokensU32, kMegatron };

struct DataSource {
  std::vector<std::string> files;  // files, folders (recursively), globs; MEGATRON: prefixes of .bin and .idx
  double weight = 1;               // share of the sequences, relative to the other sources
};

enum class Packing {
  kStream,     // one stream of text: every token attends to all before it in its sequence
  kDocuments,  // documents never attend to each other, positions restart, labels do not cross
};

// Which documents of the sources: with holdout_every = n > 0, every n-th document (by path) is held out for evaluation.
enum class DataPart { kAll, kTraining, kHeldOut };

struct DataSpec {
  DataFormat format = DataFormat::kText;
  std::vector<DataSource> sources;
  int64_t sequence_length = 2048;
  Packing packing = Packing::kDocuments;
  int64_t holdout_every = 0;
  DataPart part = DataPart::kAll;
};

}  // namespace longspan
