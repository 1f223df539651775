// The gnuplot script of launcher/plot.h, and the table it reads.
#pragma once

#include <string>
#include <vector>

namespace longspan {

// Fields of metrics.jsonl, in the order of the columns of steps.tsv; the step first.
std::vector<std::string> plot_columns();

enum class HeldOut { kNone, kSome };  // whether evaluations.tsv has rows
enum class Times { kUnknown, kKnown };  // whether steps.tsv says where they went: not on a device (train/step_meter.h)
std::string plot_script(HeldOut held_out, Times times);

}  // namespace longspan
