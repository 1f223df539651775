// From facts to findings: a pure function, topic by topic, in the order of Topic.
#pragma once

#include <vector>

#include "launcher/doctor/facts.h"
#include "launcher/doctor/finding.h"

namespace longspan::doctor {

std::vector<Finding> judge(const Examination& found);

// 0 without an error; 6 if a rank did not answer; else 5.
int exit_code_of(const Examination& found, const std::vector<Finding>& findings);

}  // namespace longspan::doctor
