#include "launcher/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ostream>

namespace longspan {
namespace {

constexpr const char* kEraseLine = "\r\x1b[K";
constexpr int64_t kLinesBesideBar = 20;  // a run leaves about so many lines above its bar

double fraction_done(const ProgressLine& line) {
  if (line.last_step <= 0) return 0;
  return std::clamp(static_cast<double>(line.report.step) / static_cast<double>(line.last_step), 0.0, 1.0);
}

}  // namespace

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds > 1e9) return "?";
  const auto total = static_cast<int64_t>(std::llround(std::max(seconds, 0.0)));
  if (total < 60) return fmt::format("{}s", total);
  if (total < 3600) return fmt::format("{}:{:02}", total / 60, total % 60);
  return fmt::format("{}:{:02}:{:02}", total / 3600, total / 60 % 60, total % 60);
}

std::string format_count(double count) {
  constexpr const char* kUnits[] = {"", "k", "M", "G", "T"};
  size_t unit = 0;
  while (std::abs(count) >= 999.5 && unit + 1 < std::size(kUnits)) {
    count /= 1000;
    ++unit;
  }
  const int decimals = unit == 0 || std::abs(count) >= 99.95 ? 0 : std::abs(count) >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}{}", count, decimals, kUnits[unit]);
}

std::string format_step(const ProgressLine& line) {
  const StepReport& r = line.report;
  const std::string mfu = std::isfinite(r.mfu) ? fmt::format(" | mfu {:.1f}%", 100 * r.mfu) : "";
  return fmt::format("step {}/{} | loss {:.4f} | grad norm {:.3g} | lr {:.2e} | {} tok/s{} | {} left", r.step,
                     line.last_step, r.loss, r.grad_norm, r.learning_rate, format_count(r.tokens_per_second()), mfu,
                     format_duration(line.seconds_left));
}

std::string format_bar(const ProgressLine& line, const BarStyle& style) {
  const StepReport& r = line.report;
  const double fraction = fraction_done(line);
  std::string text = fmt::format(" {:3.0f}%  step {}/{}  loss {:.4f}  {} tok/s  {} left", std::floor(100 * fraction), r.step,
                                 line.last_step, r.loss, format_count(r.tokens_per_second()),
                                 format_duration(line.seconds_left));
  const int room = style.width - static_cast<int>(text.size()) - 2;
  if (room < 5) return text.substr(0, static_cast<size_t>(std::max(style.width, 0)));
  const int cells = std::min(room, 40);
  const int full = static_cast<int>(fraction * cells);
  std::string bar(static_cast<size_t>(full), '#');
  if (style.colour == BarStyle::Colour::kOn) bar = "\x1b[32m" + bar + "\x1b[0m";
  return fmt::format("[{}{}]{}", bar, std::string(static_cast<size_t>(cells - full), '-'), text);
}

std::string format_start(const RunFacts& facts) {
  if (facts.first_step > facts.last_step) return fmt::format("nothing left to do: training.steps is {}", facts.last_step);
  return fmt::format("steps {} to {} of {} tokens", facts.first_step, facts.last_step, facts.tokens_per_step);
}

std::string format_evaluation(const EvaluationReport& report) {
  std::string text = fmt::format("held out | loss {:.4f} | perplexity {:.4g}", report.loss, report.perplexity);
  if (report.bits_per_byte >= 0) text += fmt::format(" | {:.4f} bits per byte", report.bits_per_byte);
  return text + fmt::format(" | {} tokens", report.tokens);
}

ProgressPrinter::~ProgressPrinter() {
  if (!bar_.empty()) options_.bar << "\n" << std::flush;
}

void ProgressPrinter::print_line(const std::string& line) {
  if (options_.mode == Mode::kLines) {
    options_.lines << line << "\n" << std::flush;
    return;
  }
  options_.bar << (bar_.empty() ? "" : kEraseLine) << line << "\n" << bar_ << std::flush;
}

double ProgressPrinter::seconds_left(const StepReport& report) {
  const int64_t done = report.step - facts_.first_step;  // since the first step, which also warms up
  const auto now = Clock::now();
  if (done <= 0) first_step_end_ = now;
  const double elapsed = std::chrono::duration<double>(now - first_step_end_).count();
  const double each = done > 0 ? elapsed / static_cast<double>(done) : report.step_seconds;
  return each * static_cast<double>(facts_.last_step - report.step);
}

void ProgressPrinter::on_start(const RunFacts& facts) {
  facts_ = facts;
  print_line(fmt::format("{} parameters; {} document{}, {} tokens; {}",
                         format_count(static_cast<double>(facts.num_parameters)), facts.data_documents,
                         facts.data_documents == 1 ? "" : "s",
                         format_count(static_cast<double>(facts.data_tokens)), format_start(facts)));
}

void ProgressPrinter::on_step(const StepReport& report) {
  const ProgressLine line{report, facts_.last_step, seconds_left(report)};
  if (options_.mode == Mode::kLines) return print_line(format_step(line));
  bar_ = format_bar(line, options_.style);
  const int64_t every = std::max<int64_t>(1, facts_.last_step / kLinesBesideBar);
  if (report.step == facts_.first_step || report.step % every == 0) {
    print_line(format_step(line));
  } else {
    options_.bar << kEraseLine << bar_ << std::flush;
  }
}

void ProgressPrinter::on_evaluation(const EvaluationReport& report) {
  print_line(fmt::format("step {} | {}", report.step, format_evaluation(report)));
}

void ProgressPrinter::on_checkpoint(int64_t step, const std::string& folder, double seconds) {
  print_line(fmt::format("step {} | checkpoint {} in {:.1f} s", step, folder, seconds));
}

void ProgressPrinter::on_note(const std::string& note) { print_line(note); }

}  // namespace longspan
