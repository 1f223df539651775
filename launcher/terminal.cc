#include "launcher/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

namespace longspan {
namespace {

int columns(const Lookup& lookup) {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const char* variable = lookup("LONGSPAN_TERMINAL");
  if (!variable) variable = lookup("COLUMNS");
  const int value = variable ? std::atoi(variable) : 0;
  return value > 0 ? value : 80;
}

}  // namespace

ProgressPrinter::Options progress_options(config::Metrics::Progress asked, const Lookup& lookup) {
  using Mode = ProgressPrinter::Mode;
  using Colour = BarStyle::Colour;
  const bool terminal = lookup("LONGSPAN_TERMINAL") || isatty(STDERR_FILENO);
  const bool bar = asked == config::Metrics::BAR || (asked == config::Metrics::AUTO && terminal);
  const char* no_color = lookup("NO_COLOR");
  const bool plain = no_color && *no_color;
  return {.mode = bar ? Mode::kBar : Mode::kLines,
          .style = {.width = columns(lookup) - 1, .colour = plain ? Colour::kOff : Colour::kOn},
          .lines = std::cout,
          .bar = std::cerr};
}

}  // namespace longspan
