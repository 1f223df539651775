// JSON that this program writes for machines: one flat object per line (metrics.jsonl), or one per file
// (exit_status.json).
//
// Fields keep their order. Doubles are printed so that they read back to the same bits; NaN and infinity,
// which JSON lacks, are null. Raises Error(kResource) naming the path when a file cannot be written.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace longspan {

using JsonValue = std::variant<int64_t, double, std::string>;

struct JsonField {
  std::string name;
  JsonValue value;
};

std::string to_json(const std::vector<JsonField>& fields);  // one line, without its end

// Appends to a file; each line reaches the system whole before `append` returns. A line that a crash left
// torn at the end is removed on opening.
class JsonLinesWriter {
 public:
  explicit JsonLinesWriter(const std::string& path);
  ~JsonLinesWriter();
  JsonLinesWriter(const JsonLinesWriter&) = delete;
  JsonLinesWriter& operator=(const JsonLinesWriter&) = delete;

  void append(const std::vector<JsonField>& fields);

 private:
  std::string path_;
  int descriptor_ = -1;
};

// Drops the lines whose "step" is greater than `step`, and those that are no JSON object: what a run that
// resumes after `step` will write anew. A missing file is left missing.
void truncate_after_step(const std::string& path, int64_t step);

// One object, written aside and renamed, so that a reader never sees half of it.
void write_json_file(const std::string& path, const std::vector<JsonField>& fields);

}  // namespace longspan
