#include "parallel/pipeline/draw_schedule.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace longspan {

namespace {

using Kind = Action::Kind;

// One microbatch going one way through one chunk, without a wait.
struct Cell {
  std::string label;
  double begin_seconds = 0, end_seconds = 0;
};

class Drawing {
 public:
  Drawing(const PipelineProgram& program, const PipelineCosts& costs, const DrawOptions& options)
      : program_(program),
        facts_(verify_pipeline(program, costs)),
        simulation_(simulate(program, costs, SendMode::kAsynchronous)),
        options_(options) {
    for (const auto& spans : simulation_.spans) rows_.push_back(cells_of(spans));
    seconds_per_column_ = std::max(narrowest(), simulation_.makespan_seconds / 1e5);
  }

  std::string text() const {
    std::string text;
    for (size_t rank = 0; rank < rows_.size(); ++rank) {
      const double busy = facts_.ranks[rank].busy_seconds, all = facts_.makespan_seconds;
      text += fmt::format("stage {:<3}{}  waits {:.1f} %\n", rank, row(rows_[rank]), all > 0 ? 100 * (1 - busy / all) : 0.0);
    }
    text += fmt::format("bubble {:.1f} %, {:.4g} s\n", 100 * facts_.bubble, facts_.makespan_seconds);
    for (size_t rank = 0; rank < rows_.size(); ++rank) {
      const RankFacts& facts = facts_.ranks[rank];
      text += fmt::format("stage {:<3}at most {} stashes ({} bytes), sends {} messages ({} bytes)\n", rank, facts.peak_stashes,
                          facts.peak_stash_bytes, facts.messages_sent, facts.bytes_sent);
    }
    return text;
  }

 private:
  std::string label_of(const Action& action, const char* kind) const {
    const PipelineShape& shape = program_.shape;
    std::string label = kind;
    if (shape.sequence_chunks > 1) {
      label += fmt::format("{}:{}", action.microbatch / shape.sequence_chunks, action.microbatch % shape.sequence_chunks);
    } else {
      label += fmt::format("{}", action.microbatch);
    }
    if (shape.placement.chunks_per_rank() > 1) label += fmt::format(".{}", shape.placement.chunk_of(action.block));
    return label;
  }

  // B and W of one microbatch and chunk are one cell where they alternate; else W have cells of their own.
  std::vector<Cell> cells_of(const std::vector<Span>& spans) const {
    std::vector<Cell> cells;
    for (size_t i = 0; i < spans.size(); ++i) {
      const Action& action = spans[i].action;
      const auto same_block = [&](const Span& other) {
        return other.action.microbatch == action.microbatch && other.action.block == action.block;
      };
      const bool after_own_b = action.kind == Kind::kBackwardWeight && i > 0 && same_block(spans[i - 1]) &&
                               spans[i - 1].action.kind == Kind::kBackwardInput;
      const char* kind = action.kind == Kind::kForward ? "F" : action.kind == Kind::kBackwardInput || after_own_b ? "B" : "W";
      std::string label = label_of(action, kind);
      if (!cells.empty() && cells.back().label == label && spans[i].begin_seconds <= cells.back().end_seconds) {
        cells.back().end_seconds = spans[i].end_seconds;
      } else if (spans[i].end_seconds > spans[i].begin_seconds) {
        cells.push_back({std::move(label), spans[i].begin_seconds, spans[i].end_seconds});
      }
    }
    return cells;
  }

  // So many seconds a column that each cell has room for its label.
  double narrowest() const {
    double seconds = simulation_.makespan_seconds;
    for (const auto& cells : rows_) {
      for (const Cell& cell : cells) {
        seconds = std::min(seconds, (cell.end_seconds - cell.begin_seconds) / static_cast<double>(cell.label.size()));
      }
    }
    return seconds > 0 ? seconds : 1;
  }

  std::string row(const std::vector<Cell>& cells) const {
    const auto column = [&](double seconds) { return static_cast<size_t>(std::llround(seconds / seconds_per_column_)); };
    const size_t all = column(simulation_.makespan_seconds), shown = std::min(all, static_cast<size_t>(options_.max_columns));
    std::string line(all, '.');
    for (const Cell& cell : cells) {
      const size_t begin = column(cell.begin_seconds), width = column(cell.end_seconds) - begin;
      std::string label = cell.label.substr(0, width);
      label.resize(width, ' ');
      line.replace(begin, width, label);
    }
    return line.substr(0, shown) + (shown < all ? "..." : "");
  }

  const PipelineProgram& program_;
  PipelineFacts facts_;
  Simulation simulation_;
  DrawOptions options_;
  std::vector<std::vector<Cell>> rows_;  // by rank
  double seconds_per_column_ = 1;
};

}  // namespace

std::string draw_schedule(const PipelineProgram& program, const PipelineCosts& costs, const DrawOptions& options) {
  return Drawing(program, costs, options).text();
}

}  // namespace longspan
