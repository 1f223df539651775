#include <fmt/format.h>

#include <cmath>

#include "launcher/doctor/topics.h"

namespace longspan::doctor {
namespace {

constexpr double kTolerableOffset = 1e-3;  // seconds
constexpr double kFirstSensible = 1704067200;  // the year 2024, before this program was written

}  // namespace

void judge_clocks(const Examination& found, Roll& roll) {
  for (const ClockResult& clock : found.clocks) {
    const double size = std::abs(clock.offset_seconds);
    const std::string text = fmt::format(
        "the clock of {} is {} {} that of {}, give or take {}", found.ranks[static_cast<size_t>(clock.rank)].host,
        format_amount(size, Unit::kSeconds), clock.offset_seconds < 0 ? "behind" : "ahead of", found.ranks.front().host,
        format_amount(clock.uncertainty_seconds, Unit::kSeconds));
    const bool off = size - clock.uncertainty_seconds > kTolerableOffset;
    roll.say(Topic::kClocks, off ? Status::kWarning : Status::kOk, text,
             off ? "logs and traces of the two will not line up: run chrony or ntpd on both (timedatectl)" : "");
  }
  roll.of_hosts(Topic::kClocks, [](const Facts& facts, const auto&) -> std::optional<Remark> {
    if (facts.unix_seconds < 0 || facts.unix_seconds >= kFirstSensible) return {};
    return Remark{Status::kError, "the clock is before the year 2024",
                  "set it (timedatectl set-ntp true): file times and logs would mislead"};
  });
  roll.of_hosts(Topic::kClocks, [](const Facts& facts, const auto&) -> std::optional<Remark> {
    if (facts.clock_is_kept == 0) {
      return Remark{Status::kNote, "the kernel does not know its clock to be kept by NTP",
                    "timedatectl tells; in a virtual machine the host may keep it"};
    }
    if (facts.clock_is_kept == 1) return Remark{Status::kOk, "the clock is kept by NTP", ""};
    return {};
  });
  roll.of_hosts(Topic::kClocks, [](const Facts& facts, const auto&) -> std::optional<Remark> {
    if (facts.uptime_seconds <= 0) return {};
    return Remark{Status::kOk, "up for {} hours", "", facts.uptime_seconds / 3600};
  });
}

}  // namespace longspan::doctor
