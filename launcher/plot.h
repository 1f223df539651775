// Pictures of a run: the loss, the memory by tag and where the time went, drawn by gnuplot if this machine has it.
//
// output_directory/plot holds the numbers as tables (steps.tsv, evaluations.tsv; at most 2,000 rows, each the mean of
// steps that follow one another), the script plot.gp, and what it draws: loss.svg, memory.svg and, of a run on CPUs, time.svg.
// Without gnuplot the script can be run elsewhere. Nothing of this can make a run fail.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace longspan {

// The tables and the script, from metrics.jsonl and evaluation.jsonl; false where there is no step yet. Raises
// Error(kResource) where a file cannot be written.
bool write_plot(const std::string& output_directory);

// Runs a program in a folder, without input or output: its exit code, kNotThere, or kKilled where it took too long or
// ended by a signal. Not while MPI is at work: its memory may be registered with a network card.
constexpr int kNotThere = -1, kKilled = -2;
int run_program(const std::vector<std::string>& words, const std::string& folder, std::chrono::milliseconds patience);

// Both, and what there is to tell the user of it.
std::string plot_run(const std::string& output_directory) noexcept;

}  // namespace longspan
