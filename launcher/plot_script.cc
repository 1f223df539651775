#include "launcher/plot_script.h"

#include <fmt/format.h>

#include "core/runtime/memory_resource.h"

namespace longspan {
namespace {

struct Layer {
  const char* column;
  const char* title;
  const char* colour;
};

// From the bottom of the picture to its top. The colours are told apart by most eyes (Wong 2011).
constexpr Layer kTimes[] = {{"compute_seconds", "compute", "#0072b2"},
                            {"communication_exposed_seconds", "communication (exposed)", "#d55e00"},
                            {"data_seconds", "data", "#009e73"}};
constexpr const char* kHidden = "communication_hidden_seconds";
constexpr const char* kMemoryColours[kNumMemoryTags] = {"#0072b2", "#56b4e9", "#009e73", "#e69f00",
                                                        "#f0e442", "#999999", "#d55e00"};

constexpr const char* kHead =
    R"(# Draws loss.svg, memory.svg and, where it is known, time.svg from the tables beside it: gnuplot plot.gp
set datafile separator "\t"
set datafile missing "nan"
set terminal svg size 1000,560 background "white" font "sans,15"
set grid linecolor "#dddddd"
set border linecolor "#666666"
set xlabel "step"
set yrange [0:*]
set key outside right top reverse Left samplen 2
)";

std::string column_of_tag(size_t tag) {
  return fmt::format("memory_{}_bytes", name(static_cast<MemoryTag>(tag)));
}

size_t number_of(const std::string& column) {
  const std::vector<std::string> columns = plot_columns();
  size_t i = 0;
  while (i < columns.size() && columns[i] != column) ++i;
  return i + 1;  // gnuplot counts from 1
}

// Areas one on the other: the sum of all columns first, then each sum that lacks the topmost, over it.
std::string stacked(const std::vector<Layer>& layers, const char* scale) {
  std::string text;
  for (size_t top = layers.size(); top-- > 0;) {
    std::string sum;
    for (size_t i = 0; i <= top; ++i) {
      sum += fmt::format("{}${}", i ? "+" : "", number_of(layers[i].column));
    }
    text += fmt::format("{}\"steps.tsv\" using 1:(({}){}) with filledcurves y1=0 linecolor \"{}\" title \"{}\"",
                        text.empty() ? "" : ", \\\n     ", sum, scale, layers[top].colour, layers[top].title);
  }
  return text;
}

std::string times_script() {
  std::string text = "\nset output \"time.svg\"\nset title \"where a step's time goes on rank 0\"\nset ylabel \"seconds\"\n";
  text += "plot " + stacked({std::begin(kTimes), std::end(kTimes)}, "");
  text += fmt::format(
      ", \\\n     \"steps.tsv\" using 1:{} with lines linewidth 1.5 linecolor \"black\" title "
      "\"communication hidden\"\n",
      number_of(kHidden));
  return text;
}

}  // namespace

std::vector<std::string> plot_columns() {
  std::vector<std::string> columns = {"step", "loss"};
  for (const Layer& time : kTimes) columns.push_back(time.column);
  columns.push_back(kHidden);
  for (size_t tag = 0; tag < kNumMemoryTags; ++tag) columns.push_back(column_of_tag(tag));
  return columns;
}

std::string plot_script(HeldOut held_out, Times times) {
  std::string text = kHead;
  text += "\nset output \"loss.svg\"\nset title \"loss\"\nset ylabel \"nats for each predicted token\"\n";
  text += fmt::format("plot \"steps.tsv\" using 1:{} with lines linewidth 1.5 linecolor \"#0072b2\" title \"training\"",
                      number_of("loss"));
  if (held_out == HeldOut::kSome) {
    text +=
        ", \\\n     \"evaluations.tsv\" using 1:2 with linespoints pointtype 7 linecolor \"#d55e00\" title \"held "
        "out\"";
  }
  text += "\n\nset output \"memory.svg\"\nset title \"memory of rank 0 at its peak so far\"\nset ylabel \"MiB\"\n";
  std::vector<Layer> memory;
  std::vector<std::string> columns, titles;
  for (size_t tag = 0; tag < kNumMemoryTags; ++tag) {
    columns.push_back(column_of_tag(tag));
    titles.emplace_back(name(static_cast<MemoryTag>(tag)));
  }
  for (size_t tag = 0; tag < kNumMemoryTags; ++tag) {
    memory.push_back({columns[tag].c_str(), titles[tag].c_str(), kMemoryColours[tag]});
  }
  text += "plot " + stacked(memory, "/1048576") + "\n";
  if (times == Times::kKnown) text += times_script();
  return text;
}

}  // namespace longspan
