#include "train/verify_shape.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <numeric>

#include "core/base/error.h"
#include "core/base/random.h"

namespace longspan {

namespace {

// Near `target`, with the remainder by 16, so that a kernel's last, partial vector stays as long as it was, and by the ranks that
// share it.
int64_t shrunk_width(int64_t width, int64_t target, int64_t num_ranks = 1) {
  const int64_t unit = std::lcm<int64_t>(16, num_ranks), least = (target + unit - 1) / unit * unit;
  return width <= least ? width : least + width % unit;
}

// Two key heads, where there are two: with a single one, a query head that took the wrong one could not be seen. As many as ranks
// share or exchange them, where there are, and the remainder by these: so heads that do not divide still do not, and the cuts
// between ranks go through the same places of groups. Where that leaves many query heads, narrower ones keep the step short.
void shrink_heads(const RunSpec& run, ModelSpec& model) {
  const int64_t group = model.num_heads / model.num_kv_heads;
  const int64_t ranks = int64_t{run.mesh.tensor} * exchanging_ranks(run.context.scheme, group_ranks(run), run.mesh.context);
  const int64_t least = std::max<int64_t>(2, ranks);
  if (model.num_kv_heads > least) model.num_kv_heads = least + (model.num_kv_heads - least) % ranks;
  model.num_heads = group * model.num_kv_heads;
  model.head_dim = shrunk_width(model.head_dim, model.num_heads > 16 ? 16 : 32);
}

// Two; of a pipeline one more than there are stages, so that it is full for a while, as many as interleaved stages take together.
int64_t enough_microbatches(const RunSpec& run) {
  const int64_t stages = run.mesh.pipeline, chunks = run.pipeline.sequence_chunks;
  if (stages == 1) return 2;
  const int64_t together = run.pipeline.schedule == PipelineSchedule::kInterleaved ? (stages + chunks - 1) / chunks : 1;
  return (stages + 1 + together - 1) / together * together;
}

// Zigzag cuts a sequence into 2 P chunks, so the remainder by that decides how uneven the shares are. Several tiles of
// the kernels for a rank of a small ring, but a step of so many sequences should not take long.
int64_t shrunk_length(int64_t length, int64_t num_ranks, int64_t num_sequences) {
  constexpr int64_t kLeastChunk = 4;
  const int64_t chunks = 2 * num_ranks, tokens = std::clamp<int64_t>(2048 / num_sequences, 64, 512);
  const int64_t target = chunks * std::max(kLeastChunk, (tokens + chunks - 1) / chunks);
  return length <= target ? length : target + length % chunks;
}

// Eight digits, so that the order of names is that of numbers; by hand, because a signal handler may not allocate.
std::array<char, 9> file_name(int64_t number) {
  std::array<char, 9> digits = {};
  for (size_t i = 8; i-- > 0; number /= 10) digits[i] = static_cast<char>('0' + number % 10);
  return digits;
}

}  // namespace

RunSpec shrunk(const RunSpec& run) {
  RunSpec small;
  small.name = run.name;
  small.seed = run.seed;
  small.compute_dtype = run.compute_dtype;
  small.model = run.model;
  ModelSpec& model = small.model;
  shrink_heads(run, model);
  model.num_layers = std::min<int64_t>(model.num_layers, std::max(3, run.mesh.pipeline * run.pipeline.chunks_per_stage));
  model.hidden_size = shrunk_width(model.hidden_size, 64);
  model.mlp_size = shrunk_width(model.mlp_size, 96, run.mesh.tensor);
  model.vocabulary_size = shrunk_width(model.vocabulary_size, 128, run.mesh.tensor);
  // Weights as large as keep a product's output as large as its input: smaller ones make attention all but uniform, and
  // an error in it all but invisible.
  model.initializer_range = 1 / std::sqrt(static_cast<double>(model.hidden_size));
  small.mesh = run.mesh;
  small.context = {.scheme = run.context.scheme, .group_ranks = group_ranks(run)};
  small.layout = run.layout;
  small.sharding = run.sharding;
  small.bucket_elements = run.bucket_elements;
  small.pipeline = run.pipeline;
  small.data.format = DataFormat::kTokensU32;
  small.data.packing = run.data.packing;
  small.micro_batch_sequences = std::min<int64_t>(run.micro_batch_sequences, 2);
  const int64_t at_once = run.micro_batch_sequences * run.mesh.data;
  const int64_t num_microbatches = std::min(std::max<int64_t>(run.global_batch_sequences / at_once, 1), enough_microbatches(run));
  small.global_batch_sequences = num_microbatches * small.micro_batch_sequences * run.mesh.data;
  small.data.sequence_length =
      shrunk_length(run.data.sequence_length, run.mesh.context * run.pipeline.sequence_chunks, small.global_batch_sequences);
  small.loss_tile_tokens = std::min<int64_t>(run.loss_tile_tokens, 100);
  small.optimizer = run.optimizer;
  small.num_steps = 1;
  small.checkpoint.resume = CheckpointSpec::Resume::kNone;
  small.tensorboard = RunSpec::TensorBoard::kOff;
  small.resolved_configuration = run.resolved_configuration;  // in which all ranks must agree
  return small;
}

std::vector<std::string> what_was_shrunk(const RunSpec& run, const RunSpec& small) {
  std::vector<std::string> lines;
  const auto compare = [&](const char* field, auto was, auto is) {
    if (was != is) lines.push_back(fmt::format("{} {} -> {}", field, was, is));
  };
  compare("model.num_layers", run.model.num_layers, small.model.num_layers);
  compare("model.hidden_size", run.model.hidden_size, small.model.hidden_size);
  compare("model.num_heads", run.model.num_heads, small.model.num_heads);
  compare("model.num_kv_heads", run.model.num_kv_heads, small.model.num_kv_heads);
  compare("model.head_dim", run.model.head_dim, small.model.head_dim);
  compare("model.mlp_size", run.model.mlp_size, small.model.mlp_size);
  compare("model.vocabulary_size", run.model.vocabulary_size, small.model.vocabulary_size);
  compare("model.initializer_range", run.model.initializer_range, small.model.initializer_range);
  compare("data.sequence_length", run.data.sequence_length, small.data.sequence_length);
  compare("training.micro_batch_sequences", run.micro_batch_sequences, small.micro_batch_sequences);
  compare("training.global_batch_sequences", run.global_batch_sequences, small.global_batch_sequences);
  compare("memory.loss_tile_tokens", run.loss_tile_tokens, small.loss_tile_tokens);
  return lines;
}

SyntheticDocuments::SyntheticDocuments(const std::string& parent) : folder_(parent + "/longspan_verify_XXXXXX") {
  if (mkdtemp(folder_.data()) == nullptr) {
    raise(ErrorKind::kResource, "{}: no folder for verify's documents can be made: {}", parent, strerror(errno));
  }
  descriptor_ = open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor_ < 0) {
    const int reason = errno;
    rmdir(folder_.c_str());
    raise(ErrorKind::kResource, "{}: cannot be opened: {}", folder_, strerror(reason));
  }
}

SyntheticDocuments::SyntheticDocuments(const RunSpec& small, const std::string& parent) : SyntheticDocuments(parent) {
  const RandomStream lengths(small.seed, "verify/lengths"), tokens(small.seed, "verify/tokens");
  const int64_t length = small.data.sequence_length;
  // More than a step takes.
  const int64_t least_total = (small.global_batch_sequences + 1) * length;
  uint64_t drawn = 0;
  for (int64_t total = 0, number = 0; total < least_total; ++number) {
    const auto index = static_cast<uint64_t>(number);
    int64_t size = 2 + static_cast<int64_t>(lengths.below(index, static_cast<uint64_t>((length + 1) / 2)));
    if (number % 8 == 3 && length > 8) size = 1;  // in sequences that short, they could leave nothing to predict
    if (number % 8 == 5) size = length + size;
    std::vector<uint32_t> document;
    for (int64_t i = 0; i < size; ++i) {
      document.push_back(
          static_cast<uint32_t>(tokens.below(drawn++, static_cast<uint64_t>(small.model.vocabulary_size))));
    }
    const std::string path = folder_ + "/" + file_name(number).data();
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(document.data()), static_cast<std::streamsize>(4 * document.size()));
    if (!file.flush()) raise(ErrorKind::kResource, "{}: cannot be written: {}", path, strerror(errno));
    total += size;
  }
}

SyntheticDocuments::~SyntheticDocuments() {
  remove();
  close(descriptor_);
}

void SyntheticDocuments::remove() const noexcept {
  for (int64_t number = 0; unlinkat(descriptor_, file_name(number).data(), 0) == 0;) ++number;
  rmdir(folder_.c_str());
}

}  // namespace longspan
