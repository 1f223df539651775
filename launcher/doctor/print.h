// The report: topics in their order, a line for each finding, an indented line for what to do, and a count at the end.
#pragma once

#include <string>
#include <vector>

#include "launcher/doctor/finding.h"

namespace longspan::doctor {

std::string format_report(const std::vector<Finding>& findings);

}  // namespace longspan::doctor
