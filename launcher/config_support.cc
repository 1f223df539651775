#include "launcher/config_support.h"

#include <map>
#include <vector>

#include "attention/context_groups.h"
#include "launcher/join.h"

namespace longspan {
namespace {

using namespace config;

void check_memory_support(const RunConfig& c, ConfigProblems& problems) {
  if (c.memory().recompute() != Recompute::NONE) {
    problems.add("memory.recompute", "{} does not exist yet; this program has NONE",
                 Recompute::Policy_Name(c.memory().recompute()));
  }
  if (c.memory().offload() != Offload::NONE) {
    problems.add("memory.offload", "{} does not exist yet; this program has NONE",
                 Offload::Policy_Name(c.memory().offload()));
  }
  if (c.memory().mlp_tile_tokens() > 0) {
    problems.add("memory.mlp_tile_tokens", "is {}; tiles of the MLP do not exist yet, leave it at 0",
                 c.memory().mlp_tile_tokens());
  }
  if (c.recurrence().mode() != Recurrence::NONE) {
    problems.add("recurrence.mode", "{} does not exist yet; this program has NONE",
                 Recurrence::Mode_Name(c.recurrence().mode()));
  }
  if (c.recurrence().segment_tokens() > 0) {
    problems.add("recurrence.segment_tokens", "is {}; recurrence does not exist yet, leave it at 0",
                 c.recurrence().segment_tokens());
  }
  if (c.recurrence().memory_tokens() > 0) {
    problems.add("recurrence.memory_tokens", "is {}; recurrence does not exist yet, leave it at 0",
                 c.recurrence().memory_tokens());
  }
}

void check_data(const RunConfig& c, ConfigProblems& problems) {
  const Data& data = c.data();
  if (data.files_size() > 0 && data.blend_size() > 0) {
    problems.add("data.blend", "data.files is set as well; name the sources in one of the two");
  }
  for (int i = 0; i < data.blend_size(); ++i) {
    if (data.blend(i).files_size() == 0) {
      problems.add("data.blend[" + std::to_string(i) + "]", "has no files");
    }
  }
  if (data.holdout_every() == 1) {
    problems.add("data.holdout_every", "is 1, which keeps every document for evaluation; use 0 for none, or 2 and more");
  }
  if (data.holdout_every() > 0 && c.evaluation().files_size() > 0) {
    problems.add("evaluation.files", "data.holdout_every is {} as well; held-out data comes from one of the two",
                 data.holdout_every());
  }
  if (data.format() == Data::TEXT && c.model().vocabulary_size() < 256) {
    problems.add("model.vocabulary_size", "is {}; data.format TEXT has bytes, which need 256",
                 c.model().vocabulary_size());
  }
}

// By path, such as model.head_dim; a message that is empty afterwards goes with it.
void clear_field(google::protobuf::Message& message, const std::string& path) {
  const size_t dot = path.find('.');
  const auto* field = message.GetDescriptor()->FindFieldByName(path.substr(0, dot));
  const auto* reflection = message.GetReflection();
  if (dot != std::string::npos) {
    google::protobuf::Message* inner = reflection->MutableMessage(&message, field);
    clear_field(*inner, path.substr(dot + 1));
    if (inner->ByteSizeLong() > 0) return;
  }
  reflection->ClearField(&message, field);
}

bool has_held_out_data(const RunConfig& c) {
  return c.evaluation().files_size() > 0 || c.data().holdout_every() > 0;
}

void check_needs(const RunConfig& c, Command command, ConfigProblems& problems) {
  const bool imported = !c.model().from_huggingface().empty();
  const bool reads_run = command == Command::kTrain || (command != Command::kVerify && command != Command::kPlan && !imported);
  if (c.output_directory().empty() && reads_run) {
    problems.add("output_directory", "is not set; name the folder of the run, such as \"runs/first\"");
  }
  const bool has_data = c.data().files_size() > 0 || c.data().blend_size() > 0;
  if (!has_data && (command == Command::kTrain || (command == Command::kEvaluate && c.data().holdout_every() > 0))) {
    problems.add("data.files", "is not set; name the files, folders or globs to train on");
  }
  if (command == Command::kEvaluate && !has_held_out_data(c)) {
    problems.add("evaluation.files", "is not set, nor is data.holdout_every: there is nothing to evaluate");
  }
  if (c.evaluation().interval_steps() > 0 && !has_held_out_data(c)) {
    problems.add("evaluation.interval_steps",
                 "is {}, but neither evaluation.files nor data.holdout_every names held-out data",
                 c.evaluation().interval_steps());
  }
}

void check_context(const RunConfig& c, ConfigProblems& problems) {
  const auto named = c.context().scheme();
  const int64_t group = c.context().group_ranks();
  const bool has_groups = named == Context::HYBRID || named == Context::DOUBLE_RING;
  if (group > 0 && !has_groups) {
    problems.add("context.group_ranks", "is {}, but context.scheme {}; leave it out", group,
                 named == Context::AUTO ? "AUTO chooses groups, too" : Context::Scheme_Name(named) + " has no groups");
  }
  if (named == Context::AUTO) return;
  const auto scheme = static_cast<ContextScheme>(named - Context::RING);
  const auto ranks = static_cast<int>(c.mesh().context());
  const int64_t heads = c.model().num_heads() / c.mesh().tensor();
  const int inner = group > 0 ? static_cast<int>(group) : group_of_host(scheme, ranks, ranks, heads);
  const std::string problem = scheme_problem(scheme, inner, ranks, heads);
  if (!problem.empty()) problems.add(group > 0 ? "context.group_ranks" : "context.scheme", "{}", problem);
}

void check_training(const RunConfig& c, ConfigProblems& problems) {
  if (c.metrics().trace_first_step() > 0 && c.metrics().trace_steps() == 0) {
    problems.add("metrics.trace_first_step", "is {}, but metrics.trace_steps is 0: say how many steps to trace",
                 c.metrics().trace_first_step());
  }
  if (c.optimizer().minimum_learning_rate() > c.optimizer().learning_rate()) {
    problems.add("optimizer.minimum_learning_rate", "is {}, above optimizer.learning_rate {}",
                 c.optimizer().minimum_learning_rate(), c.optimizer().learning_rate());
  }
}

void check_generation(const RunConfig& c, ConfigProblems& problems) {
  const Generation& g = c.generation();
  if (!g.prompt().empty() && g.prompt_tokens_size() > 0) {
    problems.add("generation.prompt_tokens", "generation.prompt is set as well; give one of the two");
  } else if (g.prompt().empty() && g.prompt_tokens_size() == 0) {
    problems.add("generation.prompt", "is empty; give the text to continue, or generation.prompt_tokens");
  }
  if (c.data().format() == Data::TEXT && c.model().vocabulary_size() > 256) {
    problems.add("data.format", "is TEXT, but a vocabulary of {} has tokens that are no bytes; name the format of its token "
                 "ids, such as TOKENS_U16, and give generation.prompt_tokens", c.model().vocabulary_size());
  }
  if (!g.prompt().empty() && c.data().format() != Data::TEXT) {
    problems.add("generation.prompt", "is text, but data.format is {}; give generation.prompt_tokens",
                 Data::Format_Name(c.data().format()));
  }
  for (int i = 0; i < g.prompt_tokens_size(); ++i) {
    if (g.prompt_tokens(i) >= c.model().vocabulary_size()) {
      problems.add("generation.prompt_tokens[" + std::to_string(i) + "]", "is {}; the vocabulary has {} tokens",
                   g.prompt_tokens(i), c.model().vocabulary_size());
    }
  }
}

}  // namespace

void check_support(const RunConfig& c, ConfigProblems& problems) {
  if (c.data().format() == Data::LLMC) {
    problems.add("data.format", "LLMC does not exist yet; this program reads TEXT, TOKENS_U16, TOKENS_U32 and MEGATRON");
  }
  if (c.checkpoint().has_resume()) {
    const int resume = c.checkpoint().resume();
    if (resume == Checkpoint::AT_STEP || resume < Checkpoint::NONE) {
      problems.add("checkpoint.resume", "is {}; allowed are LATEST, NONE or the number of a step, from 1", resume);
    }
  }
  check_memory_support(c, problems);
}

void check_level(const RunConfig& c, const std::vector<CpuLevel>& here, ConfigProblems& problems) {
  if (c.cpu().level() == Cpu::AUTO) return;
  std::vector<std::string> names;
  for (const CpuLevel level : here) {
    const auto value = static_cast<Cpu::Level>(Cpu::PORTABLE + static_cast<int>(level));
    if (value == c.cpu().level()) return;
    names.push_back(Cpu::Level_Name(value));
  }
  problems.add("cpu.level", "is {}, which this machine does not run; it runs {}", Cpu::Level_Name(c.cpu().level()),
               join(names, ", "));
}

void check_bench(const RunConfig& c, const std::string& name, ConfigProblems& problems) {
  // Besides cpu.level and threads_per_rank, which all of them read.
  static const std::map<std::string, std::vector<std::string>> kReads = {
      {"attention", {"precision", "model.head_dim", "data.sequence_length", "device"}},
      {"elementwise", {"precision", "model.hidden_size", "device"}},
      {"gemm", {"precision", "model.hidden_size", "data.sequence_length", "device"}},
      {"loss", {"precision", "model.hidden_size", "model.vocabulary_size", "memory.loss_tile_tokens", "device"}},
      {"pipeline", {"mesh.pipeline"}},
      {"ring", {"model.num_heads", "model.num_kv_heads", "model.head_dim", "data.sequence_length"}},
      {"step",
       {"precision", "model", "data.sequence_length", "memory.loss_tile_tokens", "training.micro_batch_sequences", "device"}},
  };
  const std::vector<std::string>& reads = kReads.at(name);
  RunConfig rest = c;
  rest.clear_threads_per_rank();
  rest.clear_cpu();
  for (const std::string& path : reads) clear_field(rest, path);
  std::vector<const google::protobuf::FieldDescriptor*> unread;
  rest.GetReflection()->ListFields(rest, &unread);
  for (const auto* field : unread) {
    problems.add(field->name(), "bench {} reads {}, cpu.level and threads_per_rank only", name, join(reads, ", "));
  }
}

void check_consistency(const RunConfig& c, Command command, ConfigProblems& problems) {
  if (c.pipeline().schedule() == Pipeline::SEQUENCE_CHUNKED && c.pipeline().sequence_chunks() == 1) {
    problems.add("pipeline.schedule", "is SEQUENCE_CHUNKED, but pipeline.sequence_chunks is 1; use 2 or more, or ONE_F_ONE_B");
  }
  check_needs(c, command, problems);
  check_data(c, problems);
  check_context(c, problems);
  check_training(c, problems);
  if (command == Command::kGenerate) check_generation(c, problems);
}

}  // namespace longspan
